"""The hypervolume of a front: the share of the unit square of both accuracies that it dominates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morel_search.analysis.front import pairs

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["REFERENCE", "hypervolume", "hypervolume_history"]

REFERENCE = (0.0, 0.0)
"""The reference point: no accuracy at all. Fixed, so that the figures of different runs on the same data can be compared."""


def hypervolume(points: ArrayLike) -> float:
    """Compute the area between the front of the points and :data:`REFERENCE`.

    Args:
        points: Shape (n, 2): clean and robust accuracies, fractions in [0, 1]. Rows with a NaN are left out (moocore would answer 0).

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


def hypervolume_history(trials: pd.DataFrame) -> NDArray[np.float64]:
    """Compute the hypervolume after each trial.

    Args:
        trials: Rows of ``trials.csv`` in the order in which they count; only COMPLETE ones contribute.

    Returns:
        Shape (len(trials),), never falling.
    """
    points = trials[["clean_accuracy", "robust_accuracy"]].to_numpy(dtype=float, copy=True)
    if "state" in trials:
        points[(trials["state"] != "COMPLETE").to_numpy()] = np.nan
    steps: list[tuple[float, float]] = []  # the front so far
    history = np.zeros(len(points))
    area = 0.0
    for index, point in enumerate(points):
        if not np.isnan(point).any() and not any(x >= point[0] and y >= point[1] for x, y in steps):
            steps = [(x, y) for x, y in steps if x > point[0] or y > point[1]] + [(float(point[0]), float(point[1]))]
            area = max(area, hypervolume(steps))
        history[index] = area
    return history
