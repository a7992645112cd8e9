"""The section of the settings, versions and hardware, with the space file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from morel_search._format import without_passwords
from morel_search.analysis.report.html import Section, section, text, value_table
from morel_search.analysis.run_data import RunData
from morel_search.results.reading import read_regular

__all__ = ["settings_section"]

_RUN = ("created", "finished", "status", "seed", "device", "commit", "overrides", "format")
"""Keys of ``settings.json`` that describe the run."""

LARGEST_SPACE = 2**20
"""Largest space file in the report, in bytes."""


def settings_section(run_data: RunData) -> Section:
    """Return the resolved settings, the versions, the hardware and the space file."""
    settings, values = run_data.settings, run_data.settings.to_json()
    parts = [(name, _values(value)) for name, value in settings.space.items() if isinstance(value, Mapping)]
    parts += [
        ("parameters", _items(settings.parameters)),
        ("controls", _items(settings.controls)),
        ("run", _values({key: values.get(key) for key in _RUN})),
        ("versions", _values(settings.versions)),
        ("hardware", _values(settings.hardware)),
    ]
    blocks = "".join(f"<div><h3>{text(title)}</h3>{content}</div>" for title, content in parts if content)
    try:
        given = read_regular(run_data.run.space, LARGEST_SPACE).decode("utf-8", "replace")
    except OSError:
        given = ""
    file = f"<h3>space.yaml</h3><pre>{text(given)}</pre>" if given else ""
    title = "Settings, versions and hardware"
    content = f'<div class="columns">{blocks}</div>{file}'
    return section(title, content, ident="settings")


def _values(values: Mapping[str, object]) -> str:
    return value_table({key: _value(value) for key, value in values.items()})


def _items(items: Sequence[Mapping[str, object]]) -> str:
    return value_table({str(item.get("name")): _item(item) for item in items})


def _item(item: Mapping[str, object]) -> str:
    """Return a parameter or a control on one line, without empty values; overrides are listed like keys."""
    overrides = item.get("overrides")
    values = {
        key: value
        for key, value in item.items()
        if key not in ("name", "overrides") and value is not None and value is not False and value != {}
    }
    values |= overrides if isinstance(overrides, Mapping) else {}
    return ", ".join(f"{key} {_value(value)}" for key, value in values.items())


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(entry)}" for key, entry in value.items()) or "–"
    if isinstance(value, list):
        return ", ".join(_value(entry) for entry in value) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else without_passwords(str(value))
