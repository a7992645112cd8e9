"""The digits of scikit-learn: 1,797 grey images of 8 x 8 pixels, which are part of the package."""

from __future__ import annotations

import numpy as np
import torch

from morel_search.training.datasets.source import Source, Split
from morel_search.training.datasets.splits import stratified_order
from morel_search.training.settings import DataSettings

__all__ = ["open_digits"]

TEST_SHARE = 0.2
SPLIT_SEED = 20240817
"""Seed of the test split; it is constant, so that the test split has the same 359 images in every search."""


def open_digits(_settings: DataSettings, split: Split) -> Source:
    """Return the 1,438 development images or the 359 test images.

    A pixel value v of 0 to 16 becomes ``round(v * 255 / 16)``. The test split is stratified and always the
    same.

    Args:
        _settings: Not used; the data set has no options.
        split: The split.
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = torch.from_numpy(np.rint(bunch.images * (255 / 16)).astype(np.uint8)).unsqueeze(1)
    labels = torch.from_numpy(bunch.target.astype(np.int64))
    order = stratified_order(labels, SPLIT_SEED)
    count = round(TEST_SHARE * len(labels))
    chosen = (order[:count] if split == "test" else order[count:]).sort().values
    images, labels = images[chosen], labels[chosen]
    return Source(labels, tuple(str(name) for name in bunch.target_names), lambda indices: images[indices])
