"""What values a training setting can have in a search."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from morel_search.config.parameter import Parameter
from morel_search.config.space import Space

__all__ = ["drawn_with", "highest", "lowest", "parameter_of", "possible_values"]


def parameter_of(space: Space, name: str) -> Parameter | None:
    """The parameter that searches a setting, if there is one."""
    return next((parameter for parameter in space.parameters if parameter.name == name), None)


def possible_values(space: Space, name: str) -> Sequence[Any]:
    """The values a training setting can have: all of them where they can be counted, else the two ends.

    A setting that is searched under a condition can also have its value of ``train``.
    """
    base = getattr(space.train, name)
    parameter = parameter_of(space, name)
    if parameter is None:
        return (base,)
    values = parameter.values
    if values is None:
        values = (parameter.low, parameter.high)
    if not parameter.when or base in values:
        return values
    return (*((values[0], values[-1]) if isinstance(values, range) else values), base)


def drawn_with(space: Space, parameter: Parameter, other: str) -> Sequence[Any]:
    """The values that another setting can have where this parameter is active."""
    return parameter.when.get(other, possible_values(space, other))


def lowest(space: Space, name: str) -> Any:
    """The smallest number a setting can be; null does not count."""
    return min((value for value in _ends(possible_values(space, name)) if value is not None), default=None)


def highest(space: Space, name: str) -> Any:
    """The largest number a setting can be; null does not count."""
    return max((value for value in _ends(possible_values(space, name)) if value is not None), default=None)


def _ends(values: Sequence[Any]) -> Sequence[Any]:
    return (values[0], values[-1]) if isinstance(values, range) else values
