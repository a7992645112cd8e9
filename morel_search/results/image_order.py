"""The order in which a verification attacks the images of the test split."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["image_order"]


def image_order(seed: int, images: int) -> NDArray[np.int64]:
    """Return the indices of all images in the order of a verification; a part of it has the first ones.

    Args:
        seed: Random seed of the verification.
        images: Number of images of the test split.
    """
    return np.random.default_rng(seed).permutation(images)
