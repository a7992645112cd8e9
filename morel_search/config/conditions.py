"""The key ``when``: parameters that are active only if other parameters have certain values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from morel_search._values import SettingValue
from morel_search.config.faults import Faults, Location, nearest, shown
from morel_search.config.fieldspec import specs
from morel_search.config.parameter import Parameter
from morel_search.config.rational import format_value
from morel_search.config.schema import read_value
from morel_search.training.settings import TrainSettings

__all__ = ["read_conditions", "sort_by_conditions"]


def read_conditions(
    name: str, given: object, readable: Mapping[str, Parameter], named: Collection[str], faults: Faults
) -> dict[str, tuple[SettingValue, ...]]:
    """Read the ``when`` of one parameter.

    Args:
        name: Name of the parameter.
        given: Its ``when`` as it stands in the file; None if it has none.
        readable: The parameters without a fault, by name.
        named: Every name in the section, also of parameters with a fault.
        faults: Receives the faults.

    Returns:
        Names of other parameters, each with the values for which this parameter is active.
    """
    location: Location = ("parameters", name, "when")
    if given is None:
        return {}
    if not isinstance(given, dict) or not given:
        faults.add(location, f"must be a mapping such as {{accuracy_loss: loat}}, got {shown(given)}")
        return {}
    conditions: dict[str, tuple[SettingValue, ...]] = {}
    for other, value in given.items():
        if other == name:
            faults.add((*location, other), "a parameter cannot depend on itself")
        elif other not in named:
            faults.add(
                (*location, other),
                f"{other} is not among the parameters{nearest(other, [n for n in named if n != name])}",
            )
        elif other in readable:
            conditions[other] = _values(readable[other], value, (*location, other), faults)
    return conditions


def _values(other: Parameter, given: object, location: Location, faults: Faults) -> tuple[SettingValue, ...]:
    if other.values is None:
        faults.add(
            location,
            f"{other.name} is continuous, so a condition on one of its values is never met; make it "
            f"categorical or int, or give it a step",
        )
        return ()
    spec = specs(TrainSettings)[other.name]
    # A value of schedule_drops is itself a list.
    is_list = isinstance(given, list) and (spec.base in (str, int, float) or not _is_choice(other, given))
    items: Sequence[object] = given if isinstance(given, list) and is_list else [given]
    if not items:
        faults.add(location, "must name at least one value")
    allowed = []
    for index, item in enumerate(items):
        inner = (*location, index) if is_list else location
        value = read_value(spec, item, inner, faults)
        if value is ...:
            continue
        if other.contains(value):
            allowed.append(value)
        else:
            faults.add(inner, f"{other.name} never takes the value {format_value(value)}{_possible(other)}")
    return tuple(allowed)


def _is_choice(other: Parameter, given: Sequence[object]) -> bool:
    return any(isinstance(choice, tuple) and list(choice) == list(given) for choice in other.choices)


def _possible(other: Parameter) -> str:
    if other.kind == "categorical":
        return f"; its values are {', '.join(format_value(choice) for choice in other.choices)}"
    step = "" if other.step is None else f" in steps of {format_value(other.step)}"
    return f"; its range is {format_value(other.low)} to {format_value(other.high)}{step}"


def sort_by_conditions(parameters: Sequence[Parameter], faults: Faults) -> tuple[Parameter, ...]:
    """Sort parameters so that each follows the parameters that its ``when`` names.

    The order of the file is kept otherwise. A circle of conditions is a fault.
    """
    waiting = {parameter.name: parameter for parameter in parameters}
    ordered: dict[str, Parameter] = {}
    while waiting:
        ready = next((p for p in waiting.values() if not any(other in waiting for other in p.when)), None)
        if ready is None:
            circle = _circle(waiting)
            faults.add(
                ("parameters", circle[0], "when"),
                f"the conditions form a circle: {' needs '.join([*circle, circle[0]])}; remove one of them",
            )
            break
        ordered[ready.name] = waiting.pop(ready.name)
    return (*ordered.values(), *waiting.values())


def _circle(waiting: Mapping[str, Parameter]) -> list[str]:
    """Return the names of one circle of conditions, in the order in which each depends on the next."""
    path = [next(iter(waiting))]
    while True:
        following = next(other for other in waiting[path[-1]].when if other in waiting)
        if following in path:
            return path[path.index(following) :]
        path.append(following)
