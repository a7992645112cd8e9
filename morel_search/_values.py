"""Plain values: their types in JSON and YAML files and in settings, and the largest whole number."""

from __future__ import annotations

from fractions import Fraction
from typing import TypeAlias

__all__ = ["LARGEST_WHOLE", "JsonObject", "JsonValue", "Number", "SettingValue"]

LARGEST_WHOLE = 2**63 - 1
"""Largest whole number of a setting, a table or a JSON file: that of a 64-bit integer of torch and SQLite."""

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
"""A value of a JSON file, or of a YAML 1.2 file without tags."""

JsonObject: TypeAlias = dict[str, JsonValue]
"""A JSON object, or a YAML mapping."""

Number: TypeAlias = Fraction | float | int
"""A number of a setting; epsilons and step sizes are exact rationals."""

SettingValue: TypeAlias = "bool | int | float | Fraction | str | tuple[SettingValue, ...] | None"
"""The value of a setting of a training, and therefore of a searched parameter."""
