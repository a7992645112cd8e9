"""Import paths of the form ``package.module:name``, checked when the space file is read."""

from __future__ import annotations

from functools import cache

from morel_search._consent import IMPORT_PATH
from morel_search._imports import AbsentNameError, import_object, not_callable_reason
from morel_search.config.faults import nearest

__all__ = ["check_import_path"]


@cache
def check_import_path(text: str) -> str:
    """Import the object that a path names, and return what is wrong with the path.

    Importing the module runs its code, as in a training.

    Args:
        text: ``package.module:name``; the name may contain dots.

    Returns:
        The fault as a sentence without the path; empty when the object can be called.

    Raises:
        TrainingError: The module does not return.
    """
    if not IMPORT_PATH.fullmatch(text):
        return "is not an import path of the form package.module:name"
    try:
        target = import_object(text)
    except AbsentNameError as error:
        return f"cannot be imported: {error}{nearest(error.absent, error.known)}"
    except ImportError as error:
        return f"cannot be imported: {error}"
    return not_callable_reason(target)
