"""Points of clean and robust accuracy, both to be maximised, and those of them that none dominates."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import moocore
import numpy as np

__all__ = ["Front", "Member", "Point", "dominates"]

Point = tuple[float, float]
Member = tuple[int, int]
"""A trial's number and one of its epochs."""


def dominates(one: Point, other: Point) -> bool:
    """Whether one is at least as good in both accuracies and better in one."""
    return one != other and one[0] >= other[0] and one[1] >= other[1]


class Front:
    """The points so far that none dominates; equal ones stay side by side."""

    def __init__(self) -> None:
        self._points: dict[Member, Point] = {}

    def __contains__(self, member: object) -> bool:
        return member in self._points

    def __iter__(self) -> Iterator[Member]:
        return iter(self._points)

    def __len__(self) -> int:
        return len(self._points)

    def add(self, member: Member, point: Point) -> list[Member]:
        """Take a point in if none dominates it, and return the members that had to leave for it."""
        if any(dominates(other, point) for other in self._points.values()):
            return []
        beaten = [one for one, other in self._points.items() if dominates(point, other)]
        for one in beaten:
            del self._points[one]
        self._points[member] = point
        return beaten

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
