"""Values of a JSON object, checked: a value of another type is a fault that names its key.

Each function takes the object, the key, and the names of the objects around it (``space.``), which the
message of a fault puts before the key. The message is the second part of a sentence that begins with the path
of the file. A missing key is the same as the value null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeGuard

from morel_search._format import shortened
from morel_search._values import LARGEST_WHOLE
from morel_search.errors import RunFolderError
from morel_search.results.reading import JSON_BYTES, read_regular

__all__ = [
    "get_flag",
    "get_list",
    "get_named_objects",
    "get_number",
    "get_object",
    "get_text",
    "get_texts",
    "get_whole",
    "get_wholes",
    "is_whole",
    "read_json",
]

Object = Mapping[str, object]


def read_json(path: Path) -> object:
    """Read a JSON file with finite numbers.

    Raises:
        OSError: The file cannot be read, is not a regular file, or is too large.
        ValueError: It is not JSON in UTF-8, is nested too deeply, or has a number that is too large or not
            finite.
    """
    try:
        return json.loads(
            read_regular(path, JSON_BYTES).decode("utf-8"),
            parse_int=_whole,
            parse_float=_decimal,
            parse_constant=_refused,
        )
    except RecursionError:
        raise ValueError("its values are nested too deeply") from None


def _whole(text: str) -> int:
    if len(text) > 20 or abs(int(text)) > LARGEST_WHOLE:
        raise ValueError(f"the number {shortened(text)} is too large")
    return int(text)


def _decimal(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"the number {shortened(text)} is too large")
    return number


def _refused(text: str) -> float:
    raise ValueError(f"{text} is not a number of JSON")


def is_whole(value: object) -> TypeGuard[int]:
    """Return whether a value is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def get_text(values: Object, key: str, prefix: str = "") -> str | None:
    """Return a text; None for null."""
    value = values.get(key)
    if value is None or isinstance(value, str):
        return value
    raise _damaged(f"{prefix}{key}", "a text", value)


def get_whole(values: Object, key: str, prefix: str = "") -> int | None:
    """Return a whole number; None for null."""
    value = values.get(key)
    if value is None or is_whole(value):
        return value
    raise _damaged(f"{prefix}{key}", "a whole number", value)


def get_number(values: Object, key: str, prefix: str = "") -> float | None:
    """Return a number; None for null."""
    value = values.get(key)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise _damaged(f"{prefix}{key}", "a number", value)


def get_flag(values: Object, key: str, prefix: str = "") -> bool | None:
    """Return true or false; None for null."""
    value = values.get(key)
    if value is None or isinstance(value, bool):
        return value
    raise _damaged(f"{prefix}{key}", "true or false", value)


def get_texts(values: Object, key: str, prefix: str = "") -> list[str]:
    """Return a list of texts; an empty list for null."""
    value = values.get(key)
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return value
    raise _damaged(f"{prefix}{key}", "a list of texts", value)


def get_wholes(values: Object, key: str, prefix: str = "") -> list[int]:
    """Return a list of whole numbers; an empty list for null."""
    value = values.get(key)
    if value is None:
        return []
    if isinstance(value, list) and all(map(is_whole, value)):
        return value
    raise _damaged(f"{prefix}{key}", "a list of whole numbers", value)


def get_list(values: Object, key: str, prefix: str = "") -> list[object]:
    """Return a list; an empty one for null."""
    value = values.get(key)
    if value is None:
        return []
    if isinstance(value, list):
        return value
    raise _damaged(f"{prefix}{key}", "a list", value)


def get_object(values: Object, key: str, prefix: str = "") -> dict[str, object]:
    """Return an object; an empty one for null."""
    value = values.get(key)
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    raise _damaged(f"{prefix}{key}", "an object", value)


def get_named_objects(values: Object, key: str, prefix: str = "") -> list[dict[str, object]]:
    """Return a list of objects, each with the text ``name``; an empty list for null."""
    value = values.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise _damaged(f"{prefix}{key}", "a list of objects", value)
    for index, entry in enumerate(value):
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise _damaged(f"{prefix}{key}[{index}]", "an object with the text 'name'", entry)
    return value


def _damaged(key: str, expected: str, value: object) -> RunFolderError:
    return RunFolderError(f"is damaged: '{shortened(key)}' must be {expected}, got {shortened(repr(value))}")
