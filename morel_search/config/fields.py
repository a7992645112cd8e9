"""Tables of the settings for the documentation, made from the settings classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from morel_search.config.constraints import MEASURED
from morel_search.config.controls import BUILT_IN, DEFAULT_CONTROLS
from morel_search.config.fieldspec import FieldSpec, specs
from morel_search.config.parameters import ParameterEntry
from morel_search.config.rational import format_rational
from morel_search.config.sections import SECTIONS

__all__ = ["document", "field_table"]

_SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
_TYPES: dict[object, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true, false",
    Fraction: "rational",
}


def document() -> str:
    """Return the tables of all sections of a space file, as markdown."""
    return "\n\n".join(f"### `{section}`\n\n{field_table(section)}" for section in SECTIONS) + "\n"


def field_table(section: str) -> str:
    """Return the fields of one section as a markdown table: key, value, default, meaning.

    Args:
        section: ``data``, ``network``, ``train``, ``evaluation``, ``parameters``, ``search``,
            ``early_stopping``, ``constraints``, ``resources``, ``controls`` or ``rivals``.

    Raises:
        KeyError: No section has this name.
    """
    if section == "controls":
        return _control_table()
    if section == "constraints":
        return _constraint_table()
    if section == "rivals":
        return _rival_table()
    fields = specs(SECTIONS[section] or ParameterEntry)
    rows = [(f"`{spec.name}`", _value(spec), _default(spec), spec.doc) for spec in fields.values()]
    return _table(("key", "value", "default", "meaning"), rows)


def _control_table() -> str:
    rows = []
    for name, settings in BUILT_IN.items():
        values = ", ".join(f"{key} {_written(value)}" for key, value in settings.items())
        rows.append((f"`{name}`", "yes" if name in DEFAULT_CONTROLS else "no", values))
    return _table(("control", "run by default", "settings"), rows)


def _constraint_table() -> str:
    rows = [(f"`{name}`", "`'>= number'` or `'<= number'`", meaning) for name, meaning in MEASURED.items()]
    rows.append(
        (
            "a numeric key of `train`",
            "the same",
            "the setting; the search proposes only values inside the bound",
        )
    )
    return _table(("key", "value", "meaning"), rows)


def _rival_table() -> str:
    rows = [
        ("text", "`package.module:name` of a trained network, or of a function that returns it"),
        ("text", "the folder of a network of this project, such as `results/other/picked/12`"),
        ("mapping", "`name`, `options` and `weights`, as in `network`: an architecture and its checkpoint"),
    ]
    return _table(("value of a name", "meaning"), tuple(rows))


def _value(spec: FieldSpec) -> str:
    if spec.base is Any:
        return spec.values or "as the setting"
    names = ", ".join(f"`{name}`" for name in spec.choices)
    kind = names or _TYPES.get(spec.base) or ("mapping" if isinstance(spec.default, Mapping) else "list")
    library = ", `timm/NAME`, `torchvision/NAME`" if spec.libraries else ""
    if spec.hub:
        return f"{kind}, `huggingface/OWNER/NAME`"
    module = f"{library} or `package.module:name`" if spec.module else ""
    limits = "".join(f" {_SIGNS[name]} {limit}" for name, limit in spec.limits.items())
    return f"{kind}{module}{limits}{', or null' if spec.optional else ''}"


def _default(spec: FieldSpec) -> str:
    return "must be given" if spec.default is dataclasses.MISSING else f"`{_written(spec.default)}`"


def _written(value: object) -> str:
    """Return a value as it would be written in the file."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, Fraction):
        return format_rational(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_written(item) for item in value)}]"
    return "{}" if isinstance(value, Mapping) else str(value)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
