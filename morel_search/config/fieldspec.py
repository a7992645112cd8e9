"""What a settings class says about its fields, taken apart once for the schema, the parameters and the documentation."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

__all__ = ["FieldSpec", "specs"]

_LIMITS = ("ge", "gt", "le", "lt")


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of a settings class.

    Attributes:
        name: Its name, which is the key in the space file.
        base: Its type without ``| None``; ``str`` for a choice of names, ``Any`` for several types.
        optional: Whether it may be null.
        choices: The names it may be, or empty.
        module: Whether it may also be an import path.
        limits: ``ge``, ``gt``, ``le``, ``lt`` and their values.
        default: Its default, or ``dataclasses.MISSING``.
        doc: Its meaning.
        values: What may be given, in words, where the type does not say it.
    """

    name: str
    base: Any
    optional: bool
    choices: tuple[str, ...]
    module: bool
    limits: Mapping[str, float]
    default: Any
    doc: str
    values: str = ""


def specs(settings: type[object]) -> dict[str, FieldSpec]:
    """The fields of a settings dataclass by name, in their order."""
    return _specs(typing.cast(typing.Hashable, settings))


@cache
def _specs(settings: Any) -> dict[str, FieldSpec]:
    hints = typing.get_type_hints(settings)
    return {field.name: _spec(field, hints[field.name]) for field in dataclasses.fields(settings)}


def _spec(field: dataclasses.Field[Any], hint: Any) -> FieldSpec:
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        optional = len(members) < len(typing.get_args(hint))
        hint = members[0] if len(members) == 1 else Any
    choices = tuple(field.metadata.get("choices", ()))
    if typing.get_origin(hint) is Literal:
        choices, hint = typing.get_args(hint), str
    default = field.default
    if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    limits = {name: field.metadata[name] for name in _LIMITS if name in field.metadata}
    module = bool(field.metadata.get("optional_module"))
    doc, values = (str(field.metadata.get(key, "")) for key in ("doc", "values"))
    return FieldSpec(field.name, hint, optional, choices, module, limits, default, doc, values)
