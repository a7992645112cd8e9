"""``--set train.epochs=3``: values from the command line, laid over the file before it is checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from morel_search.config.faults import Faults, Location, dotted, nearest
from morel_search.config.fieldspec import specs
from morel_search.config.parameters import ParameterEntry
from morel_search.config.reader import read_tree
from morel_search.config.renamed import current_keys
from morel_search.config.sections import SECTIONS
from morel_search.errors import SpaceError
from morel_search.training.settings import TrainSettings

__all__ = ["apply_overrides"]

_MARK = "--set"


def apply_overrides(tree: dict[str, Any], overrides: Sequence[str], faults: Faults) -> list[str]:
    """Lay ``PATH=VALUE`` texts over the plain values of a file, in their order.

    A value is read as YAML: ``3``, ``8/255``, ``null``, ``[trades, mart]``, ``{type: float, low: 1, high:
    8}``. ``parameters.NAME=null`` takes a parameter out of the search.

    Args:
        tree: The values of the file; changed in place.
        overrides: The texts.
        faults: Receives what is wrong; a wrong one changes nothing.

    Returns:
        A warning for each text that uses the old name of a setting.
    """
    warnings = []
    for text in overrides:
        path, equals, written = text.partition("=")
        given = tuple(path.strip().split("."))
        if not equals or not all(given):
            faults.add((), f"--set {text[:60]!r}: write it as section.setting=value, as in train.epochs=3")
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
        _lay(tree, keys, value, text, faults)
    return warnings


def _value(written: str, keys: Location, faults: Faults) -> Any:
    own = Faults()
    value = read_tree(written, own, _MARK)
    for location in [location for location in faults.origins if location[: len(keys)] == keys]:
        del faults.origins[location]
    faults.origins[keys] = _MARK
    faults.merge(own, keys)
    return value


def _unknown(tree: dict[str, Any], keys: tuple[str, ...]) -> str:
    """What is wrong with a path, or an empty text."""
    section = keys[0]
    if section not in SECTIONS:
        return f"there is no section {section!r}{nearest(section, SECTIONS)}"
    if len(keys) == 1:
        return ""
    if section == "parameters":
        return _unknown_parameter(tree.get("parameters"), keys)
    if section == "controls":
        return _unknown_setting(specs(TrainSettings), keys[2:], 1)
    settings = SECTIONS[section]
    assert settings is not None
    return _unknown_setting(specs(settings), keys[1:], 9 if keys[:2] == ("network", "options") else 1)


def _unknown_parameter(given: Any, keys: tuple[str, ...]) -> str:
    known = specs(TrainSettings)
    if keys[1] not in known:
        return f"{keys[1]!r} is no setting of train{nearest(keys[1], known)}"
    inside = given if isinstance(given, dict) else {}
    if len(keys) > 2 and keys[1] not in inside:
        return f"{keys[1]} is not among the parameters of the file{nearest(keys[1], inside)}"
    return _unknown_setting(specs(ParameterEntry), keys[2:], 2 if keys[2:3] == ("when",) else 1)


def _unknown_setting(known: Any, rest: tuple[str, ...], deepest: int) -> str:
    if rest and rest[0] not in known:
        return f"there is no setting {rest[0]!r}{nearest(rest[0], known)}"
    return f"{rest[deepest - 1]} holds no further settings" if len(rest) > deepest else ""


def _lay(tree: dict[str, Any], keys: tuple[str, ...], value: Any, text: str, faults: Faults) -> None:
    inner: Any = tree
    for depth, key in enumerate(keys[:-1], start=1):
        if inner.get(key) is None:
            inner[key] = {}
        inner = inner[key]
        if not isinstance(inner, dict):
            faults.add((), f"--set {text[:60]}: {dotted(keys[:depth])} is not a mapping in the file")
            return
    if len(keys) == 2 and keys[0] == "parameters" and value is None:
        inner.pop(keys[1], None)
    else:
        inner[keys[-1]] = value
