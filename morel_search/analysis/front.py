"""The Pareto front of clean and robust accuracy."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morel_search._dominance import dominates

__all__ = ["dominates", "front_mask", "pairs"]


def front_mask(points: ArrayLike) -> NDArray[np.bool_]:
    """Find the points that no other point dominates, with both objectives maximized.

    A point dominates another point when it is at least as good in both objectives and better in one. Equal
    points do not dominate each other, so all copies of a point are kept; moocore keeps only the first copy by
    default (``keep_weakly=False``). A point with a NaN is not on the front and dominates no point.

    Args:
        points: Shape (n, 2), objectives to maximize.

    Returns:
        Booleans of shape (n,).

    Raises:
        ValueError: The points have another shape.
    """
    values = pairs(points)
    mask: NDArray[np.bool_] = np.asarray(~np.isnan(values).any(axis=1))
    if mask.any():
        import moocore

        mask[mask] = moocore.is_nondominated(values[mask], maximise=True, keep_weakly=True)
    return mask


def pairs(points: ArrayLike) -> NDArray[np.float64]:
    """Return points as floats of shape (n, 2); an empty input has shape (0, 2).

    Raises:
        ValueError: The points have another shape.
    """
    values = np.asarray(points, dtype=float)
    if values.size == 0:
        return np.empty((0, 2))
    if values.ndim != 2 or values.shape[1] != 2:
        raise ValueError(f"points must have the shape (n, 2), got {values.shape}")
    return values
