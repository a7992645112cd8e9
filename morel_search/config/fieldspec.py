"""The fields of a settings class: type, limits, default and meaning, for the checks and the documentation."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["FieldSpec", "replaced", "specs"]

Settings = TypeVar("Settings", bound="DataclassInstance")

_LIMITS = ("ge", "gt", "le", "lt")


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One field of a settings class.

    Attributes:
        name: Name of the field, and its key in the space file.
        base: Type without ``| None``; ``str`` for a choice of names, ``typing.Any`` for a union of types.
        optional: Whether null is allowed.
        choices: The allowed names; empty when any value of the type is allowed.
        module: Whether an import path is allowed too.
        limits: The limits ``ge``, ``gt``, ``le`` and ``lt`` that the field has.
        default: The default value, or ``dataclasses.MISSING``.
        doc: The meaning.
        values: The allowed values in words, for a field whose type does not tell them.
        libraries: Whether ``timm/NAME`` and ``torchvision/NAME`` are allowed too.
        hub: Whether ``huggingface/OWNER/NAME`` is allowed too.
        fixed: Whether all trainings of a search have the same value: neither searched nor set for a control.
    """

    name: str
    base: object
    optional: bool
    choices: tuple[str, ...]
    module: bool
    limits: Mapping[str, float]
    default: object
    doc: str
    values: str = ""
    libraries: bool = False
    hub: bool = False
    fixed: bool = False


@cache
def specs(settings: type[DataclassInstance]) -> dict[str, FieldSpec]:
    """Return the fields of a settings dataclass by name, in their order."""
    hints = typing.get_type_hints(settings)
    return {field.name: _spec(field, hints[field.name]) for field in dataclasses.fields(settings)}


def _spec(field: dataclasses.Field[object], hint: object) -> FieldSpec:
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [member for member in typing.get_args(hint) if member is not type(None)]
        optional = len(members) < len(typing.get_args(hint))
        hint = members[0] if len(members) == 1 else Any
    choices = tuple(field.metadata.get("choices", ()))
    if typing.get_origin(hint) is Literal:
        choices, hint = typing.get_args(hint), str
    default: object = field.default
    if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    limits = {name: field.metadata[name] for name in _LIMITS if name in field.metadata}
    module = bool(field.metadata.get("optional_module"))
    libraries = bool(field.metadata.get("libraries"))
    hub = bool(field.metadata.get("hub"))
    doc, values = (str(field.metadata.get(key, "")) for key in ("doc", "values"))
    fixed = bool(field.metadata.get("fixed"))
    return FieldSpec(
        field.name, hint, optional, choices, module, limits, default, doc, values, libraries, hub, fixed
    )


def replaced(settings: Settings, values: Mapping[str, object]) -> Settings:
    """Return settings with some fields replaced by values of which the types were checked before.

    Raises:
        ValueError: The values contradict each other or other settings.
    """
    return dataclasses.replace(settings, **values)
