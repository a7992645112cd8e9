"""Sentences for the errors that pydantic reports about a space file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from morel_search.config.faults import Faults, Location, nearest, shown

__all__ = ["add_validation_errors"]

_PLAIN: dict[str, str] = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be a text",
    "bool_type": "must be true or false",
    "dict_type": "must be a mapping (name: value)",
    "mapping_type": "must be a mapping (name: value)",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "finite_number": "must be a finite number",
}
_LIMITS = {
    "greater_than_equal": (">=", "ge"),
    "greater_than": (">", "gt"),
    "less_than_equal": ("<=", "le"),
    "less_than": ("<", "lt"),
}


def add_validation_errors(error: ValidationError, location: Location, faults: Faults) -> None:
    """Note every finding of a ValidationError as a fault at its place."""
    for found in error.errors(include_url=False):
        inner = tuple(part for part in found["loc"] if part != "[key]")
        faults.add((*location, *inner), _sentence(found["type"], found.get("ctx", {}), found["input"]))


def _sentence(kind: str, context: Mapping[str, Any], value: Any) -> str:
    if kind == "missing":
        return "must be given"
    if kind == "too_short":
        return f"must hold at least {context['min_length']} values"
    return f"{_demand(kind, context, value)}, got {shown(value)}{_meant(kind, context, value)}"


def _demand(kind: str, context: Mapping[str, Any], value: Any) -> str:
    if kind in _LIMITS:
        sign, name = _LIMITS[kind]
        return f"must be {sign} {_number(context[name])}"
    if kind == "literal_error":
        return f"must be {_listed(_names(context))}"
    if kind == "explained":
        return str(context["why"])
    if kind == "float_type" and isinstance(value, int) and not isinstance(value, bool):
        return "is too large"
    return _PLAIN.get(kind, "is not what is expected here")


def _names(context: Mapping[str, Any]) -> list[str]:
    return [name.strip().strip("'") for name in str(context["expected"]).replace(" or ", ", ").split(",")]


def _meant(kind: str, context: Mapping[str, Any], value: Any) -> str:
    """The nearest of the names that were possible, where there is one."""
    names = _names(context) if kind == "literal_error" else list(context.get("names", ()))
    close = nearest(value, names) if isinstance(value, str) else ""
    return close if "did you mean" in close else ""


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _number(limit: Any) -> str:
    return f"{limit:g}" if isinstance(limit, float) else str(limit)
