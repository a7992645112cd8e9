"""One searched parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from morel_search._values import Number, SettingValue
from morel_search.config.condition import Condition, Interval, exact
from morel_search.config.grid import Grid
from morel_search.config.rational import parse_rational
from morel_search.config.searchable import searchable

__all__ = ["Kind", "Parameter"]

Kind = Literal["float", "int", "categorical"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A setting of the training and the values that the search may give it.

    Attributes:
        name: Name of the setting, see :func:`~morel_search.config.searchable.searchable`.
        kind: ``float`` (also for exact rationals), ``int`` or ``categorical``.
        low: Smallest value; None for a categorical parameter.
        high: Largest value; None for a categorical parameter.
        step: Distance between the allowed values, from ``low`` on; None allows every value of the range.
        log: Whether the range is searched on a logarithmic scale.
        choices: The values of a categorical parameter.
        when: The conditions: names of other settings, each with the values or the range for which this
            parameter is active. It is active if all conditions hold.
    """

    name: str
    kind: Kind
    low: Number | None = None
    high: Number | None = None
    step: Number | None = None
    log: bool = False
    choices: tuple[SettingValue, ...] = ()
    when: Mapping[str, Condition] = field(default_factory=dict)

    @property
    def rational(self) -> bool:
        """Whether the values are exact rationals (epsilon, step_size)."""
        spec = searchable(self.name)
        return spec is not None and spec.base is Fraction

    @property
    def values(self) -> Sequence[SettingValue] | None:
        """Every value that the parameter can take, in order; None for a range without a step.

        The values of a range are computed one by one, when they are asked for.
        """
        if self.kind == "categorical":
            return self.choices
        assert self.low is not None
        assert self.high is not None
        if self.kind == "int":
            return range(int(self.low), int(self.high) + 1, int(self.step or 1))
        if self.step is None:
            return None
        low, step = parse_rational(self.low), parse_rational(self.step)
        count = math.floor((parse_rational(self.high) - low) / step) + 1
        return Grid(low, step, count, self.rational)

    def contains(self, value: SettingValue) -> bool:
        """Return whether the parameter can take a value.

        A rational must be a value of the grid exactly, a float up to rounding.
        """
        if self.kind == "categorical":
            return any(
                value == choice and isinstance(value, bool) == isinstance(choice, bool)
                for choice in self.choices
            )
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float, Fraction))
            or not math.isfinite(value)
        ):
            return False
        if self.kind == "int":
            return value == int(value) and int(value) in (self.values or ())
        assert self.low is not None
        assert self.high is not None
        if isinstance(value, float):
            return float(self.low) <= value <= float(self.high) and self._near_grid(value)
        low = parse_rational(self.low)
        inside = low <= value <= parse_rational(self.high)
        return inside and (self.step is None or (value - low) % parse_rational(self.step) == 0)

    def values_meeting(self, conditions: Sequence[Condition]) -> Sequence[SettingValue] | Interval:
        """Return the values for which all conditions hold.

        Returns:
            The values, those of a range computed one by one; for a range without a step an interval with two
            bounds, or no value when the interval is empty or a single number.
        """
        lists = [condition for condition in conditions if not isinstance(condition, Interval)]
        if lists or self.kind == "categorical":
            candidates = lists[0] if lists else self.choices
            return tuple(
                value
                for value in candidates
                if self.contains(value) and all(value in condition for condition in conditions)
            )
        ranges = [condition for condition in conditions if isinstance(condition, Interval)]
        own = Interval(self.low, self.high)
        low = max(exact(item.low) for item in (*ranges, own) if item.low is not None)
        high = min(exact(item.high) for item in (*ranges, own) if item.high is not None)
        values = self.values
        if values is None:
            return Interval(low, high) if low < high else ()
        assert isinstance(values, (range, Grid))
        first, step = (Fraction(values.start) if isinstance(values, range) else values.low), values.step
        begin = max(0, math.ceil((low - first) / step))
        end = max(begin, min(len(values), math.floor((high - first) / step) + 1))
        return values[begin:end] if isinstance(values, range) else values.part(begin, end)

    def can_meet(self, conditions: Sequence[Condition]) -> bool:
        """Return whether all conditions hold for at least one value."""
        values = self.values_meeting(conditions)
        return isinstance(values, Interval) or len(values) > 0

    def always_meets(self, condition: Condition) -> bool:
        """Return whether a condition holds for every value."""
        if isinstance(condition, Interval) and self.kind != "categorical":
            return self.low in condition and self.high in condition
        values = self.values
        if values is None or (not isinstance(condition, Interval) and len(values) > len(condition)):
            return False
        return all(value in condition for value in values)

    def _near_grid(self, value: float) -> bool:
        if self.step is None or self.low is None:
            return True
        steps = (value - float(self.low)) / float(self.step)
        return abs(steps - round(steps)) < 1e-6
