"""``when``: parameters that count only where another one has a certain value."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from morel_search.config.faults import Faults, Location, nearest, shown
from morel_search.config.fieldspec import specs
from morel_search.config.parameter import Parameter
from morel_search.config.rational import format_value
from morel_search.config.schema import read_value
from morel_search.training.settings import TrainSettings

__all__ = ["read_conditions", "sort_by_conditions"]


def read_conditions(
    name: str, given: Any, right: Mapping[str, Parameter], named: Collection[str], faults: Faults
) -> dict[str, tuple[Any, ...]]:
    """The ``when`` of one parameter.

    Args:
        name: The parameter.
        given: Its ``when`` as it stands in the file, or None.
        right: The parameters that could be read.
        named: Every name in the section, also of those that could not.
        faults: Receives what is wrong.

    Returns:
        Other parameters and the values of theirs for which this one is active.
    """
    location: Location = ("parameters", name, "when")
    if given is None:
        return {}
    if not isinstance(given, dict) or not given:
        faults.add(location, f"must be a mapping such as {{accuracy_loss: loat}}, got {shown(given)}")
        return {}
    conditions: dict[str, tuple[Any, ...]] = {}
    for other, value in given.items():
        if other == name:
            faults.add((*location, other), "a parameter cannot depend on itself")
        elif other not in named:
            faults.add(
                (*location, other),
                f"{other} is not among the parameters{nearest(other, [n for n in named if n != name])}",
            )
        elif other in right:
            conditions[other] = _values(right[other], value, (*location, other), faults)
    return conditions


def _values(other: Parameter, given: Any, location: Location, faults: Faults) -> tuple[Any, ...]:
    if other.values is None:
        faults.add(
            location,
            f"{other.name} has no step, so it never takes one certain value; use a categorical one, an "
            f"int, or a step",
        )
        return ()
    spec = specs(TrainSettings)[other.name]
    several = isinstance(given, list) and (spec.base in (str, int, float) or not _is_choice(other, given))
    if several and not given:
        faults.add(location, "must name at least one value")
    wanted = given if several else [given]
    allowed = []
    for index, item in enumerate(wanted):
        inner = (*location, index) if several else location
        value = read_value(spec, item, inner, faults)
        if value is ...:
            continue
        if other.contains(value):
            allowed.append(value)
        else:
            faults.add(inner, f"{other.name} never takes the value {format_value(value)}{_possible(other)}")
    return tuple(allowed)


def _is_choice(other: Parameter, given: Sequence[Any]) -> bool:
    return any(isinstance(choice, tuple) and list(choice) == list(given) for choice in other.choices)


def _possible(other: Parameter) -> str:
    if other.kind == "categorical":
        return f"; it is one of {', '.join(format_value(choice) for choice in other.choices)}"
    step = "" if other.step is None else f" in steps of {format_value(other.step)}"
    return f"; it goes from {format_value(other.low)} to {format_value(other.high)}{step}"


def sort_by_conditions(parameters: Sequence[Parameter], faults: Faults) -> tuple[Parameter, ...]:
    """The parameters in the order of the file, but each after those that its ``when`` names.

    A circle is a fault.
    """
    waiting = {parameter.name: parameter for parameter in parameters}
    done: dict[str, Parameter] = {}
    while waiting:
        ready = next((p for p in waiting.values() if not any(other in waiting for other in p.when)), None)
        if ready is None:
            circle = _circle(waiting)
            faults.add(("parameters", circle[0], "when"), f"circular: {' needs '.join([*circle, circle[0]])}")
            break
        done[ready.name] = waiting.pop(ready.name)
    return (*done.values(), *waiting.values())


def _circle(waiting: Mapping[str, Parameter]) -> list[str]:
    """The names on one circle, from the first that is met again."""
    path = [next(iter(waiting))]
    while True:
        following = next(other for other in waiting[path[-1]].when if other in waiting)
        if following in path:
            return path[path.index(following) :]
        path.append(following)
