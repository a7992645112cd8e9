"""Errors of the study's database as sentences: a full or read-only disk, a damaged file, a lost server."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from functools import wraps
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import SQLAlchemyError

from morel_search._format import without_passwords
from morel_search.errors import RunFolderError
from morel_search.search.study_file import wait_while_locked

__all__ = ["guarded", "reason_of"]

LONGEST_REASON = 300

_DAMAGE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""Errors of reading content that this project did not write, such as JSON that is cut."""


class Store(Protocol):
    """What :func:`guarded` needs of a study.

    Attributes:
        place: The database, for messages.
    """

    place: str

    def keep_file(self) -> None:
        """Write the study's file again if another program has deleted it."""

    def committed(self) -> None:
        """Learn that the database was written."""


Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
AnyStore = TypeVar("AnyStore", bound=Store)
Method = Callable[Concatenate[AnyStore, Arguments], Result]


def reason_of(error: BaseException) -> str:
    """Return the first line of an error's text, without passwords."""
    text = str(error).splitlines()[0] if str(error) else repr(error)
    return without_passwords(text)[:LONGEST_REASON]


def guarded(
    action: str,
) -> Callable[[Method[AnyStore, Arguments, Result]], Method[AnyStore, Arguments, Result]]:
    """Turn errors of the database into one sentence.

    The method waits while another program locks the database, and a deleted file is written again first.

    Args:
        action: ``read`` or ``written``.
    """

    def guard(method: Method[AnyStore, Arguments, Result]) -> Method[AnyStore, Arguments, Result]:
        @wraps(method)
        def call(store: AnyStore, /, *arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
            def attempt() -> Result:
                store.keep_file()
                result = method(store, *arguments, **named)
                if action == "written":
                    store.committed()
                return result

            try:
                return wait_while_locked(attempt, store.place)
            except (SQLAlchemyError, StorageInternalError, sqlite3.Error, OSError) as error:
                cause = getattr(error.__cause__ or error, "orig", None) or error
                raise RunFolderError(f"the study cannot be {action}: {reason_of(cause)}") from error
            except _DAMAGE as error:
                if action != "read":  # then the values to write are wrong, which is a bug
                    raise
                raise RunFolderError(
                    f"the study at {store.place} is damaged: {type(error).__name__}: {reason_of(error)}; put "
                    "a whole copy of it in its place"
                ) from error

        return call

    return guard
