"""The hypervolume of a front: the area of the unit square of clean and robust accuracy that it dominates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morel_search.analysis.front import pairs
from morel_search.analysis.intervals import LEVEL, Difference

__all__ = [
    "REFERENCE",
    "hypervolume",
    "hypervolume_difference",
    "hypervolume_history",
    "hypervolume_interval",
    "largest_gains",
]

_DRAWS = 400
"""Number of draws of the bootstrap."""

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


def largest_gains(points: ArrayLike, candidates: ArrayLike, count: int) -> list[int]:
    """Choose candidates one after the other, each time the one that adds the most hypervolume.

    Args:
        points: The points of the front so far, shape (n, 2), without NaN.
        candidates: Further points, shape (m, 2), without NaN.
        count: Number of candidates to choose, at most.

    Returns:
        Indices of the chosen candidates, in order; a candidate that adds nothing is not chosen. Of equal
        gains, the first candidate is chosen.
    """
    front, left = pairs(points), pairs(candidates)
    chosen: list[int] = []
    area = hypervolume(front)
    while len(chosen) < count:
        able = [
            index for index, point in enumerate(left) if not (front >= point).all(axis=1).any()
        ]  # a point that another one equals or dominates adds nothing
        gains = {index: hypervolume([*front, left[index]]) - area for index in able}
        best = max(gains, key=lambda index: gains[index], default=None)
        if best is None or gains[best] <= 0:
            break
        chosen.append(best)
        front = np.vstack([front, left[best]])
        area += gains[best]
    return chosen


Answers = Sequence[tuple[NDArray[np.bool_], NDArray[np.bool_]]]
"""For each network, whether each of N images is correctly classified without an attack and under attack."""


def hypervolume_interval(networks: Answers) -> tuple[float, float]:
    """Compute the 95 % interval of the hypervolume of networks, by a bootstrap over the images.

    The networks answered the same images, which are drawn again for all of them together. The interval is the
    basic one, because the hypervolume of drawn images is on average too large: it takes the best network of
    each draw.

    Args:
        networks: For each network, whether each of N images is correctly classified without an attack and
            under attack, two arrays of shape (N,), N >= 1.

    Returns:
        Lower and upper end, in [0, 1]; (0, 0) without networks.
    """
    if not networks:
        return 0.0, 0.0
    (areas,), (area,) = _drawn_areas([networks], paired=True)
    low, high = np.quantile(areas, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return max(0.0, 2 * area - float(high)), min(1.0, 2 * area - float(low))


def hypervolume_difference(first: Answers, second: Answers, *, paired: bool) -> Difference:
    """Compute the hypervolume of the first networks minus that of the second, with its 95 % interval.

    The interval is the basic one of a bootstrap over the images, as in :func:`hypervolume_interval`.

    Args:
        first: The answers of the first networks, at least one.
        second: The answers of the second networks, at least one.
        paired: Whether all networks answered the same images, in the same order; then each draw takes the
            same images for both.

    Returns:
        The difference with the ends of its interval; it has no p-value (NaN).
    """
    (ours, theirs), (area, other) = _drawn_areas([first, second], paired=paired)
    low, high = np.quantile(ours - theirs, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    value = area - other
    return Difference(value, max(-1.0, 2 * value - float(high)), min(1.0, 2 * value - float(low)), math.nan)


def _drawn_areas(groups: Sequence[Answers], *, paired: bool) -> tuple[list[NDArray[np.float64]], list[float]]:
    """Return the hypervolumes of groups of networks on drawn images, each of shape (draws,), and on all."""
    areas, whole = [], []
    rng = np.random.default_rng(0)
    drawn: NDArray[np.float64] | None = None
    for networks in groups:
        results = np.array(networks, dtype=float)
        count = results.shape[2]
        if drawn is None or not paired:
            drawn = rng.multinomial(count, np.full(count, 1 / count), _DRAWS) / count
        areas.append(
            np.array([hypervolume(accuracies) for accuracies in np.moveaxis(results @ drawn.T, 2, 0)])
        )
        whole.append(hypervolume(results.mean(axis=2)))
    return areas, whole
