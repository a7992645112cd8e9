"""Pareto dominance of points whose objectives are all maximized."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["dominates"]


def dominates(first: ArrayLike, second: ArrayLike) -> NDArray[np.bool_]:
    """Return whether points dominate other points.

    A point dominates another point if it is at least as good in all objectives and better in one. Equal
    points do not dominate each other. A point with a NaN dominates no point, and no point dominates it.

    Args:
        first: Shape (..., m): points with m objectives to maximize.
        second: The other points, of a shape that broadcasts with that of ``first``.

    Returns:
        Booleans of the broadcast shape without the last axis; for two points, a single boolean.
    """
    one, other = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    return np.asarray((one >= other).all(axis=-1) & (one > other).any(axis=-1))
