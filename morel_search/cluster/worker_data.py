"""The images that a worker process keeps in memory between two tasks."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from morel_search.training.settings import DataSettings

if TYPE_CHECKING:
    from morel_search.training.datasets.loading import Development, ImageSet

__all__ = ["development_for", "test_images"]


def development_for(settings: DataSettings, device: str) -> Development:
    """Return the training and validation images on the device.

    They are kept for the next trial of this process, whatever its augmentation and its share
    of extra images.
    """
    return _development_for(replace(settings, augmentation="auto", extra_share=0.5), device)


@lru_cache(maxsize=1)
def _development_for(settings: DataSettings, device: str) -> Development:
    from morel_search.training.datasets.loading import load_development

    return load_development(settings).to(device)


@lru_cache(maxsize=1)
def test_images(data: DataSettings) -> ImageSet:
    """Return the test split; it is kept for the next network of this process."""
    from morel_search.training.datasets.loading import load_test

    return load_test(data)
