"""The searched parameters as Optuna's distributions in real units, wide enough for given values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from morel_search.analysis.parameters import SearchedParameter

__all__ = ["ExportedParameter", "ParamValue", "exported_parameter"]

ParamValue: TypeAlias = bool | int | float | str
"""A value of a parameter in Optuna; the choice null is the text ``None``."""


@dataclass(frozen=True, slots=True)
class ExportedParameter:
    """A parameter as Optuna's tools read it.

    Attributes:
        name: Its name.
        distribution: Its range in real units.
        parameter: The parameter as the run describes it.
        choices: Optuna's value of each choice, by its text; empty for a number.
    """

    name: str
    distribution: BaseDistribution
    parameter: SearchedParameter
    choices: Mapping[str, ParamValue]

    def value(self, cell: object) -> ParamValue | None:
        """Return the value of a cell of ``trials.csv``; None for a parameter that is not active."""
        value = self.parameter.value(cell)
        if value is None or isinstance(value, str):
            return None if value is None else self.choices.get(value, value)
        return round(value) if self.parameter.kind == "int" else value

    def holds(self, value: ParamValue) -> bool:
        """Return whether the distribution can hold a value: a log scale cannot hold 0."""
        logarithmic = (
            isinstance(self.distribution, FloatDistribution | IntDistribution) and self.distribution.log
        )
        return not logarithmic or (isinstance(value, int | float) and value > 0)


def exported_parameter(
    parameter: SearchedParameter, described: Mapping[str, object], cells: Sequence[object]
) -> ExportedParameter:
    """Return a parameter with a distribution that is as wide as its range and all values in a table.

    A control may have a value outside the searched range. Optuna refuses such a value, and its tools compare
    only trials whose distributions are equal, so the range of all trials is made wider.

    Args:
        parameter: The parameter.
        described: Its description in ``settings.json``, which has the choices with their types.
        cells: Its cells in ``trials.csv``.
    """
    values = [value for cell in cells if (value := parameter.value(cell)) is not None]
    if parameter.kind == "categorical":
        return _categorical(parameter, described, [str(value) for value in values])
    numbers = [float(value) for value in values if not isinstance(value, str)]
    kept = [value for value in numbers if value > 0] if parameter.log else numbers
    low, high = min([parameter.low, *kept]), max([parameter.high, *kept])
    distribution: BaseDistribution
    if parameter.kind == "int":
        step = 1 if parameter.log or parameter.step is None else round(parameter.step)
        on_grid = all((value - parameter.low) % step == 0 for value in (*kept, high))
        distribution = IntDistribution(
            round(low), round(high), log=parameter.log, step=step if on_grid else 1
        )
    else:  # without a step: Optuna lowers the upper end of a grid whose step is no short decimal, as 1/255
        distribution = FloatDistribution(low, high, log=parameter.log)
    return ExportedParameter(parameter.name, distribution, parameter, {})


def _categorical(
    parameter: SearchedParameter, described: Mapping[str, object], values: Sequence[str]
) -> ExportedParameter:
    given = described.get("choices")
    choices: dict[str, ParamValue] = {}
    for choice in given if isinstance(given, list) else []:
        plain = isinstance(choice, bool | int | float | str)
        choices[str(choice)] = choice if plain else str(choice)
    choices |= {value: value for value in dict.fromkeys(values) if value not in choices}
    distribution = CategoricalDistribution(tuple(choices.values()))
    return ExportedParameter(parameter.name, distribution, parameter, choices)
