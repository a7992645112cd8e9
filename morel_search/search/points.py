"""Points of clean and robust accuracy, both to be maximised."""

from __future__ import annotations

__all__ = ["Point", "dominates"]

Point = tuple[float, float]


def dominates(one: Point, other: Point) -> bool:
    """Whether one is at least as good in both accuracies and better in one."""
    return one != other and one[0] >= other[0] and one[1] >= other[1]
