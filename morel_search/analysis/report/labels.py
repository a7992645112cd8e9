"""Positions of the labels of points, so that the labels do not overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Place", "place_labels"]

WIDTH, HEIGHT = 760.0, 420.0
"""Inner size of the figure in pixels for which overlaps are computed; a larger figure has fewer overlaps."""

CHARACTER, LINE, MARK = 5.8, 13.0, 4.0
"""Width of a character, height of a line and half the size of a marker, in pixels."""

LEADER_COST = 24.0
"""Cost of a label that needs a line to its point, in square pixels of overlap."""


@dataclass(frozen=True, slots=True)
class Place:
    """Position of a label relative to its point: Plotly anchors, shifts in pixels, whether it has a line."""

    xanchor: str
    yanchor: str
    xshift: float
    yshift: float
    leader: bool = False


NEAR = (
    Place("left", "middle", 8, 1),
    Place("right", "middle", -8, 1),
    Place("center", "bottom", 0, 6),
    Place("center", "top", 0, -6),
    Place("left", "bottom", 6, 4),
    Place("right", "top", -6, -4),
    Place("left", "top", 6, -4),
    Place("right", "bottom", -6, 4),
)

FAR = tuple(
    Place(
        {-1: "right", 0: "center", 1: "left"}[x],
        "middle" if x else ("bottom" if y > 0 else "top"),
        x * across,
        y * up,
        leader=True,
    )
    for across, up in ((22, 20), (30, 34), (40, 50), (54, 66))
    for x, y in ((-1, -1), (1, -1), (-1, 1), (1, 1), (0, -1), (0, 1))
)

INNER_COST = 20.0
"""Cost of each further place of a label at an edge, in square pixels of overlap."""

INNER_LINES = (0, 1, -1, 2, -2, 3, -3, 4, -4, 5, 6, 7, 8)
"""Shifts of a label at an edge along it, in lines of text."""

Box = tuple[float, float, float, float]


def place_labels(
    labels: Sequence[tuple[float, float, str]],
    limits: Sequence[tuple[float, float]],
    points: Sequence[tuple[float, float]],
    scale: float = 1.0,
    thin: Sequence[tuple[float, float]] = (),
) -> list[Place]:
    """Choose the position of each label, in order, with the least overlap with labels, points and borders.

    A label at an edge of the figure names a point outside it; it stays at the edge and has no line.

    Args:
        labels: x, y and text of each label.
        limits: The ranges of the x-axis and the y-axis.
        points: Points that a label should not cover.
        scale: Size of text and shifts relative to a figure of WIDTH by HEIGHT pixels.
        thin: Points along thin lines that a label should not cover either; a label at an edge may.
    """
    (left, right), (low, high) = limits

    def pixels(x: float, y: float) -> tuple[float, float]:
        return (x - left) / (right - left) * WIDTH / scale, (y - low) / (high - low) * HEIGHT / scale

    def boxes_of(shown: Sequence[tuple[float, float]]) -> NDArray[np.float64]:
        places = np.array([pixels(*point) for point in shown], dtype=float).reshape(-1, 2)
        return np.hstack([places - MARK, places + MARK])

    marks = boxes_of(points)
    all_marks = np.concatenate([marks, boxes_of(thin)])
    placed: list[Place] = []
    boxes: list[Box] = []
    for x, y, text in labels:
        costs = []
        inner = _inner(x, y, limits)
        for rank, place in enumerate(inner or (*NEAR, *FAR)):
            box = _box(*pixels(x, y), text, place)
            line = _leader(*pixels(x, y), place) if place.leader else []
            cost = (
                _overlap_with_all(box, marks if inner else all_marks)
                + 4 * _outside(box, scale)
                + rank * (INNER_COST if inner else 1.0)
                + (LEADER_COST if line else 0.0)
            )
            cost += sum(3 * _overlap(own, other) for other in boxes for own in (box, *line))
            costs.append((cost, rank, place, [box, *line]))
        best = min(costs, key=lambda candidate: candidate[:2])
        placed.append(best[2])
        boxes += best[3]
    return placed


def _inner(x: float, y: float, limits: Sequence[tuple[float, float]]) -> list[Place]:
    """Return the positions of a label at an edge, inside the figure; empty for a label elsewhere."""
    (left, right), (low, high) = limits
    if x in (left, right):
        anchor, shift = ("left", 5.0) if x == left else ("right", -5.0)
        base = 8.0 if y == low else -8.0 if y == high else 0.0
        return [Place(anchor, "middle", shift, base + LINE * lines) for lines in INNER_LINES]
    if y in (low, high):
        anchor, sign = ("bottom", 1) if y == low else ("top", -1)
        return [
            Place(xanchor, anchor, shift, sign * (3.0 + LINE * lines))
            for lines in INNER_LINES
            if lines >= 0
            for xanchor, shift in (("center", 0.0), ("left", 6.0), ("right", -6.0))
        ]
    return []


def _box(x: float, y: float, text: str, place: Place) -> Box:
    width = CHARACTER * len(text) + 4
    left = x + place.xshift - {"left": 0.0, "center": width / 2, "right": width}[place.xanchor]
    low = y + place.yshift - {"bottom": 0.0, "middle": LINE / 2, "top": LINE}[place.yanchor]
    return left, low, left + width, low + LINE


def _leader(x: float, y: float, place: Place) -> list[Box]:
    """Return small boxes along the line from a point to its label."""
    steps = [share / 8 for share in range(2, 8)]
    return [
        (
            x + place.xshift * s - 2,
            y + place.yshift * s - 2,
            x + place.xshift * s + 2,
            y + place.yshift * s + 2,
        )
        for s in steps
    ]


def _overlap(first: Box, second: Box) -> float:
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(0.0, width) * max(0.0, height)


def _overlap_with_all(box: Box, boxes: NDArray[np.float64]) -> float:
    """Return the sum of the overlaps of a box with many boxes, shape (n, 4)."""
    widths = np.minimum(box[2], boxes[:, 2]) - np.maximum(box[0], boxes[:, 0])
    heights = np.minimum(box[3], boxes[:, 3]) - np.maximum(box[1], boxes[:, 1])
    return float((np.maximum(widths, 0.0) * np.maximum(heights, 0.0)).sum())


def _outside(box: Box, scale: float) -> float:
    inside = _overlap(box, (0.0, 0.0, WIDTH / scale, HEIGHT / scale))
    return (box[2] - box[0]) * (box[3] - box[1]) - inside
