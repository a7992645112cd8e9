"""The parameters of a space as Optuna's distributions, and Optuna's values as settings."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping
from fractions import Fraction
from typing import TypeAlias

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from morel_search._values import Number, SettingValue
from morel_search.config import Parameter, Space
from morel_search.config.condition import exact
from morel_search.config.searchable import TrialSettings

__all__ = [
    "ParamValue",
    "Params",
    "configuration_key",
    "decode",
    "distributions",
    "encode",
    "encode_value",
    "params_key",
]

ParamValue: TypeAlias = bool | int | float | str | None
"""A value of a parameter, as Optuna stores it."""

Params: TypeAlias = Mapping[str, ParamValue]
"""Optuna's value of each parameter, by name."""

RESOLUTION = 1000
"""Number of cells of a continuous parameter's (log) range; values in the same cell count as equal."""


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """Return the distribution of each parameter, conditional ones included.

    A conditional parameter always has a value, which is inherited and mutated like any other value, but used
    only if its condition holds. Crossover therefore never meets a trial that lacks a parameter; Optuna's
    NSGA-II would remove that parameter from the search for good.
    """
    return {parameter.name: _distribution(parameter) for parameter in space.parameters}


def decode(space: Space, params: Params) -> dict[str, SettingValue]:
    """Return the settings for Optuna's values; inactive parameters are left out."""
    return space.active(
        {parameter.name: _decode_value(parameter, params[parameter.name]) for parameter in space.parameters}
    )


def encode(space: Space, settings: TrialSettings) -> dict[str, ParamValue] | None:
    """Return Optuna's values for the settings of a training; None if they are not a point of the space."""
    params = {}
    for parameter in space.parameters:
        value: SettingValue = settings.value(parameter.name)
        if value is None or not parameter.contains(value):
            return None
        params[parameter.name] = encode_value(parameter, value)
    return params


def encode_value(parameter: Parameter, value: SettingValue) -> ParamValue:
    """Return Optuna's value for a value in the parameter's range."""
    if parameter.kind == "categorical":
        return _encode_choice(value)
    if parameter.kind == "int":
        return int(_number(value))
    if parameter.step is not None:
        return round((exact(_number(value)) - _offset(parameter)) / exact(parameter.step))
    return float(_number(value))


def configuration_key(space: Space, values: Mapping[str, SettingValue]) -> Hashable:
    """Return a key that is equal for equal configurations.

    Two values of a continuous parameter are equal if they are in the same of :data:`RESOLUTION` cells.

    Args:
        space: The space.
        values: The settings of the active parameters.
    """
    cells: list[tuple[str, Hashable]] = []
    for parameter in space.parameters:
        if parameter.name in values:
            value = values[parameter.name]
            continuous = parameter.kind == "float" and parameter.step is None
            cells.append((parameter.name, _cell(parameter, _number(value)) if continuous else value))
    return tuple(cells)


def params_key(space: Space, params: Params) -> Hashable:
    """Return the :func:`configuration_key` of Optuna's values."""
    return configuration_key(space, decode(space, params))


def _distribution(parameter: Parameter) -> BaseDistribution:
    if parameter.kind == "categorical":
        return CategoricalDistribution([_encode_choice(choice) for choice in parameter.choices])
    low, high = _bounds(parameter)
    if parameter.kind == "int":
        return IntDistribution(int(low), int(high), log=parameter.log, step=int(parameter.step or 1))
    if parameter.step is not None:
        # Numbers of steps, because Optuna lowers the upper bound of a float grid whose step is not a short
        # decimal, such as 1/255.
        offset, step = _offset(parameter), exact(parameter.step)
        return IntDistribution(int((low - offset) / step), math.floor((high - offset) / step))
    return FloatDistribution(float(low), float(high), log=parameter.log)


def _decode_value(parameter: Parameter, stored: ParamValue) -> SettingValue:
    if parameter.kind == "categorical":
        same = (choice for choice in parameter.choices if _encode_choice(choice) == stored)
        choice: SettingValue = next(same)
        return choice
    if parameter.kind == "int":
        return int(_number(stored))
    if parameter.step is not None:
        value = _offset(parameter) + int(_number(stored)) * exact(parameter.step)
        return value if parameter.rational else float(value)
    return Fraction(str(stored)) if parameter.rational else float(_number(stored))


def _bounds(parameter: Parameter) -> tuple[Fraction, Fraction]:
    assert parameter.low is not None
    assert parameter.high is not None
    return exact(parameter.low), exact(parameter.high)


def _offset(parameter: Parameter) -> Fraction:
    """Return the value of step number 0.

    It is 0 if the values are multiples of the step, so that 8/255 in steps of 1/255 is stored as 8, else the
    lower bound.
    """
    low, _ = _bounds(parameter)
    return Fraction(0) if (low / exact(parameter.step or 1)).denominator == 1 else low


def _number(value: SettingValue) -> Number:
    if not isinstance(value, (int, float, Fraction)):
        raise TypeError(f"a numeric parameter must have a number as its value, got {value!r}")
    return value


def _encode_choice(choice: SettingValue) -> ParamValue:
    return choice if choice is None or isinstance(choice, (bool, int, float, str)) else str(choice)


def _cell(parameter: Parameter, value: Number) -> int:
    bounds = _bounds(parameter)
    low, high, x = float(bounds[0]), float(bounds[1]), float(value)
    if parameter.log:
        low, high, x = math.log(low), math.log(high), math.log(x)
    return round(RESOLUTION * (x - low) / (high - low))
