"""Axes of the figures of the front: their ranges, which follow the front, and names of what is outside."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from morel_search.analysis.front import front_mask

__all__ = ["Label", "Limits", "border", "edge_label", "inside", "limits_around", "points_along"]

Limits = tuple[tuple[float, float], tuple[float, float]]
"""Ranges of the axes of clean and of robust accuracy, in percent."""

Label = tuple[float, float, str]
"""Position of a point in percent, and its text."""

SHORTEST = 6.0
"""Shortest range of an axis, in percentage points."""

LOWEST, HIGHEST = -3.0, 101.5
"""Ends beyond which no axis goes, in percent; markers at 0 and 100 are whole."""


def limits_around(points: ArrayLike, margin: float) -> Limits:
    """Return ranges around points in percent, with a margin as a share of their range, at least one point.

    Without any known value an axis goes from 0 to 100.
    """
    values = np.asarray(points, dtype=float).reshape(-1, 2)
    return _range(values[:, 0], margin), _range(values[:, 1], margin)


def inside(points: ArrayLike, limits: Limits) -> NDArray[np.bool_]:
    """Return which points lie in the ranges."""
    values, low, high = np.asarray(points, dtype=float).reshape(-1, 2), *np.array(limits).T
    mask: NDArray[np.bool_] = ((values >= low) & (values <= high)).all(axis=1)
    return mask


def edge_label(x: float, y: float, name: str, limits: Limits) -> Label:
    """Return a label for a point: at the point with its name, or at the edge with its direction and place."""
    (left, right), (low, high) = limits
    if left <= x <= right and low <= y <= high:
        return x, y, name
    arrow = "←" if x < left else "→" if x > right else "↓" if y < low else "↑"
    return min(max(x, left), right), min(max(y, low), high), f"{arrow} {name} ({x:.1f}, {y:.1f})"


def border(points: ArrayLike, limits: Limits) -> tuple[list[float], list[float]]:
    """Return the border of the region that points dominate, from the left to the lower edge, in percent."""
    values = np.asarray(points, dtype=float).reshape(-1, 2)
    values = values[front_mask(values)]
    values = values[np.lexsort((-values[:, 1], values[:, 0]))]
    xs, ys = [limits[0][0]], [float(values[0, 1])]
    for x, y in values.tolist():
        xs += [xs[-1], x]
        ys += [y, y]
    return [round(x, 3) for x in (*xs, xs[-1])], [round(y, 3) for y in (*ys, limits[1][0])]


def points_along(xs: Sequence[float], ys: Sequence[float], limits: Limits) -> Iterable[tuple[float, float]]:
    """Return points along a line, close enough that a label does not lie on it between two of them."""
    across, up = (high - low for low, high in limits)
    for x0, x1, y0, y1 in zip(xs, xs[1:], ys, ys[1:], strict=False):
        count = 1 + round(abs(x1 - x0) / across * 50 + abs(y1 - y0) / up * 35)
        yield from ((x0 + (x1 - x0) * k / count, y0 + (y1 - y0) * k / count) for k in range(count + 1))


def _range(values: NDArray[np.float64], margin: float) -> tuple[float, float]:
    known = values[~np.isnan(values)]
    if not len(known):
        return 0.0, 100.0
    low, high = float(known.min()), float(known.max())
    room = max(1.0, margin * (high - low), (SHORTEST - (high - low)) / 2)
    return max(LOWEST, low - room), min(HIGHEST, high + room)
