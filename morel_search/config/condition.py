"""A condition on a setting: the values, or the range of numbers, for which a parameter is active."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TypeAlias

from morel_search._values import Number, SettingValue
from morel_search.config.rational import format_value

__all__ = ["Condition", "Interval", "condition_text", "exact"]


@dataclass(frozen=True, slots=True)
class Interval:
    """The numbers from one bound to another, both included.

    Attributes:
        low: The smallest number; None for no bound.
        high: The largest number; None for no bound.
    """

    low: Number | None = None
    high: Number | None = None

    def __contains__(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, (int, float, Fraction)):
            return False
        number = float(value)  # a study holds floats, so the ends are compared as floats too
        if not math.isfinite(number):
            return False
        return (self.low is None or float(self.low) <= number) and (
            self.high is None or number <= float(self.high)
        )


Condition: TypeAlias = tuple[SettingValue, ...] | Interval
"""The values for which a condition holds; ``value in condition`` says whether it does."""


def condition_text(condition: Condition) -> str:
    """Return a condition as the end of a sentence: ``trades or mart``, ``0.05 to 0.2``, ``at least 3``."""
    if not isinstance(condition, Interval):
        return " or ".join(format_value(value) for value in condition)
    if condition.low is None:
        return f"at most {format_value(condition.high)}"
    if condition.high is None:
        return f"at least {format_value(condition.low)}"
    if condition.low == condition.high:
        return format_value(condition.low)
    return f"{format_value(condition.low)} to {format_value(condition.high)}"


def exact(value: Number) -> Fraction:
    """Return a finite number exactly as it is written: 1/10 for 0.1, not the nearest binary fraction."""
    return Fraction(str(value)) if isinstance(value, float) else Fraction(value)
