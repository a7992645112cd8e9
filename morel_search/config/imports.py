"""Import paths of the form ``package.module:name``, checked when the space file is read."""

from __future__ import annotations

import importlib
from functools import cache

from morel_search._consent import IMPORT_PATH
from morel_search._imports import not_callable_reason
from morel_search._user_code import PASSED_ON, error_text, time_limit
from morel_search.config.faults import nearest
from morel_search.errors import TrainingError

__all__ = ["check_import_path"]


@cache
def check_import_path(text: str) -> str:
    """Import the object that a path names, and return what is wrong with the path.

    Importing the module runs its code, as in a training.

    Args:
        text: ``package.module:name``; the name may contain dots.

    Returns:
        The fault as a sentence without the path; empty when the object can be called.
    """
    if not IMPORT_PATH.fullmatch(text):
        return "is not an import path of the form package.module:name"
    module_name, _, attribute = text.partition(":")
    try:
        with time_limit(f"the import of {module_name}"):
            target: object = importlib.import_module(module_name)
    except (TrainingError, *PASSED_ON):
        raise
    except ModuleNotFoundError as error:
        return f"cannot be imported: there is no module {error.name}"
    except BaseException as error:
        return f"cannot be imported: {error_text(error, 120)}"
    for part in attribute.split("."):
        if not hasattr(target, part):
            names = [name for name in dir(target) if not name.startswith("_")]
            return f"cannot be imported: {module_name} has no {part}{nearest(part, names)}"
        target = getattr(target, part)
    return not_callable_reason(target)
