"""The searched parameters, as ``settings.json`` describes them, and their values in tables and on axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from morel_search._format import format_number, number_of

__all__ = ["SearchedParameter", "nice_values", "read_parameters"]


@dataclass(frozen=True, slots=True)
class SearchedParameter:
    """One searched parameter.

    Attributes:
        name: Its name in the space file.
        kind: ``float``, ``int`` or ``categorical``.
        low: Smallest value; 0 for a categorical one.
        high: Largest value; 0 for a categorical one.
        log: Whether it is searched, and drawn, on a logarithmic scale.
        choices: The values of a categorical one, as text.
        when: Other parameters and the values of theirs for which it is active.
    """

    name: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[str, ...] = ()
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def column(self) -> str:
        """Its column in the tables."""
        return f"param_{self.name}"

    def value(self, cell: Any) -> float | str | None:
        """Read a table's cell: a number, for a categorical one a text of :attr:`choices` where it is one, None where it does not apply."""
        if cell is None or cell == "" or cell != cell:  # noqa: PLR0124, a NaN differs from itself
            return None
        if self.kind == "categorical":
            text = str(cell)
            return (
                text
                if text in self.choices
                else next((choice for choice in self.choices if _same(choice, text)), text)
            )
        number = number_of(cell)
        return None if number is None or not math.isfinite(number) else number

    def text(self, cell: Any) -> str:
        """Write a cell for people: ``8/255``, ``0.0123``, ``trades``; empty where it does not apply."""
        value = self.value(cell)
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        return str(round(value)) if self.kind == "int" else format_number(value)

    def position(self, cell: Any) -> float | None:
        """Place a cell on the parameter's axis, from 0 (low, or the first choice) to 1; None where it does not apply or is outside."""
        value = self.value(cell)
        if value is None:
            return None
        if isinstance(value, str):
            spaces = max(1, len(self.choices) - 1)
            return self.choices.index(value) / spaces if value in self.choices else None
        low, high = self.low, self.high
        if self.log:
            if value <= 0 or low <= 0:
                return None
            value, low, high = math.log(value), math.log(low), math.log(high)
        share = (value - low) / (high - low) if high > low else 0.5
        return min(1.0, max(0.0, share)) if -1e-9 <= share <= 1 + 1e-9 else None

    def ticks(self) -> list[tuple[float, str]]:
        """Choose labelled places for an axis, from 0 to 1."""
        if self.kind == "categorical":
            return [(self.position(choice) or 0.0, choice) for choice in self.choices]
        if self.high <= self.low:
            return [(0.5, self.text(self.low))]
        if self.log:
            tens = [
                10.0**power
                for power in range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            ]
            values = [self.low, *(ten for ten in tens if self.low * 1.6 < ten < self.high / 1.6), self.high]
        else:
            values = nice_values(self.low, self.high, whole=self.kind == "int")
        return [
            (self.position(value) or 0.0, self.text(value) if self.kind == "int" else format_number(value))
            for value in values
        ]


def read_parameters(described: Sequence[Mapping[str, Any]]) -> list[SearchedParameter]:
    """Read the list ``parameters`` of ``settings.json["space"]``."""
    return [_read(one) for one in described]


def _read(described: Mapping[str, Any]) -> SearchedParameter:
    when = described.get("when") or {}
    return SearchedParameter(
        name=str(described["name"]),
        kind=str(described.get("type") or described.get("kind") or "float"),
        low=number_of(described.get("low")) or 0.0,
        high=number_of(described.get("high")) or 0.0,
        log=bool(described.get("log")),
        choices=tuple(str(choice) for choice in described.get("choices") or ()),
        when={str(name): tuple(str(value) for value in values) for name, values in when.items()},
    )


def nice_values(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Choose four to eight values from low to high to label an axis with: both ends, and round ones between."""
    rough = (high - low) / 5
    ten = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * ten for factor in (1, 2, 2.5, 5, 10) if factor * ten >= rough)
    step = max(1.0, round(step)) if whole else step
    inner = [count * step for count in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [low, *(value for value in inner if low + 0.45 * step < value < high - 0.45 * step), high]


def _same(choice: str, text: str) -> bool:
    """Whether two texts are the same number: a choice ``32`` is read back as ``32.0`` where other rows are empty."""
    one, other = number_of(choice), number_of(text)
    return one is not None and other is not None and math.isclose(one, other, rel_tol=1e-9)
