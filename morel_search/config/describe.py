"""A space as JSON values, the part of it that identifies a run, and the differences between two of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, TypedDict, TypeGuard

from morel_search._values import JsonObject, JsonValue
from morel_search.config.condition import Condition, Interval
from morel_search.config.rational import format_rational

if TYPE_CHECKING:
    from morel_search.config.parameter import Parameter

__all__ = ["SpaceDescription", "changes", "identity_of", "parameter_json", "settings_json", "without_unused"]

_FREE_SECTIONS = ("resources", "verify", "rivals")
_FREE_SETTINGS = (
    *("trials", "start_from", "max_hours", "max_gpu_hours", "max_epoch_minutes"),
    *("patience", "min_improvement", "max_failures"),
)


class SpaceDescription(TypedDict):
    """A space as JSON values; each object of ``parameters``, ``controls`` and ``rivals`` has a ``name``."""

    data: JsonObject
    network: JsonObject
    train: JsonObject
    evaluation: JsonObject
    search: JsonObject
    early_stopping: JsonObject
    verify: JsonObject
    compute: JsonObject
    resources: JsonObject
    parameters: list[JsonObject]
    constraints: dict[str, str]
    controls: list[JsonObject]
    rivals: list[JsonObject]


def settings_json(values: Mapping[str, object]) -> JsonObject:
    """Return settings as a JSON object; rationals are texts such as ``"8/255"``.

    Raises:
        TypeError: A value is of a type that no setting has.
    """
    return {name: _json_value(value) for name, value in values.items()}


def parameter_json(parameter: Parameter) -> JsonObject:
    """Return a searched parameter as a JSON object, with the keys of the space file."""
    described: JsonObject = {"name": parameter.name, "type": parameter.kind}
    if parameter.kind == "categorical":
        described["choices"] = _json_value(parameter.choices)
    else:
        described.update(
            low=_json_value(parameter.low),
            high=_json_value(parameter.high),
            log=parameter.log,
            step=_json_value(parameter.step),
        )
    described["when"] = {name: _condition_json(condition) for name, condition in parameter.when.items()}
    return described


def _condition_json(condition: Condition) -> JsonValue:
    if not isinstance(condition, Interval):
        return _json_value(condition)
    bounds = {"low": condition.low, "high": condition.high}
    return {name: _json_value(bound) for name, bound in bounds.items() if bound is not None}


def identity_of(description: SpaceDescription) -> dict[str, object]:
    """Return a description without the settings that may change when a run is resumed.

    These are the resources, the verification, the rivals, of the search its budget and its first
    configurations, the children of a sampler that has none, and the settings of an early stopping that is
    switched off.
    """
    identity: dict[str, object] = {
        name: value for name, value in description.items() if name not in _FREE_SECTIONS
    }
    search = description["search"]
    free = _FREE_SETTINGS if search["sampler"] in ("nsga2", "nsga3") else (*_FREE_SETTINGS, "children")
    identity["search"] = {name: value for name, value in search.items() if name not in free}
    return without_unused(identity)


def without_unused(identity: Mapping[str, object]) -> dict[str, object]:
    """Return an identity without the settings of an early stopping that is switched off."""
    stopping = identity.get("early_stopping")
    if isinstance(stopping, Mapping) and stopping.get("enabled") is False:
        return {**identity, "early_stopping": {"enabled": False}}
    return dict(identity)


def changes(old: Mapping[str, object], new: Mapping[str, object]) -> list[str]:
    """Return the differences between two descriptions or identities, one sentence each; none if equal.

    >>> changes({"train": {"epochs": 10}}, {"train": {"epochs": 12}})
    ['train.epochs was 10 and is 12']
    """
    sentences: list[str] = []
    _compare("", old, new, sentences)
    return sentences


def _compare(location: str, old: object, new: object, sentences: list[str]) -> None:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for name in [*old, *(name for name in new if name not in old)]:
            inner = f"{location}.{name}" if location else str(name)
            if name not in new:
                sentences.append(f"{inner} was {_text(old[name])} and is removed")
            elif name not in old:
                sentences.append(f"{inner} is new: {_text(new[name])}")
            else:
                _compare(inner, old[name], new[name], sentences)
    elif _is_named(old) and _is_named(new) and old != new:
        before = len(sentences)
        _compare(location, _by_name(old), _by_name(new), sentences)
        if len(sentences) == before:
            sentences.append(f"{location} are in another order: {_order(old)} and now {_order(new)}")
    elif old != new:
        sentences.append(f"{location} was {_text(old)} and is {_text(new)}")


def _is_named(value: object) -> TypeGuard[list[Mapping[str, object]]]:
    """Return whether a value is a list of objects with different names, as parameters and controls are."""
    if not isinstance(value, list) or not all(isinstance(item, Mapping) and "name" in item for item in value):
        return False
    return len({item["name"] for item in value}) == len(value)


def _by_name(items: Sequence[Mapping[str, object]]) -> dict[str, object]:
    return {str(item["name"]): {key: item[key] for key in item if key != "name"} for item in items}


def _order(items: Sequence[Mapping[str, object]]) -> str:
    return ", ".join(str(item["name"]) for item in items)


def _text(value: object) -> str:
    if isinstance(value, str):
        return value or "empty"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return json.dumps(value) if isinstance(value, (Mapping, list)) else str(value)


def _json_value(value: object) -> JsonValue:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Fraction):
        return format_rational(value)
    if isinstance(value, Mapping):
        return {str(name): _json_value(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    raise TypeError(f"a setting has a value of the type {type(value).__name__}")
