"""Objects that an import path names: imported, and checked before they are called."""

from __future__ import annotations

import functools
import importlib
import sys
import sysconfig
from pathlib import Path

from morel_search._user_code import PASSED_ON, error_text, time_limit
from morel_search.errors import TrainingError

__all__ = ["AbsentNameError", "import_object", "not_callable_reason"]


class AbsentNameError(ImportError):
    """A module or a class has no such name.

    Args:
        module: The module.
        absent: The name.
        known: The public names that exist instead.
    """

    def __init__(self, module: str, absent: str, known: list[str]) -> None:
        super().__init__(f"{module} has no {absent}")
        self.absent, self.known = absent, known


def import_object(path: str) -> object:
    """Import the object that ``package.module:name`` names; importing the module runs its code.

    Args:
        path: The import path; the name may contain dots.

    Raises:
        ImportError: There is no such module or name, or the module fails.
        TrainingError: The module does not return.
    """
    module, _, names = path.partition(":")
    try:
        with time_limit(f"the import of {module}"):
            target: object = importlib.import_module(module)
            for name in names.split("."):
                if not hasattr(target, name):
                    raise AbsentNameError(module, name, [n for n in dir(target) if not n.startswith("_")])
                target = getattr(target, name)
    except (AbsentNameError, TrainingError, *PASSED_ON):
        raise
    except ModuleNotFoundError as error:
        raise ImportError(f"there is no module {error.name}") from error
    except BaseException as error:  # the module is the user's code, which may raise anything
        raise ImportError(error_text(error)) from error
    return target


def not_callable_reason(target: object) -> str:
    """Return why an object cannot be a network or a loss and must not be called; empty if it may be called.

    No function or class of Python's standard library is a network or a loss, and calling one can do harm:
    ``os:system`` with the option ``command``, for example.
    """
    if not callable(target):
        return "cannot be called"
    while isinstance(target, functools.partial):
        target = target.func
    module = getattr(target, "__module__", None)
    if isinstance(module, str) and _is_standard(module.partition(".")[0]):
        return f"is part of Python's standard library ({module}), so it is neither a network nor a loss"
    return ""


def _is_standard(module: str) -> bool:
    """Return whether a module is of the standard library, and not one of the user with the same name."""
    if module not in sys.stdlib_module_names:
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    return file is None or Path(file).is_relative_to(sysconfig.get_path("stdlib"))
