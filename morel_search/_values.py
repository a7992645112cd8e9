"""Types of plain values: those of JSON and YAML files, and those of settings."""

from __future__ import annotations

from fractions import Fraction
from typing import TypeAlias

__all__ = ["JsonObject", "JsonValue", "Number", "SettingValue"]

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"
"""A value of a JSON file, or of a YAML 1.2 file without tags."""

JsonObject: TypeAlias = dict[str, JsonValue]
"""A JSON object, or a YAML mapping."""

Number: TypeAlias = Fraction | float | int
"""A number of a setting; epsilons and step sizes are exact rationals."""

SettingValue: TypeAlias = "bool | int | float | Fraction | str | tuple[SettingValue, ...] | None"
"""The value of a setting of a training, and therefore of a searched parameter."""
