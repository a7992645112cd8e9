"""One searched parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Literal

from morel_search._values import Number, SettingValue
from morel_search.config.fieldspec import specs
from morel_search.config.grid import Grid
from morel_search.config.rational import parse_rational
from morel_search.training.settings import TrainSettings

__all__ = ["Kind", "Parameter"]

Kind = Literal["float", "int", "categorical"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A setting of the training and the values that the search may give it.

    Attributes:
        name: Name of the field of :class:`~morel_search.training.settings.TrainSettings`.
        kind: ``float`` (also for exact rationals), ``int`` or ``categorical``.
        low: Smallest value; None for a categorical parameter.
        high: Largest value; None for a categorical parameter.
        step: Distance between the allowed values, from ``low`` on; None allows every value of the range.
        log: Whether the range is searched on a logarithmic scale.
        choices: The values of a categorical parameter.
        when: The condition: names of other parameters, each with the values for which this parameter is
            active. It is active if all other parameters have one of their values.
    """

    name: str
    kind: Kind
    low: Number | None = None
    high: Number | None = None
    step: Number | None = None
    log: bool = False
    choices: tuple[SettingValue, ...] = ()
    when: Mapping[str, tuple[SettingValue, ...]] = field(default_factory=dict)

    @property
    def rational(self) -> bool:
        """Whether the values are exact rationals (epsilon, step_size)."""
        return specs(TrainSettings)[self.name].base is Fraction

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

    def _near_grid(self, value: float) -> bool:
        if self.step is None or self.low is None:
            return True
        steps = (value - float(self.low)) / float(self.step)
        return abs(steps - round(steps)) < 1e-6
