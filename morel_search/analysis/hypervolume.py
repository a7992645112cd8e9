"""The hypervolume of a front: the area of the unit square of clean and robust accuracy that it dominates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morel_search.analysis.front import pairs

__all__ = ["REFERENCE", "hypervolume", "hypervolume_history"]

REFERENCE = (0.0, 0.0)
"""The reference point: both accuracies 0. It is fixed, so that runs on the same data can be compared."""


def hypervolume(points: ArrayLike) -> float:
    """Compute the area between the front of the points and :data:`REFERENCE`.

    Args:
        points: Clean and robust accuracies, fractions in [0, 1], shape (n, 2). Rows with a NaN are ignored;
            moocore would return 0 for them.

    Returns:
        The area, in [0, 1]; 0 without points.

    Raises:
        ValueError: The points have another shape, or a value is infinite.
    """
    values = pairs(points)
    values = values[~np.isnan(values).any(axis=1)]
    if np.isinf(values).any():
        raise ValueError("points must be finite, got an infinite value")
    values = values[(values > REFERENCE).all(axis=1)]
    if not len(values):
        return 0.0
    import moocore

    return float(moocore.hypervolume(values, ref=REFERENCE, maximise=True))


def hypervolume_history(trials: Sequence[Iterable[tuple[float, float]]]) -> NDArray[np.float64]:
    """Compute the hypervolume after each trial.

    Args:
        trials: The points of each trial, in the order of the trials. A trial has no point when it failed, was
            stopped early or violates a constraint, and several points when each of its epochs can be a member
            of the front. Points with a NaN are ignored.

    Returns:
        Shape (len(trials),), never decreasing.
    """
    front: list[tuple[float, float]] = []
    history = np.zeros(len(trials))
    area = 0.0
    for index, points in enumerate(trials):
        before = front
        for clean, robust in points:
            if not math.isnan(clean + robust) and not any(x >= clean and y >= robust for x, y in front):
                front = [*((x, y) for x, y in front if x > clean or y > robust), (clean, robust)]
        if front is not before:
            area = max(area, hypervolume(front))
        history[index] = area
    return history
