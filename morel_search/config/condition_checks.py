"""Conditions of a checked space that never hold, which are faults, or always, which is a warning."""

from __future__ import annotations

from collections.abc import Iterator

from morel_search.config.condition import Condition, condition_text
from morel_search.config.faults import Faults
from morel_search.config.parameter import Parameter
from morel_search.config.possible_values import parameter_of
from morel_search.config.rational import format_value
from morel_search.config.space import Space

__all__ = ["check_conditions", "condition_warnings"]

_Demands = dict[str, dict[str, Condition]]
"""For each setting, the conditions on it, by the parameter that has the condition."""


def check_conditions(space: Space, faults: Faults) -> None:
    """Note a fault for each parameter that is never active.

    A condition on a setting of ``train`` that is not searched may not hold. One on a searched setting may be
    out of its range after the constraints, or contradict a condition of a parameter that this one depends on.

    Args:
        space: The space; each condition alone holds for a value of the file's range.
        faults: Receives the faults.
    """
    never: set[str] = set()
    for parameter in space.parameters:  # each after those that it depends on
        if not never.isdisjoint(parameter.when):
            never.add(parameter.name)
            continue
        for other, demands in _demands(space, parameter).items():
            reason = _never(space, parameter, other, demands)
            if reason:
                faults.add(("parameters", parameter.name, "when"), reason)
                never.add(parameter.name)
                break


def condition_warnings(space: Space) -> Iterator[str]:
    """Yield a sentence for each condition that always holds."""
    for parameter in space.parameters:
        for other, condition in parameter.when.items():
            place, parent = f"parameters.{parameter.name}.when.{other}", parameter_of(space, other)
            if parent is None:
                value = format_value(space.base.value(other))
                yield f"{place} has no effect: {other} is not searched, and it is always {value}"
            elif not parent.when and parent.always_meets(condition):
                yield f"{place} has no effect: it allows every value that {other} takes"


def _demands(space: Space, parameter: Parameter) -> _Demands:
    """Return the conditions of a parameter, and of the parameters that it depends on."""
    demands: _Demands = {}
    for other, condition in parameter.when.items():
        demands.setdefault(other, {})[parameter.name] = condition
        parent = parameter_of(space, other)
        for name, more in _demands(space, parent).items() if parent is not None else ():
            demands.setdefault(name, {}).update(more)
    return demands


def _never(space: Space, parameter: Parameter, other: str, demands: dict[str, Condition]) -> str:
    """Return why the conditions on one setting never hold together; empty when they can."""
    own, searched = demands.get(parameter.name), parameter_of(space, other)
    if searched is None:
        value = space.base.value(other)
        if own is None or value in own:
            return ""
        return (
            f"{parameter.name} is never active: {other} is not searched and is {format_value(value)}, not "
            f"{condition_text(own)}; search {other}, or change the condition"
        )
    if searched.can_meet(list(demands.values())):
        return ""
    if own is not None and not searched.can_meet([own]):
        return (
            f"{parameter.name} is never active: with the constraints, {other} is never {condition_text(own)}"
        )
    needs = " and ".join(f"{name} needs {other} to be {condition_text(demands[name])}" for name in demands)
    return f"{parameter.name} is never active: {needs}"
