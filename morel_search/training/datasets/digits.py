"""The digits of scikit-learn: 1,797 grey images of 8 x 8 pixels, which are part of the package."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

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
    values, digits = _packaged_digits()
    pixels = np.rint(values.reshape(-1, 1, 8, 8) * (255 / 16)).astype(np.uint8)
    images, labels = torch.from_numpy(pixels), torch.from_numpy(digits.astype(np.int64))
    order = stratified_order(labels, SPLIT_SEED)
    count = round(TEST_SHARE * len(labels))
    chosen = (order[:count] if split == "test" else order[count:]).sort().values
    images, labels = images[chosen], labels[chosen]
    return Source(labels, tuple("0123456789"), lambda indices: images[indices])


def _packaged_digits() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return 1,797 rows of 64 pixel values, 0 to 16, and the digits.

    scikit-learn's file is read without importing scikit-learn, which takes 1.4 s of processor time or more in
    each process. Where a version keeps it elsewhere, scikit-learn itself is asked.
    """
    spec = find_spec("sklearn")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / "datasets" / "data" / "digits.csv.gz"
        if path.is_file():
            table = np.loadtxt(path, delimiter=",")
            return table[:, :-1], table[:, -1]
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return bunch.data, bunch.target
