"""The option ``--set train.epochs=3``: it replaces values of the file before these are checked."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from morel_search._values import JsonObject, JsonValue
from morel_search.config.constraints import constraint_names
from morel_search.config.faults import Faults, Location, dotted, nearest
from morel_search.config.fieldspec import specs
from morel_search.config.parameters import ParameterEntry
from morel_search.config.reader import read_tree
from morel_search.config.renamed import current_keys
from morel_search.config.searchable import joined_name, searchable, unsearchable
from morel_search.config.sections import SECTIONS
from morel_search.errors import SpaceError
from morel_search.training.settings import NetworkSettings, TrainSettings

__all__ = ["apply_overrides"]

_ORIGIN = "--set"
_OPTIONS_DEPTH = 9
"""Levels of keys below ``network.options`` that an override may name."""


def apply_overrides(tree: JsonObject, overrides: Sequence[str], faults: Faults) -> list[str]:
    """Replace values of a file, in the order of the overrides.

    The value of an override is read as YAML: ``3``, ``8/255``, ``null``, ``[trades, mart]``,
    ``{type: float, low: 1, high: 8}``. ``parameters.NAME=null`` removes a parameter from the
    search, ``rivals.NAME=null`` a rival.

    Args:
        tree: The values of the file; changed in place.
        overrides: Texts of the form ``PATH=VALUE``.
        faults: Receives the faults. An override with a fault changes nothing.

    Returns:
        A warning for each override that uses the old name of a setting.
    """
    warnings = []
    for text in overrides:
        path, equals, written = text.partition("=")
        given = _keys(path.strip())
        if not equals or not all(given):
            faults.add((), f"--set {text[:60]!r}: write section.setting=value, such as train.epochs=3")
            continue
        keys = current_keys(given)
        if keys != given:
            warnings.append(f"{dotted(given)} is now called {dotted(keys)}; the old name still works")
        problem = _unknown(tree, keys)
        if problem:
            faults.add((), f"--set {text[:60]}: {problem}")
            continue
        try:
            value = _value(written, keys, faults)
        except SpaceError as error:
            faults.add(
                (), f"--set {text[:60]}: the value is not YAML: {error.faults[0].removeprefix('line 1: ')}"
            )
            continue
        _replace(tree, keys, value, text, faults)
    return warnings


def _keys(path: str) -> tuple[str, ...]:
    """Return the keys of a path; the name of a searched setting such as network.options.width is one key."""
    keys = tuple(path.split("."))
    if keys[0] != "parameters":
        return keys
    name, *rest = joined_name(keys[1:]) or ("",)
    if rest[:1] == ["when"]:
        rest = ["when", *joined_name(tuple(rest[1:]))]
    return ("parameters", name, *rest) if len(keys) > 1 else keys


def _value(written: str, keys: Location, faults: Faults) -> JsonValue:
    own = Faults()
    value = read_tree(written, own, _ORIGIN)
    for location in [location for location in faults.origins if location[: len(keys)] == keys]:
        del faults.origins[location]
    faults.origins[keys] = _ORIGIN
    faults.merge(own, keys)
    return value


def _unknown(tree: JsonObject, keys: tuple[str, ...]) -> str:
    """Return what is wrong with the path of an override; empty if nothing is."""
    section = keys[0]
    if section not in SECTIONS:
        return f"there is no section {section!r}{nearest(section, SECTIONS)}"
    if len(keys) == 1:
        return ""
    if section == "parameters":
        return _unknown_parameter(tree.get("parameters"), keys)
    if section == "constraints":
        return _unknown_setting(constraint_names(), keys[1:], 1)
    if section == "controls":
        return _unknown_setting(specs(TrainSettings), keys[2:], 1)
    settings, rest = (NetworkSettings, keys[2:]) if section == "rivals" else (SECTIONS[section], keys[1:])
    assert settings is not None
    deep = settings is NetworkSettings and rest[:1] == ("options",)
    return _unknown_setting(specs(settings), rest, _OPTIONS_DEPTH if deep else 1)


def _unknown_parameter(given: object, keys: tuple[str, ...]) -> str:
    if searchable(keys[1]) is None:
        known = specs(TrainSettings)
        if keys[1] in known:
            return f"{keys[1]} {unsearchable(keys[1])}"
        return f"{keys[1]!r} is not a setting of train{nearest(keys[1], known)}"
    parameters = given if isinstance(given, dict) else {}
    if len(keys) > 2 and keys[1] not in parameters:
        return f"{keys[1]} is not among the parameters of the file{nearest(keys[1], parameters)}"
    return _unknown_setting(specs(ParameterEntry), keys[2:], 3 if keys[2:3] == ("when",) else 1)


def _unknown_setting(known: Collection[str], rest: tuple[str, ...], deepest: int) -> str:
    """Return what is wrong with the rest of a path that may name at most ``deepest`` levels of keys."""
    if rest and rest[0] not in known:
        return f"there is no setting {rest[0]!r}{nearest(rest[0], known)}"
    return f"{rest[deepest - 1]} has no settings inside it" if len(rest) > deepest else ""


def _replace(tree: JsonObject, keys: tuple[str, ...], value: JsonValue, text: str, faults: Faults) -> None:
    inner = tree
    for depth, key in enumerate(keys[:-1], start=1):
        if inner.get(key) is None:
            inner[key] = {}
        following = inner[key]
        if not isinstance(following, dict):
            faults.add((), f"--set {text[:60]}: {dotted(keys[:depth])} is not a mapping in the file")
            return
        inner = following
    if len(keys) == 2 and keys[0] in ("parameters", "rivals") and value is None:
        inner.pop(keys[1], None)
    else:
        inner[keys[-1]] = value
