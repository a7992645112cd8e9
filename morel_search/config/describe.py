"""A space as JSON values, what of it makes a run the same run, and the difference of two of them in words."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from morel_search.config.rational import format_rational

if TYPE_CHECKING:
    from morel_search.config.constraints import Constraint
    from morel_search.config.parameter import Parameter

__all__ = ["SECTIONS", "changes", "describe_space", "identity_of"]

SECTIONS = (
    "data",
    "network",
    "train",
    "evaluation",
    "search",
    "early_stopping",
    "verify",
    "compute",
    "resources",
)
_FREE = {
    "search": (
        "trials",
        "start_from",
        "max_hours",
        "max_gpu_hours",
        "patience",
        "min_improvement",
        "max_failures",
    )
}


def describe_space(
    sections: Mapping[str, Any],
    parameters: Sequence[Parameter],
    constraints: Sequence[Constraint],
    controls: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """Describe a space as JSON values.

    Args:
        sections: Name of a section to its settings, a dataclass; :data:`SECTIONS` are described.
        parameters: What is searched.
        constraints: What a network of the front must satisfy.
        controls: Name of a control to its overrides.

    Returns:
        Sections as mappings, ``parameters`` and ``controls`` as lists of mappings with a ``name``.
    """
    bounds = {
        constraint.name: f"{constraint.sign} {format_rational(constraint.bound)}"
        for constraint in constraints
    }
    return {
        **{name: _plain(dataclasses.asdict(sections[name])) for name in SECTIONS},
        "parameters": [_parameter(parameter) for parameter in parameters],
        "constraints": bounds,
        "controls": [{"name": name, "overrides": _plain(overrides)} for name, overrides in controls.items()],
    }


def identity_of(description: Mapping[str, Any]) -> dict[str, Any]:
    """A description without what may change on resume: resources, verification, when to end, what to begin with."""
    kept = {name: value for name, value in description.items() if name not in ("resources", "verify")}
    for section, names in _FREE.items():
        kept[section] = {name: value for name, value in kept[section].items() if name not in names}
    return kept


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What differs between two descriptions or identities, a sentence each; empty exactly where they are equal.

    >>> changes({"train": {"epochs": 10}}, {"train": {"epochs": 12}})
    ['train.epochs was 10 and is 12']
    """
    found: list[str] = []
    _compare("", old, new, found)
    return found


def _compare(location: str, old: Any, new: Any, found: list[str]) -> None:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in [*old, *(name for name in new if name not in old)]:
            inner = f"{location}.{name}" if location else str(name)
            if name not in new:
                found.append(f"{inner} was {_words(old[name])} and is gone")
            elif name not in old:
                found.append(f"{inner} is new: {_words(new[name])}")
            else:
                _compare(inner, old[name], new[name], found)
    elif _named(old) and _named(new) and old != new:
        before = len(found)
        _compare(location, _by_name(old), _by_name(new), found)
        if len(found) == before:
            found.append(f"{location} are in another order: {_order(old)} and now {_order(new)}")
    elif old != new:
        found.append(f"{location} was {_words(old)} and is {_words(new)}")


def _named(value: Any) -> bool:
    """Whether this is a list of mappings that each have a name of their own, as parameters and controls are."""
    if not isinstance(value, list) or not all(isinstance(item, Mapping) and "name" in item for item in value):
        return False
    return len({item["name"] for item in value}) == len(value)


def _by_name(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {item["name"]: {key: value for key, value in item.items() if key != "name"} for item in items}


def _order(items: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(str(item["name"]) for item in items)


def _words(value: Any) -> str:
    if isinstance(value, str):
        return value or "empty"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return json.dumps(value) if isinstance(value, (Mapping, list)) else str(value)


def _parameter(parameter: Parameter) -> dict[str, Any]:
    described: dict[str, Any] = {"name": parameter.name, "type": parameter.kind}
    if parameter.kind == "categorical":
        described["choices"] = _plain(parameter.choices)
    else:
        described.update(
            low=_plain(parameter.low),
            high=_plain(parameter.high),
            log=parameter.log,
            step=_plain(parameter.step),
        )
    described["when"] = _plain(parameter.when)
    return described


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return format_rational(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
