"""The searched parameters, as ``settings.json`` describes them, and their values in tables and on axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from morel_search._format import format_number, number_of
from morel_search.results.cells import is_empty

__all__ = ["SearchedParameter", "nice_values", "read_parameters"]


@dataclass(frozen=True, slots=True)
class SearchedParameter:
    """A searched parameter.

    Attributes:
        name: Its name in the space file.
        kind: ``float``, ``int`` or ``categorical``.
        low: Smallest value; 0 for a categorical parameter.
        high: Largest value; 0 for a categorical parameter.
        log: Whether its scale is logarithmic.
        step: Distance between its values, 1 for whole numbers; None when every value is allowed.
        choices: The values of a categorical parameter, as texts.
        when: The conditions under which it is active: names of other settings, and the values they must have,
            or one text for a range.
    """

    name: str
    kind: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    step: float | None = None
    choices: tuple[str, ...] = ()
    when: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def column(self) -> str:
        """Name of its column in the tables."""
        return f"param_{self.name}"

    def value(self, cell: object) -> float | str | None:
        """Convert the cell of a table to a value.

        Returns:
            A number; for a categorical parameter a text, one of :attr:`choices` when the cell equals one;
            None when the parameter is not active.
        """
        if cell == "" or is_empty(cell):
            return None
        if self.kind == "categorical":
            text = str(cell)
            if text in self.choices:
                return text
            return next((choice for choice in self.choices if _same_number(choice, text)), text)
        number = number_of(cell)
        return None if number is None or not math.isfinite(number) else number

    def text(self, cell: object) -> str:
        """Format a cell: ``8/255``, ``0.0123``, ``trades``; empty when the parameter is not active."""
        value = self.value(cell)
        if value is None:
            return ""
        if isinstance(value, str):
            return value
        return str(round(value)) if self.kind == "int" else format_number(value)

    def position(self, cell: object) -> float | None:
        """Compute the position of a cell on the axis of the parameter.

        Returns:
            From 0 (the smallest value or the first choice) to 1; None when the parameter is not active or the
            value is outside the range.
        """
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
        position = (value - low) / (high - low) if high > low else 0.5
        return min(1.0, max(0.0, position)) if -1e-9 <= position <= 1 + 1e-9 else None

    def ticks(self) -> list[tuple[float, str]]:
        """Choose ticks for the axis of the parameter: positions from 0 to 1, with labels."""
        if self.kind == "categorical":
            return [(self.position(choice) or 0.0, choice) for choice in self.choices]
        if self.high <= self.low:
            return [(0.5, self.text(self.low))]
        if self.log:
            first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
            powers = [10.0**exponent for exponent in range(first, last + 1)]
            inner = [power for power in powers if self.low * 1.6 < power < self.high / 1.6]
            values = [self.low, *inner, self.high]
        else:
            values = nice_values(self.low, self.high, whole=self.kind == "int")
        return [
            (self.position(value) or 0.0, self.text(value) if self.kind == "int" else format_number(value))
            for value in values
        ]


def read_parameters(described: Sequence[Mapping[str, object]]) -> list[SearchedParameter]:
    """Read the parameters of the space that ``settings.json`` describes."""
    return [_read(description) for description in described]


def _read(description: Mapping[str, object]) -> SearchedParameter:
    choices, when = description.get("choices"), description.get("when")
    low, high = (number_of(description.get(key)) or 0.0 for key in ("low", "high"))
    if not math.isfinite(high - low):
        low = high = 0.0
    kind = str(description.get("type") or description.get("kind") or "float")
    step = number_of(description.get("step"))
    return SearchedParameter(
        name=str(description["name"]),
        kind=kind,
        low=low,
        high=high,
        log=bool(description.get("log")) and 0 < low < high,
        step=step if step is not None and 0 < step < math.inf else 1.0 if kind == "int" else None,
        choices=_texts(choices),
        when={str(name): _condition_texts(condition) for name, condition in when.items()}
        if isinstance(when, Mapping)
        else {},
    )


def _condition_texts(condition: object) -> tuple[str, ...]:
    """Return the values of a condition; for a range one text."""
    if isinstance(condition, Mapping):
        return (" and ".join(f"{name} {bound}" for name, bound in condition.items()),)
    return _texts(condition)


def _texts(values: object) -> tuple[str, ...]:
    return tuple(str(value) for value in values) if isinstance(values, list | tuple) else ()


def nice_values(low: float, high: float, *, whole: bool = False) -> list[float]:
    """Choose four to eight values for the ticks of an axis: both ends, and round values between them."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    step = max(1.0, round(step)) if whole else step
    inner = [count * step for count in range(math.ceil(low / step), math.floor(high / step) + 1)]
    return [low, *(value for value in inner if low + 0.45 * step < value < high - 0.45 * step), high]


def _same_number(choice: str, text: str) -> bool:
    """Return whether two texts are the same number.

    The choice ``32`` is read back as ``32.0`` when the column has empty cells.
    """
    first, second = number_of(choice), number_of(text)
    return first is not None and second is not None and math.isclose(first, second, rel_tol=1e-9)
