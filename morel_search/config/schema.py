"""Checks made from the settings classes, by pydantic, and the reading of one section with them.

Limits, names and defaults are written once, in the settings classes.
"""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable, Collection, Mapping
from fractions import Fraction
from functools import cache
from types import EllipsisType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

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

from morel_search._consent import is_import_path
from morel_search._values import SettingValue
from morel_search.config.faults import Faults, Location, nearest
from morel_search.config.fieldspec import FieldSpec, specs
from morel_search.config.imports import check_import_path
from morel_search.config.rational import parse_rational
from morel_search.config.searchable import OptionValue
from morel_search.config.validation_text import add_validation_errors
from morel_search.training.data_settings import is_hub_name
from morel_search.training.library_names import is_library_name, library_problem, similar_name
from morel_search.training.limits import size_problem

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

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

Settings = TypeVar("Settings", bound="DataclassInstance")
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
_LIMITS: dict[str, Callable[[float], object]] = {
    "ge": annotated_types.Ge,
    "gt": annotated_types.Gt,
    "le": annotated_types.Le,
    "lt": annotated_types.Lt,
}


def annotation(
    spec: FieldSpec, *, optional: bool | None = None, limits: Mapping[str, float] | None = None
) -> object:
    """Return the type with which pydantic checks a field.

    Args:
        spec: The field.
        optional: Whether null is allowed; None takes the field's own rule.
        limits: The limits; None takes the field's own.
    """
    if spec.base is OptionValue:
        return Annotated[Any, AfterValidator(_option)]
    marks: list[object] = [
        _LIMITS[name](limit) for name, limit in (spec.limits if limits is None else limits).items()
    ]
    hint: object = spec.base
    if hint is float:
        marks.append(AfterValidator(_sized))
    if spec.hub:
        marks.append(AfterValidator(_data_name_check(spec.choices)))
    elif spec.choices and not spec.module:
        hint = Literal[spec.choices]
    elif spec.module:
        marks.append(AfterValidator(_name_check(spec.choices, spec.libraries)))
    elif hint is Fraction:
        marks.insert(0, BeforeValidator(_rational))
    elif hint not in (str, int, float, bool):
        marks.append(BeforeValidator(lambda value: tuple(value) if isinstance(value, list) else value))
        if isinstance(spec.default, Mapping):
            hint = dict[str, Any]
            marks = [AfterValidator(_finite)]
    checked: object = hint if not marks else Annotated[(hint, *marks)]
    allows_null = spec.optional if optional is None else optional
    return operator.or_(checked, None) if allows_null else checked


@cache
def _model(settings: type[DataclassInstance]) -> type[BaseModel]:
    """Return the model of a settings class: the same fields, types and limits."""
    fields: dict[str, object] = {}
    for name, spec in specs(settings).items():
        fields[name] = (annotation(spec), ... if spec.default is dataclasses.MISSING else spec.default)
    return strict_model(settings.__name__, fields)


def strict_model(name: str, fields: Mapping[str, object]) -> type[BaseModel]:
    """Return a pydantic model that converts no text to a number, and no number to true or false.

    Args:
        name: Name of the model.
        fields: For each key, a pair of type and default value; ``...`` as the default makes the key required.
    """
    types: dict[str, Any] = dict(fields)  # pydantic's signature: a keyword argument for each field
    model: type[BaseModel] = create_model(name, __config__=_STRICT, **types)
    return model


def read_section(
    settings: type[Settings], given: object, location: Location, faults: Faults
) -> Settings | None:
    """Return the settings object of one section; None when it has faults, which are noted."""
    values = read_given(settings, given, location, faults)
    return None if values is None else build(settings, values, location, faults)


def read_given(
    settings: type[DataclassInstance], given: object, location: Location, faults: Faults
) -> dict[str, SettingValue] | None:
    """Return the values that one section gives, each checked; None when there are faults, which are noted."""
    return read_model(_model(settings), given, location, faults, known=specs(settings))


def build(
    settings: type[Settings], values: Mapping[str, object], location: Location, faults: Faults
) -> Settings | None:
    """Return the settings object; None when its values contradict each other, which is noted as a fault."""
    try:
        return settings(**values)
    except ValueError as error:
        faults.add(location, str(error))
        return None


def read_model(
    model: type[BaseModel], given: object, location: Location, faults: Faults, known: Collection[str]
) -> dict[str, Any] | None:
    """Return the given values as a model converts them; None when there are faults, which are noted.

    Args:
        model: The model; it decides the types of the values.
        given: The mapping as it stands in the file.
        location: Its place.
        faults: Receives the faults.
        known: The allowed keys.
    """
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


def check_keys(
    given: Mapping[str, object], known: Collection[str], location: Location, faults: Faults
) -> bool:
    """Note every unknown key, with the most similar known key, and return whether there is none."""
    unknown = [name for name in given if name not in known]
    for name in unknown:
        faults.add((*location, name), f"unknown key{nearest(name, known)}")
    return not unknown


def read_value(
    spec: FieldSpec, given: object, location: Location, faults: Faults
) -> SettingValue | EllipsisType:
    """Return one value as a field takes it; ``...`` when it has a fault, which is noted."""
    checked_type: Any = annotation(spec)  # TypeAdapter has no other type for a type that is made at run time
    try:
        value: SettingValue = TypeAdapter(checked_type, config=_STRICT).validate_python(given)
    except ValidationError as error:
        add_validation_errors(error, location, faults)
        return ...
    return value


def _option(value: object) -> object:
    if not isinstance(value, (bool, int, float, str)):
        reason = "must be a number, a text, true or false"
        raise PydanticCustomError("explained", "{reason}", {"reason": reason})
    if reason := size_problem(value):
        raise PydanticCustomError("explained", "{reason}", {"reason": reason})
    return value


def _rational(value: object) -> Fraction:
    try:
        return parse_rational(value)
    except ValueError as error:
        raise PydanticCustomError("explained", "{reason}", {"reason": str(error)}) from None


def _sized(value: float) -> float:
    if reason := size_problem(value):
        raise PydanticCustomError("explained", "{reason}", {"reason": reason})
    return value


def _data_name_check(choices: tuple[str, ...]) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value in choices or is_hub_name(value):
            return value
        reason = f"must be {', '.join(choices)} or huggingface/OWNER/NAME"
        raise PydanticCustomError("explained", "{reason}", {"reason": reason, "names": choices, "meant": ""})

    return check


def _name_check(choices: tuple[str, ...], libraries: bool) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value in choices:
            return value
        if is_import_path(value):
            reason = check_import_path(value)
        elif libraries and is_library_name(value):
            reason = library_problem(value)
        else:
            others = "timm/NAME, torchvision/NAME or " if libraries else ""
            reason = f"is neither one of {', '.join(choices)} nor {others}an import path package.module:name"
        if reason:
            meant = similar_name(value) if libraries else ""
            names = () if "/" in value or "did you mean" in reason else choices
            context = {"reason": reason, "names": names, "meant": meant}
            raise PydanticCustomError("explained", "{reason}", context)
        return value

    return check


def _finite(value: object) -> object:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for item in items:
        _finite(item)
    if isinstance(value, float) and not math.isfinite(value):
        raise PydanticCustomError("explained", "{reason}", {"reason": "must hold finite numbers"})
    return value
