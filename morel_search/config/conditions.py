"""The key ``when``: parameters that are active only if other settings have certain values."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from morel_search.config.condition import Condition, Interval, condition_text
from morel_search.config.faults import Faults, Location, nearest, shown
from morel_search.config.fieldspec import FieldSpec, specs
from morel_search.config.parameter import Parameter
from morel_search.config.rational import format_value
from morel_search.config.schema import annotation, read_model, read_value, strict_model
from morel_search.config.searchable import OptionValue, searchable
from morel_search.training.settings import TrainSettings

__all__ = ["read_conditions", "sort_by_conditions"]


_CONTINUOUS = (
    "{} is continuous, so a condition on one of its values is never met; give a range such as "
    "{{low: ..., high: ...}}, or make the parameter categorical or int, or give it a step"
)


def read_conditions(
    name: str, given: object, readable: Mapping[str, Parameter], named: Collection[str], faults: Faults
) -> dict[str, Condition]:
    """Read the ``when`` of one parameter.

    Args:
        name: Name of the parameter.
        given: Its ``when`` as it stands in the file; None if it has none.
        readable: The parameters without a fault, by name.
        named: Every name in the section, also of parameters with a fault.
        faults: Receives the faults.

    Returns:
        Names of other settings, each with the values or the range for which this parameter is active. A
        setting that is not searched has the value of ``train``, with which its condition is checked later.
    """
    location: Location = ("parameters", name, "when")
    if given is None:
        return {}
    if not isinstance(given, dict) or not given:
        faults.add(location, f"must be a mapping such as {{accuracy_loss: loat}}, got {shown(given)}")
        return {}
    conditions: dict[str, Condition] = {}
    for other, value in given.items():
        if other == name:
            faults.add((*location, other), "a parameter cannot depend on itself")
        elif (spec := searchable(other)) is None:
            known = [known for known in specs(TrainSettings) if known != name]
            problem = (
                "is the same for all trainings of a search"
                if other in known
                else f"is not a setting of train{nearest(other, known)}"
            )
            faults.add((*location, other), f"{other} {problem}")
        elif other in readable or other not in named:
            parent, inner = readable.get(other), (*location, other)
            read = _read_range if isinstance(value, dict) else _read_values
            conditions[other] = read(spec, parent, value, inner, faults)
    return conditions


def _read_range(
    spec: FieldSpec, other: Parameter | None, given: object, location: Location, faults: Faults
) -> Condition:
    if spec.base is OptionValue and (other is None or other.kind != "categorical"):
        spec = replace(spec, base=int if other is not None and other.kind == "int" else float)
    if spec.base not in (int, float, Fraction):
        faults.add(
            location, f"{spec.name} is not a number, so it has no range; give a value or a list of values"
        )
        return ()
    bound = annotation(spec, optional=False, limits={})
    model = strict_model(spec.name, {"low": (bound, None), "high": (bound, None)})
    values = read_model(model, given, location, faults, known=("low", "high"))
    if values is None:
        return ()
    if not values:
        faults.add(location, "must give low, high or both")
        return ()
    interval = Interval(values.get("low"), values.get("high"))
    if interval.low is not None and interval.high is not None and interval.low > interval.high:
        faults.add(
            (*location, "low"),
            f"low must not be above high, got low {format_value(interval.low)} and high "
            f"{format_value(interval.high)}",
        )
    elif other is not None and not other.can_meet([interval]):
        single = interval.low is not None and interval.low == interval.high
        faults.add(
            location,
            _CONTINUOUS.format(other.name)
            if single and other.values is None
            else f"{other.name} is never {condition_text(interval)}{_possible(other)}",
        )
    return interval


def _read_values(
    spec: FieldSpec, other: Parameter | None, given: object, location: Location, faults: Faults
) -> Condition:
    if other is not None and other.values is None:
        faults.add(location, _CONTINUOUS.format(other.name))
        return ()
    # A value of schedule_drops is itself a list.
    is_list = isinstance(given, list) and (
        spec.base in (str, int, float, bool, Fraction, OptionValue) or not _is_choice(other, given)
    )
    items: Sequence[object] = given if isinstance(given, list) and is_list else [given]
    if not items:
        faults.add(location, "must name at least one value")
    allowed = []
    for index, item in enumerate(items):
        inner = (*location, index) if is_list else location
        if isinstance(item, dict):
            faults.add(inner, "a range cannot be one of several values; give the range alone")
            continue
        value = read_value(spec, item, inner, faults)
        if value is ...:
            continue
        if other is None or other.contains(value):
            allowed.append(value)
        else:
            faults.add(inner, f"{other.name} never takes the value {format_value(value)}{_possible(other)}")
    return tuple(allowed)


def _is_choice(other: Parameter | None, given: Sequence[object]) -> bool:
    """Return whether a list is one value; one of a setting that is not searched is, unless it holds lists."""
    if other is None:
        return not any(isinstance(item, list) for item in given)
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
