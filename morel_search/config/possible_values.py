"""The values that a setting of the training can have in a search."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from morel_search._values import Number, SettingValue
from morel_search.config.condition import Interval
from morel_search.config.grid import Grid
from morel_search.config.parameter import Parameter
from morel_search.config.space import Space

__all__ = ["accuracy_losses", "drawn_with", "highest", "lowest", "parameter_of", "possible_values"]


def parameter_of(space: Space, name: str) -> Parameter | None:
    """Return the parameter that searches a setting; None when the setting is not searched."""
    return next((parameter for parameter in space.parameters if parameter.name == name), None)


def possible_values(space: Space, name: str) -> Sequence[SettingValue]:
    """Return the values that a setting of the training can have.

    Returns:
        All values of a categorical parameter, of whole numbers and of a range with a step, the latter two
        computed one by one; else the lower and the upper bound. The value of ``train`` is one of them if the
        setting is not searched, or searched under a condition; only the bounds of the range are returned with
        it.
    """
    base: SettingValue = space.base.value(name)
    parameter = parameter_of(space, name)
    if parameter is None:
        return (base,)
    values = parameter.values
    if values is None:
        values = (parameter.low, parameter.high)
    if not parameter.when or base in values:
        return values
    return (*_ends(values), base)


def accuracy_losses(space: Space) -> list[str]:
    """Return the accuracy objectives of all trainings of a search, each once."""
    controls = [space.control_settings(control).accuracy_loss for control in space.controls]
    searched = parameter_of(space, "accuracy_loss")
    choices = [] if searched is None else [str(choice) for choice in searched.choices]
    return list(dict.fromkeys([space.train.accuracy_loss, *controls, *choices]))


def drawn_with(space: Space, parameter: Parameter, other: str) -> Sequence[SettingValue]:
    """Return the values that another setting has while this parameter is active; both ends of a range."""
    searched = parameter_of(space, other)
    if other not in parameter.when or searched is None:
        return possible_values(space, other)
    values = searched.values_meeting([parameter.when[other]])
    return (values.low, values.high) if isinstance(values, Interval) else values


def lowest(space: Space, name: str) -> Number:
    """Return the smallest number that a numeric setting can be; null is left out.

    Raises:
        ValueError: The setting can be null alone.
    """
    return min(_numbers(space, name))


def highest(space: Space, name: str) -> Number:
    """Return the largest number that a numeric setting can be; null is left out.

    Raises:
        ValueError: The setting can be null alone.
    """
    return max(_numbers(space, name))


def _numbers(space: Space, name: str) -> list[Number]:
    values = _ends(possible_values(space, name))
    return [value for value in values if isinstance(value, (int, float, Fraction))]


def _ends(values: Sequence[SettingValue]) -> Sequence[SettingValue]:
    """Return the first and the last value of a range, and all values of other sequences."""
    return (values[0], values[-1]) if isinstance(values, (range, Grid)) else values
