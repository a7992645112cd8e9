"""pydantic models made from the settings classes, and the reading of one section with them.

The limits, names and defaults stand once, in the settings classes; here they become checks.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Hashable, Mapping
from fractions import Fraction
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, cast

import annotated_types
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    TypeAdapter,
    ValidationError,
    create_model,
)
from pydantic_core import PydanticCustomError

from morel_search.config.faults import Faults, Location, nearest
from morel_search.config.fieldspec import FieldSpec, specs
from morel_search.config.imports import check_import_path, is_import_path
from morel_search.config.rational import parse_rational
from morel_search.config.validation_text import add_validation_errors

__all__ = [
    "annotation",
    "build",
    "check_keys",
    "read_given",
    "read_model",
    "read_section",
    "read_value",
    "strict_model",
]

Settings = TypeVar("Settings")
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
_LIMITS: dict[str, Callable[[Any], Any]] = {
    "ge": annotated_types.Ge,
    "gt": annotated_types.Gt,
    "le": annotated_types.Le,
    "lt": annotated_types.Lt,
}


def annotation(
    spec: FieldSpec, *, optional: bool | None = None, limits: Mapping[str, float] | None = None
) -> Any:
    """The type that pydantic checks for a field.

    Args:
        spec: The field.
        optional: Whether null is allowed; as the field says if None.
        limits: Other limits than the field's.
    """
    marks: list[Any] = [
        _LIMITS[name](limit) for name, limit in (spec.limits if limits is None else limits).items()
    ]
    hint = spec.base
    if spec.choices and not spec.module:
        hint = Literal[spec.choices]
    elif spec.module:
        marks.append(AfterValidator(_name_check(spec.choices)))
    elif hint is Fraction:
        marks.insert(0, BeforeValidator(_rational))
    elif hint not in (str, int, float, bool):
        marks.append(BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value))
        if isinstance(spec.default, Mapping):
            hint = dict[str, Any]
            marks = [AfterValidator(_finite)]
    checked: Any = hint if not marks else Annotated[(hint, *marks)]
    allows_null = spec.optional if optional is None else optional
    return checked | None if allows_null else checked


def _model(settings: type[object]) -> type[BaseModel]:
    """The model of a settings class: the same fields, types and limits."""
    return _cached_model(cast(Hashable, settings))


@cache
def _cached_model(settings: Any) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for name, spec in specs(settings).items():
        fields[name] = (annotation(spec), ... if spec.default is dataclasses.MISSING else spec.default)
    return strict_model(settings.__name__, fields)


def strict_model(name: str, fields: Mapping[str, Any]) -> type[BaseModel]:
    """A pydantic model that turns no text into a number, and no number into a truth value."""
    made: type[BaseModel] = create_model(name, __config__=_STRICT, **dict(fields))
    return made


def read_section(settings: type[Settings], given: Any, location: Location, faults: Faults) -> Settings | None:
    """The settings object of one section, or None with its faults noted."""
    values = read_given(settings, given, location, faults)
    return None if values is None else build(settings, values, location, faults)


def read_given(
    settings: type[object], given: Any, location: Location, faults: Faults
) -> dict[str, Any] | None:
    """The values that one section gives, checked one by one; None with its faults noted."""
    return read_model(_model(settings), given, location, faults, known=specs(settings))


def build(
    settings: type[Settings], values: Mapping[str, Any], location: Location, faults: Faults
) -> Settings | None:
    """Make the settings object; what it says about fields together is a fault."""
    try:
        return settings(**values)
    except ValueError as error:
        faults.add(location, str(error))
        return None


def read_model(
    model: type[BaseModel], given: Any, location: Location, faults: Faults, known: Collection[str]
) -> dict[str, Any] | None:
    """The values that were given, checked by a model; None with the faults noted."""
    if not isinstance(given, dict):
        faults.add(location, "must be a mapping of settings (name: value)")
        return None
    right_keys = check_keys(given, known, location, faults)
    try:
        checked = model.model_validate({name: value for name, value in given.items() if name in known})
    except ValidationError as error:
        add_validation_errors(error, location, faults)
        return None
    return {name: getattr(checked, name) for name in checked.model_fields_set} if right_keys else None


def check_keys(given: Mapping[str, Any], known: Collection[str], location: Location, faults: Faults) -> bool:
    """Note every key that is not known, with the nearest one that is."""
    unknown = [name for name in given if name not in known]
    for name in unknown:
        faults.add((*location, name), f"unknown key{nearest(name, known)}")
    return not unknown


def read_value(spec: FieldSpec, given: Any, location: Location, faults: Faults) -> Any:
    """One value as a field takes it; ``...`` with the fault noted where it does not."""
    try:
        return TypeAdapter(annotation(spec), config=_STRICT).validate_python(given)
    except ValidationError as error:
        add_validation_errors(error, location, faults)
        return ...


def _rational(value: Any) -> Fraction:
    try:
        return parse_rational(value)
    except ValueError as error:
        raise PydanticCustomError("explained", "{why}", {"why": str(error)}) from None


def _name_check(choices: tuple[str, ...]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value in choices:
            return value
        if is_import_path(value):
            why = check_import_path(value)
        else:
            why = f"is not one of {', '.join(choices)}, nor an import path package.module:name"
        if why:
            raise PydanticCustomError("explained", "{why}", {"why": why, "names": choices})
        return value

    return check


def _finite(value: Any) -> Any:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        _finite(item)
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("explained", "{why}", {"why": "must hold finite numbers"})
    return value
