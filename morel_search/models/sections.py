"""Settings from JSON values: a rational is a text and a tuple is a list."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from fractions import Fraction
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from morel_search._format import shortened
from morel_search.training.data_settings import is_hub_name
from morel_search.training.library_names import is_library_name

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["read_section"]

Settings = TypeVar("Settings", bound="DataclassInstance")

LONGEST_RATIONAL = 200
"""Longest text of a rational: two whole numbers that no limit of the settings refuses are shorter."""

_JSON_TYPES: dict[object, tuple[type, ...]] = {
    float: (int, float),
    int: (int,),
    bool: (bool,),
    str: (str,),
    Mapping: (dict,),
}
"""For the type of a setting, the types of its JSON values."""


def read_section(settings: type[Settings], given: object) -> Settings:
    """Return the settings object of a section.

    Args:
        settings: The settings class.
        given: The section as JSON values.

    Raises:
        TypeError: The section is not an object, or a value has the wrong type.
        ValueError: A setting is unknown or outside its limits.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"{settings.__name__} must be a mapping, got {shortened(repr(given))}")
    types = get_type_hints(settings)
    marks = {field.name: field.metadata for field in dataclasses.fields(settings)}
    unknown = [name for name in given if name not in types]
    if unknown:
        raise ValueError(f"this version of morel_search knows no setting {shortened(unknown[0])}")
    return settings(**{name: _value(name, types[name], marks[name], value) for name, value in given.items()})


def _value(name: str, hint: object, marks: Mapping[str, object], value: object) -> object:
    """Return the value of a setting from its JSON value.

    Raises:
        TypeError: It has another type than the setting.
        ValueError: It is not one of the names of the setting.
    """
    members = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    if value is None and NoneType in members:
        return None
    (kind,) = (member for member in members if member is not NoneType)
    is_literal = get_origin(kind) is Literal
    choices = get_args(kind) if is_literal else marks.get("choices")
    others = False
    if isinstance(value, str) and not is_literal:
        others = is_hub_name(value) if marks.get("hub") else ":" in value or is_library_name(value)
    if isinstance(choices, Collection) and value not in choices and not others:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {shortened(repr(value))}")
    if kind is Fraction:
        return _rational(name, value)
    origin = get_origin(kind) or kind
    if origin is tuple:
        if not isinstance(value, (list, tuple)):
            raise TypeError(f"{name} must be a list, got {shortened(repr(value))}")
        (kind, *_) = get_args(kind)
        return tuple(_value(f"{name}[{index}]", kind, {}, item) for index, item in enumerate(value))
    expected = _JSON_TYPES.get(origin)
    if expected is not None and (
        not isinstance(value, expected) or (isinstance(value, bool) and origin is not bool)
    ):
        raise TypeError(
            f"{name} must be of the type {getattr(origin, '__name__', origin)}, got {shortened(repr(value))}"
        )
    return value


def _rational(name: str, value: object) -> Fraction:
    """Return a rational from a text such as ``8/255``, or from a number.

    Raises:
        TypeError: The value is neither.
        ValueError: It is too long, has an exponent of more than three digits, or divides by zero.
    """
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise TypeError(f"{name} must be a number such as 8/255 or 0.2, got {shortened(repr(value))}")
    text = str(value)
    exponent = text.lower().partition("e")[2].lstrip("+-")
    if len(text) > LONGEST_RATIONAL or len(exponent) > 3:
        raise ValueError(f"{name} must be a number such as 8/255 or 0.2, got {shortened(repr(text))}")
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f"{name} must be a number such as 8/255 or 0.2, got {shortened(repr(text))}"
        ) from None
