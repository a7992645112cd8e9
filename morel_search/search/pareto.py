"""The Pareto front of a search: clean and robust accuracy, both maximized."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import moocore
import numpy as np

from morel_search._dominance import dominates

__all__ = ["Front", "Member", "Point"]

Point = tuple[float, float]
"""Clean and robust accuracy, fractions."""

Member = tuple[int, int]
"""A trial's number and one of its epochs."""


class Front:
    """The points that no other point dominates; equal points are all members."""

    def __init__(self) -> None:
        self._points: dict[Member, Point] = {}

    def __contains__(self, member: object) -> bool:
        return member in self._points

    def __iter__(self) -> Iterator[Member]:
        return iter(self._points)

    def __len__(self) -> int:
        return len(self._points)

    def add(self, member: Member, point: Point) -> list[Member]:
        """Add a point unless a member dominates it; return the members that it dominates, which leave."""
        members, points = list(self._points), np.array(list(self._points.values())).reshape(-1, 2)
        if dominates(points, point).any():
            return []
        dominated = [members[index] for index in np.flatnonzero(dominates(point, points))]
        for other in dominated:
            del self._points[other]
        self._points[member] = point
        return dominated

    def add_trial(self, number: int, points: Iterable[tuple[int, float, float]]) -> list[Member]:
        """Add the points of a trial; return the members of other trials that they dominate.

        Args:
            number: The trial's number.
            points: (epoch, clean accuracy, robust accuracy).
        """
        removed: list[Member] = []
        for epoch, clean, robust in points:
            removed += self.add((number, epoch), (clean, robust))
        return [member for member in removed if member[0] != number]

    @property
    def hypervolume(self) -> float:
        """The area that the front dominates, from (0, 0)."""
        if not self._points:
            return 0.0
        return float(
            moocore.hypervolume(np.array(list(self._points.values())), ref=(0.0, 0.0), maximise=True)
        )
