"""Sentences for the errors that pydantic reports about a space file."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import ValidationError

from morel_search.config.faults import Faults, Location, nearest, shown

__all__ = ["add_validation_errors"]

_SENTENCES: dict[str, str] = {
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
    """Note every error of a ValidationError as a fault at its place.

    Args:
        error: The errors.
        location: Place of the validated value in the file.
        faults: Receives the faults.
    """
    for details in error.errors(include_url=False):
        inner = tuple(part for part in details["loc"] if part != "[key]")
        faults.add((*location, *inner), _sentence(details["type"], details.get("ctx", {}), details["input"]))


def _sentence(kind: str, context: Mapping[str, object], value: object) -> str:
    if kind == "missing":
        return "must be given"
    if kind == "too_short":
        return f"must hold at least {context['min_length']} values"
    return f"{_demand(kind, context, value)}, got {shown(value)}{_suggestion(kind, context, value)}"


def _demand(kind: str, context: Mapping[str, object], value: object) -> str:
    if kind in _LIMITS:
        sign, name = _LIMITS[kind]
        return f"must be {sign} {_number(context[name])}"
    if kind == "literal_error":
        return f"must be {_listed(_names(context))}"
    if kind == "explained":
        return str(context["reason"])
    if kind == "float_type" and isinstance(value, int) and not isinstance(value, bool):
        return "is too large"
    return _SENTENCES.get(kind, "is not allowed here")


def _names(context: Mapping[str, object]) -> list[str]:
    """Return the allowed names of a ``Literal``, which pydantic gives as one text."""
    return [name.strip().strip("'") for name in str(context["expected"]).replace(" or ", ", ").split(",")]


def _suggestion(kind: str, context: Mapping[str, object], value: object) -> str:
    """Return the allowed name that is most similar to the given one, as the end of a sentence, or nothing."""
    if kind == "literal_error":
        names = _names(context)
    else:
        if meant := context.get("meant"):
            return f"; did you mean {meant}?"
        given = context.get("names")
        names = [str(name) for name in given] if isinstance(given, tuple) else []
    similar = nearest(value, names) if isinstance(value, str) else ""
    return similar if "did you mean" in similar else ""


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _number(limit: object) -> str:
    return f"{limit:g}" if isinstance(limit, float) else str(limit)
