"""The values of a range with a step, computed one by one: a grid is counted, never listed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import overload

__all__ = ["MAX_VALUES", "Grid"]

MAX_VALUES = 10_000_000
"""Largest number of values of a searched range: of whole numbers, and of a range with a step.

Optuna's Gaussian processes (``search.sampler: gp``) list the values; 10 million take 80 MB.
"""


@dataclass(frozen=True, slots=True)
class Grid(Sequence[Fraction | float]):
    """The values ``low``, ``low + step``, ``low + 2 * step``, ... of a range.

    Attributes:
        low: The first value.
        step: Distance between two values, above 0.
        length: Number of values, at most ``sys.maxsize``.
        rational: Whether the values are exact rationals; else they are floats.
    """

    low: Fraction
    step: Fraction
    length: int
    rational: bool

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, index: int) -> Fraction | float: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Fraction | float]: ...
    def __getitem__(self, index: int | slice) -> Fraction | float | Sequence[Fraction | float]:
        position = range(self.length)[index]
        if isinstance(position, range):
            return tuple(self[each] for each in position)
        value = self.low + self.step * position
        return value if self.rational else float(value)

    def part(self, begin: int, end: int) -> Grid:
        """Return the values from one index up to another, which is excluded."""
        length = max(0, end - begin)
        return Grid(self.low + self.step * begin, self.step, length, self.rational)

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float, Fraction)):
            return False
        try:
            position = round((Fraction(value) - self.low) / self.step)
        except (ValueError, OverflowError):  # not a number, or infinite
            return False
        return 0 <= position < self.length and self[position] == value
