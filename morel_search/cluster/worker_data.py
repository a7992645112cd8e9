"""The images of a worker process, read once and kept for its next task."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from morel_search.training.settings import DataSettings

if TYPE_CHECKING:
    from morel_search.training.datasets.loading import Development, ImageSet

__all__ = ["development_for", "test_images"]


@lru_cache(maxsize=1)
def development_for(settings: DataSettings, device: str) -> Development:
    """Return the training and validation images, on the device."""
    from morel_search.training.datasets.loading import Development, load_development

    loaded = load_development(settings)
    return Development(loaded.train.to(device), loaded.validation.to(device), loaded.classes)


@lru_cache(maxsize=1)
def test_images(data: DataSettings) -> ImageSet:
    """Return the test split, on the CPU."""
    from morel_search.training.datasets.loading import load_test

    return load_test(data)
