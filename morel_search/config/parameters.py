"""The section ``parameters``: the searched settings, with their ranges and conditions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from morel_search._values import JsonObject, JsonValue
from morel_search.config.conditions import read_conditions, sort_by_conditions
from morel_search.config.faults import Faults, Location, shown
from morel_search.config.fieldspec import FieldSpec, specs
from morel_search.config.grid import MAX_VALUES
from morel_search.config.parameter import Kind, Parameter
from morel_search.config.rational import format_value, parse_rational
from morel_search.config.schema import annotation, check_keys, read_model, strict_model
from morel_search.config.searchable import OptionValue, searchable, unsearchable

__all__ = ["ParameterEntry", "kinds_of", "read_parameters"]

_PLACE: Location = ("parameters",)
_RANGE_KEYS = ("low", "high", "log", "step")
_KINDS: dict[object, tuple[Kind, ...]] = {
    int: ("int", "categorical"),
    float: ("float", "categorical"),
    Fraction: ("float", "categorical"),
    OptionValue: ("float", "int", "categorical"),
}
_NOUNS: dict[object, str] = {int: "a whole number", float: "a number", Fraction: "a number"}


@dataclass(frozen=True)
class ParameterEntry:
    """The keys of one searched parameter, for the documentation and for the check of keys."""

    type: Kind = field(
        metadata={
            "doc": "float, int or categorical; it must match the type of the setting, which is a key of "
            "train, data.augmentation, data.extra_share, or network.options.NAME for an option of the network"
        }
    )
    low: Any = field(
        default=None,
        metadata={"doc": "float, int: smallest value; rationals such as 2/255 for epsilon and step_size"},
    )
    high: Any = field(default=None, metadata={"doc": "float, int: largest value"})
    log: bool = field(
        default=False, metadata={"doc": "float, int: search on a logarithmic scale (low above 0, no step)"}
    )
    step: Any = field(
        default=None,
        metadata={"doc": "float, int: distance between the values, from low on; it must divide the range"},
    )
    choices: tuple[Any, ...] = field(default=(), metadata={"doc": "categorical: the values, at least two"})
    when: Any = field(
        default=None,
        metadata={
            "doc": "conditions: other settings, each with the values for which this parameter is active: "
            "a value, a list of values, or for numbers a range such as {low: 0.05, high: 0.2}, both ends "
            "included"
        },
    )


def kinds_of(spec: FieldSpec) -> tuple[Kind, ...]:
    """Return the types that a searched setting can have."""
    return _KINDS.get(spec.base, ("categorical",))


def read_parameters(given: object, fixed: object, faults: Faults) -> tuple[Parameter, ...]:
    """Read the section.

    Args:
        given: The section as it stands in the file.
        fixed: The section ``train``; its keys must not be searched.
        faults: Receives the faults.

    Returns:
        The parameters without a fault, sorted so that each follows the parameters that its ``when`` names.
    """
    if not isinstance(given, dict) or not given:
        faults.add(_PLACE, "must be a mapping of at least one parameter to search (name: {type: ..., ...})")
        return ()
    parameters: dict[str, Parameter] = {}
    for name, entry in given.items():
        parameter = _read(name, entry, fixed if isinstance(fixed, dict) else {}, faults)
        if parameter is not None:
            parameters[name] = parameter
    entries = {
        name: entry
        for name, entry in given.items()
        if isinstance(entry, dict) and searchable(name) is not None
    }
    conditions = {
        name: read_conditions(name, entry.get("when"), parameters, given, faults)
        for name, entry in entries.items()
    }
    return sort_by_conditions(
        [replace(parameter, when=conditions[name]) for name, parameter in parameters.items()], faults
    )


def _read(name: str, entry: JsonValue, fixed: JsonObject, faults: Faults) -> Parameter | None:
    location = (*_PLACE, name)
    spec = searchable(name)
    if spec is None:
        faults.add(location, unsearchable(name))
        return None
    if name in fixed:
        faults.add(
            location, f"is searched here and fixed in train ({shown(fixed[name])}); remove one of the two"
        )
    if not isinstance(entry, dict):
        faults.add(
            location, f"must be a mapping such as {{type: float, low: 0, high: 1}}, got {shown(entry)}"
        )
        return None
    kind = _read_kind(spec, entry, location, faults)
    right_keys = check_keys(entry, specs(ParameterEntry), location, faults)
    if kind is None:
        return None
    wrong_keys = ("choices",) if kind != "categorical" else _RANGE_KEYS
    for key in (key for key in wrong_keys if key in entry):
        right = "low and high" if kind != "categorical" else "choices"
        faults.add(
            (*location, key), f"{'an' if kind == 'int' else 'a'} {kind} parameter has {right}, not {key}"
        )
    if not right_keys or any(key in entry for key in wrong_keys):
        return None
    return (
        _read_choices(spec, entry, location, faults)
        if kind == "categorical"
        else _read_range(spec, kind, entry, location, faults)
    )


def _read_kind(spec: FieldSpec, entry: JsonObject, location: Location, faults: Faults) -> Kind | None:
    allowed = kinds_of(spec)
    given = entry.get("type")
    if given in allowed:
        return next(kind for kind in allowed if kind == given)
    location = (*location, "type") if "type" in entry else location
    if given in ("float", "int"):
        noun = _NOUNS.get(spec.base, "not a number")
        faults.add(
            location, f"{spec.name} is {noun}, so the type must be {' or '.join(allowed)}, got {given}"
        )
    elif "type" in entry:
        faults.add(location, f"must be {' or '.join(allowed)}, got {shown(given)}")
    else:
        faults.add(location, f"type must be given: {' or '.join(allowed)}")
    return None


def _read_choices(spec: FieldSpec, entry: JsonObject, location: Location, faults: Faults) -> Parameter | None:
    choices = entry.get("choices")
    if not isinstance(choices, list) or len(choices) < 2:
        faults.add(
            (*location, "choices") if "choices" in entry else location,
            "choices must be a list of at least 2 values",
        )
        return None
    model = strict_model(spec.name, {"choices": (list[annotation(spec)], ...)})  # type: ignore[misc]
    values = read_model(model, {"choices": choices}, location, faults, known=("choices",))
    if values is None:
        return None
    unique = []
    for index, value in enumerate(values["choices"]):
        if value in unique:
            faults.add((*location, "choices", index), f"{format_value(value)} is given twice")
        else:
            unique.append(value)
    return Parameter(spec.name, "categorical", choices=tuple(unique))


def _read_range(
    spec: FieldSpec, kind: Kind, entry: JsonObject, location: Location, faults: Faults
) -> Parameter | None:
    if spec.base is OptionValue:
        spec = replace(spec, base=int if kind == "int" else float)
    bound = annotation(spec, optional=False)
    fields = {"low": (bound, ...), "high": (bound, ...), "log": (bool, False)}
    fields["step"] = (annotation(spec, optional=True, limits={"gt": 0}), None)
    ranged = {key: entry[key] for key in _RANGE_KEYS if key in entry}
    values = read_model(strict_model(spec.name, fields), ranged, location, faults, known=_RANGE_KEYS)
    if values is None:
        return None
    parameter = Parameter(
        spec.name, kind, values["low"], values["high"], values.get("step"), values.get("log", False)
    )
    before = len(faults)
    _check_range(parameter, location, faults)
    return parameter if len(faults) == before else None


def _check_range(parameter: Parameter, location: Location, faults: Faults) -> None:
    assert parameter.low is not None
    assert parameter.high is not None
    low, high = parse_rational(parameter.low), parse_rational(parameter.high)
    if low >= high:
        faults.add((*location, "low"), f"low must be below high, got {_bounds(parameter)}")
    if parameter.log and low <= 0:
        faults.add(
            (*location, "log"),
            f"a logarithmic scale requires low > 0, got low {format_value(parameter.low)}",
        )
    if parameter.step is not None:
        _check_step(parameter, low, high, location, faults)
    _check_count(parameter, low, high, location, faults)


def _check_step(
    parameter: Parameter, low: Fraction, high: Fraction, location: Location, faults: Faults
) -> None:
    assert parameter.step is not None
    step = parse_rational(parameter.step)
    if parameter.log:
        faults.add((*location, "step"), "log and step cannot be combined; remove one of the two")
    elif low < high and (high - low) % step:
        last = low + (high - low) // step * step
        faults.add(
            (*location, "step"),
            f"must divide high - low, got {_bounds(parameter)}: the last value would be {format_value(last)}",
        )


def _check_count(
    parameter: Parameter, low: Fraction, high: Fraction, location: Location, faults: Faults
) -> None:
    """Check that the range has at most :data:`MAX_VALUES` values, without listing them."""
    if parameter.kind == "float" and parameter.step is None:
        return
    step = 1 if parameter.step is None else parse_rational(parameter.step)
    count = (high - low) // step + 1
    if count > MAX_VALUES:
        remedy = "a larger step, or no step" if parameter.kind == "float" else "a larger step"
        faults.add(
            location if parameter.step is None else (*location, "step"),
            f"the range has {_count_text(count)} values, more than {MAX_VALUES:,}, got {_bounds(parameter)}; "
            + ("narrow it" if parameter.log else f"narrow it, or give {remedy}"),
        )


def _count_text(count: int) -> str:
    return f"{count:,}" if count < 10**15 else f"10^{len(str(count)) - 1}"


def _bounds(parameter: Parameter) -> str:
    return f"low {format_value(parameter.low)} and high {format_value(parameter.high)}"
