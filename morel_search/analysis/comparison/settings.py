"""The settings in which runs differ: resolved space, seed, versions and machine, one line per key."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from morel_search._format import without_passwords
from morel_search.analysis.comparison.comparable import comparable_value
from morel_search.results.settings import RunSettings

__all__ = ["differing_settings"]

ABSENT = "–"
"""The value of a key that a run does not have, or that is null."""


def differing_settings(runs: Sequence[RunSettings]) -> list[tuple[str, tuple[str, ...]]]:
    """Return the keys whose values differ between runs, each with the value of every run as a text.

    Args:
        runs: The settings of the runs.

    Returns:
        Keys such as ``train.lr``, ``parameters.epsilon.high`` and ``versions.torch``, in the order of the
        first run; keys that only others have come last.
    """
    flat = [dict(_flat(settings)) for settings in runs]
    keys = dict.fromkeys(key for values in flat for key in values)
    rows = [(key, tuple(values.get(key, ABSENT) for values in flat)) for key in keys]
    return [(key, values) for key, values in rows if len({*map(comparable_value, values)}) > 1]


def _flat(settings: RunSettings) -> Iterator[tuple[str, str]]:
    for name, value in settings.space.items():
        yield from _walk(name, value)
    if "seed" not in settings.section("search"):
        yield from _walk("seed", settings.seed)
    yield from _walk("rungs", list(settings.rungs) or None)
    yield from _walk("device", settings.device)
    yield from _walk("compute", settings.compute)
    yield from _walk("versions", settings.versions)
    yield from _walk("commit", settings.commit)
    yield from _walk("hardware", settings.hardware)


def _walk(key: str, value: object) -> Iterator[tuple[str, str]]:
    """Yield the keys below a value with their texts; items with a name have it as their key."""
    if isinstance(value, Mapping):
        for name, entry in value.items():
            if name != "name" or "." not in key:  # the name of an item is part of its key
                yield from _walk(key if name == "overrides" else f"{key}.{name}", entry)
    elif isinstance(value, list) and value and all(_is_named(entry) for entry in value):
        for entry in value:
            yield from _walk(f"{key}.{entry['name']}", entry)
    else:
        yield key, _text(value)


def _is_named(entry: object) -> bool:
    return isinstance(entry, Mapping) and isinstance(entry.get("name"), str)


def _text(value: object) -> str:
    if value is None or value in ({}, []):
        return ABSENT
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_text(entry) for entry in value)
    return without_passwords(str(value))
