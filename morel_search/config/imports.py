"""Import paths such as ``package.module:name``, checked at the door."""

from __future__ import annotations

import importlib
import re
from functools import cache
from typing import Any

from morel_search.config.faults import nearest

__all__ = ["check_import_path", "is_import_path"]

_NAME = r"[^\W\d]\w*"
_PATH = re.compile(rf"{_NAME}(\.{_NAME})*:{_NAME}(\.{_NAME})*")


def is_import_path(text: str) -> bool:
    """Whether a text is meant as ``package.module:name``."""
    return ":" in text


@cache
def check_import_path(text: str) -> str:
    """Import what a path names, and say what is wrong with it.

    The module's own code runs, as it would in the training.

    Args:
        text: ``package.module:name``; the name may be dotted.

    Returns:
        The fault as a sentence without the path, or an empty text.
    """
    if not _PATH.fullmatch(text):
        return "is no import path of the form package.module:name"
    module_name, _, attribute = text.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        return f"cannot be imported: there is no module {error.name}"
    except (Exception, SystemExit) as error:
        return f"cannot be imported: {type(error).__name__}: {' '.join(str(error).split())[:120]}"
    for part in attribute.split("."):
        names = [name for name in dir(found) if not name.startswith("_")]
        if not hasattr(found, part):
            return f"cannot be imported: {module_name} has no {part}{nearest(part, names) if len(names) > 12 or names else ''}"
        found = getattr(found, part)
    return "" if callable(found) else "is not something that can be called"
