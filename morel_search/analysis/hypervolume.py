"""The hypervolume of a front: the share of the unit square of both accuracies that it dominates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morel_search.analysis.front import pairs

__all__ = ["REFERENCE", "hypervolume", "hypervolume_history"]

REFERENCE = (0.0, 0.0)
"""The reference point: no accuracy at all. Fixed, so that the figures of different runs on the same data can be compared."""


def hypervolume(points: ArrayLike) -> float:
    """Compute the area between the front of the points and :data:`REFERENCE`.

    Args:
        points: Shape (n, 2): clean and robust accuracies, fractions in [0, 1]. Rows with a NaN are left out
            (moocore would answer 0).

    Returns:
        The area, in [0, 1] for accuracies; 0 without points.

    Raises:
        ValueError: The shape is another one, or a value is infinite.
    """
    values = pairs(points)
    values = values[~np.isnan(values).any(axis=1)]
    if np.isinf(values).any():
        raise ValueError("points must be finite")
    values = values[(values > REFERENCE).all(axis=1)]
    if not len(values):
        return 0.0
    import moocore

    return float(moocore.hypervolume(values, ref=REFERENCE, maximise=True))


def hypervolume_history(trials: Sequence[Iterable[tuple[float, float]]]) -> NDArray[np.float64]:
    """Compute the hypervolume after each trial.

    Args:
        trials: The points that each trial stands for, in the order in which the trials count: none where it
            failed, was stopped early or breaks a constraint, several where its epochs count one by one.
            Points with a NaN are left out.

    Returns:
        Shape (len(trials),), never falling.
    """
    steps: list[tuple[float, float]] = []  # the front so far
    history = np.zeros(len(trials))
    area = 0.0
    for index, points in enumerate(trials):
        before = steps
        for clean, robust in points:
            if not math.isnan(clean + robust) and not any(x >= clean and y >= robust for x, y in steps):
                steps = [*((x, y) for x, y in steps if x > clean or y > robust), (clean, robust)]
        if steps is not before:
            area = max(area, hypervolume(steps))
        history[index] = area
    return history
