"""Settings as fields of dataclasses: the meaning and the limits of each, written once, and their check."""

from __future__ import annotations

import dataclasses
import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from morel_search._format import shortened
from morel_search._values import LARGEST_WHOLE

__all__ = ["check_limits", "setting", "size_problem"]


def setting(default: Any = dataclasses.MISSING, *, doc: str, **limits: Any) -> Any:
    """A dataclass field with its meaning and limits.

    Args:
        default: The default value; without one the setting must be given.
        doc: What the setting means, with its unit.
        **limits: ``ge``, ``gt``, ``le``, ``lt`` (numbers), ``choices`` (the names a text may be),
            ``optional_module=True`` for a name that may also be an import path ``package.module:name``,
            ``libraries=True`` for one that may also be ``timm/NAME`` or ``torchvision/NAME``, ``hub=True``
            for one that may also be ``huggingface/OWNER/NAME``, or
            ``fixed=True`` for a setting of ``train`` that is the same for all trainings of a search.
    """
    return dataclasses.field(default=default, metadata={"doc": doc, **limits})


SMALLEST, LARGEST = 1e-30, 1e30
"""Limits of the magnitude of a number that is not whole, or 0. Trainings compute in float32, whose numbers go
from 1e-38 to 3e38, and products of two settings must fit too."""

_LIMITS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "ge": (">=", operator.ge),
    "gt": (">", operator.gt),
    "le": ("<=", operator.le),
    "lt": ("<", operator.lt),
}


def size_problem(value: object) -> str:
    """Return what is wrong with the magnitude of a number, as the second part of a sentence about it.

    Args:
        value: The number; a value that is no number has no magnitude.

    Returns:
        The problem; empty when there is none.
    """
    if isinstance(value, int):
        return "" if abs(value) <= LARGEST_WHOLE else "is too large"
    if isinstance(value, float) and not math.isfinite(value):
        return "must be a finite number"
    if isinstance(value, (float, Fraction)) and value:
        if SMALLEST <= value <= LARGEST or -LARGEST <= value <= -SMALLEST:
            return ""
        return f"must be 0, or between {SMALLEST:g} and {LARGEST:g} in magnitude"
    return ""


def check_limits(settings: Any) -> None:
    """Raise ValueError for the first field of a settings object that is outside its limits."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if problem := size_problem(number):
                raise ValueError(f"{field.name} {problem}, got {shortened(number)}")
        if value is None or isinstance(value, (str, bool, tuple)):
            continue
        for name, (sign, holds) in _LIMITS.items():
            limit = field.metadata.get(name)
            if limit is not None and not holds(value, limit):
                raise ValueError(f"{field.name} must be {sign} {limit}, got {value}")
