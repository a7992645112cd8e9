"""The space's parameters as Optuna distributions, and Optuna's values as settings."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from fractions import Fraction
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from morel_search.config import Parameter, Space

__all__ = [
    "ParamValue",
    "configuration_key",
    "decode",
    "distributions",
    "encode",
    "encode_value",
    "params_key",
]

ParamValue = bool | int | float | str | None
"""A value of a parameter, as Optuna stores it."""

RESOLUTION = 1000
"""Two values of a continuous parameter count as the same when they share one of so many equal cells of its (log) range."""


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """One distribution a parameter, conditional ones included.

    A conditional parameter always gets a value, which is inherited and mutated like any other and only looked
    at where its condition holds. So crossover never meets a trial that lacks a parameter, which Optuna's
    NSGA-II would drop for good.
    """
    return {parameter.name: _distribution(parameter) for parameter in space.parameters}


def decode(space: Space, params: Mapping[str, Any]) -> dict[str, Any]:
    """Optuna's values as the settings they stand for; inactive parameters are left out."""
    return space.active(
        {parameter.name: _value(parameter, params[parameter.name]) for parameter in space.parameters}
    )


def encode(space: Space, settings: Any) -> dict[str, Any] | None:
    """Optuna's values for given train settings, or None where one of them lies outside the space."""
    params = {}
    for parameter in space.parameters:
        value = getattr(settings, parameter.name)
        if value is None or not parameter.contains(value):
            return None
        params[parameter.name] = encode_value(parameter, value)
    return params


def configuration_key(space: Space, values: Mapping[str, Any]) -> Hashable:
    """What two trials share exactly when they try the same configuration, continuous values compared in :data:`RESOLUTION` cells."""
    cells: list[tuple[str, Hashable]] = []
    for parameter in space.parameters:
        if parameter.name in values:
            value = values[parameter.name]
            cells.append(
                (
                    parameter.name,
                    _cell(parameter, value)
                    if parameter.kind == "float" and parameter.step is None
                    else value,
                )
            )
    return tuple(cells)


def params_key(space: Space, params: Mapping[str, ParamValue]) -> Hashable:
    """Return the :func:`configuration_key` of Optuna's values."""
    return configuration_key(space, decode(space, params))


def _distribution(parameter: Parameter) -> BaseDistribution:
    if parameter.kind == "categorical":
        return CategoricalDistribution([_plain(choice) for choice in parameter.choices])
    low, high = _bounds(parameter)
    if parameter.kind == "int":
        return IntDistribution(int(low), int(high), log=parameter.log, step=int(parameter.step or 1))
    if parameter.step is not None:
        # Whole steps: Optuna lowers the upper bound of a float grid whose step, like 1/255, is not a short
        # decimal.
        offset, step = _offset(parameter), _exact(parameter.step)
        return IntDistribution(int((low - offset) / step), math.floor((high - offset) / step))
    return FloatDistribution(float(low), float(high), log=parameter.log)


def _value(parameter: Parameter, raw: Any) -> Any:
    if parameter.kind == "categorical":
        return next(choice for choice in parameter.choices if _plain(choice) == raw)
    if parameter.kind == "int":
        return int(raw)
    if parameter.step is not None:
        value = _offset(parameter) + int(raw) * _exact(parameter.step)
        return value if parameter.rational else float(value)
    return Fraction(str(raw)) if parameter.rational else float(raw)


def encode_value(parameter: Parameter, value: Any) -> Any:
    """Optuna's value for one that lies in the parameter's range."""
    if parameter.kind == "categorical":
        return _plain(value)
    if parameter.kind == "int":
        return int(value)
    if parameter.step is not None:
        return round((_exact(value) - _offset(parameter)) / _exact(parameter.step))
    return float(value)


def _bounds(parameter: Parameter) -> tuple[Fraction, Fraction]:
    assert parameter.low is not None
    assert parameter.high is not None
    return _exact(parameter.low), _exact(parameter.high)


def _offset(parameter: Parameter) -> Fraction:
    """0 where the grid's points are multiples of the step, so that 8/255 in steps of 1/255 is stored as 8; else the lower bound."""
    low, _ = _bounds(parameter)
    return Fraction(0) if (low / _exact(parameter.step or 1)).denominator == 1 else low


def _exact(value: Fraction | float) -> Fraction:
    """The number as it was written: 0.1 is 1/10, and not the binary fraction next to it."""
    return value if isinstance(value, Fraction) else Fraction(str(value))


def _plain(choice: Any) -> Any:
    """A choice as one of the types that Optuna stores."""
    return choice if choice is None or isinstance(choice, (bool, int, float, str)) else str(choice)


def _cell(parameter: Parameter, value: Any) -> int:
    bounds = _bounds(parameter)
    low, high, x = float(bounds[0]), float(bounds[1]), float(value)
    if parameter.log:
        low, high, x = math.log(low), math.log(high), math.log(x)
    return round(RESOLUTION * (x - low) / (high - low))
