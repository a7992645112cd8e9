"""scikit-learn's digits: 1,797 real grey images of 8 x 8 pixels that ship with their package."""

from __future__ import annotations

import numpy as np
import torch

from morel_search.training.datasets.source import Source, Split
from morel_search.training.datasets.splits import stratified_order
from morel_search.training.settings import DataSettings

__all__ = ["open_digits"]

TEST_SHARE = 0.2
SPLIT_SEED = 20240817
"""Never the settings' seed: the test split is the same 359 images in every study."""


def open_digits(_settings: DataSettings, split: Split) -> Source:
    """The 1,438 images to develop on, or the 359 test images.

    Pixels of 0 to 16 become ``round(v * 255 / 16)``. The test split is stratified and depends on nothing.

    Args:
        _settings: Not read; there is nothing to choose.
        split: Which of the two.
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
