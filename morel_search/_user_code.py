"""The user's own code, a network or a loss: its errors as text, and a limit for code that never returns."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from traceback import walk_tb
from typing import Literal

from morel_search._format import duration, printable
from morel_search.errors import MorelSearchError, NetworkError, TrainingError

__all__ = ["PASSED_ON", "Expired", "cause_of", "error_text", "named_errors", "time_limit"]

NOTE_SECONDS = 30.0
"""Seconds after which the user is told what is being waited for."""

LIMIT_SECONDS = 900.0
"""Time limit of imports and of checks with a few images, in seconds; they usually take seconds."""

GRACE_SECONDS = 30.0
"""Seconds after the limit, at which the process ends if the code has caught the error."""


class Expired(BaseException):
    """The time limit is over. No :class:`Exception`, so that the code does not catch it by accident."""


PASSED_ON = (KeyboardInterrupt, Expired)
"""Exceptions that are no error of the user's code; all others may be raised by it, such as ``SystemExit``."""

_OWN = "morel_search"
_SHARED = {_OWN, "torch", *sys.stdlib_module_names}
"""Packages whose code runs in each training; ``__main__`` is the command, or a notebook of the user."""

_CALLER = "morel_search.training.objectives"
"""The module that calls losses of the user."""

_active = threading.local()


def error_text(error: BaseException, length: int = 200) -> str:
    """Return an error as ``ValueError: reason`` in one line; the text of an error can itself raise one."""
    name = type(error).__name__
    try:
        text = " ".join(str(error).split())[:length]
    except PASSED_ON:
        raise
    except BaseException:
        text = "its text cannot be read"
    return f"{name}: {text}" if text else name


def cause_of(error: BaseException, import_paths: Iterable[str]) -> Literal["user", "project", "unclear"]:
    """Return whose mistake an error is, by the code that its traceback names.

    It is the user's if a line of the user's code, or of a library that only that code uses, took part, or if
    the user's function was called and does not take its arguments. It is one of this project if a line of the
    project raised it and no other code took part but Python and torch; if a line of these raised it, it is
    unclear, because the user's tensors may not suit them.

    Args:
        error: The error.
        import_paths: The code of the user (``package.module:name``) that may have run; the error is one of
            this project if there is none.
    """
    packages = {_package(path.partition(":")[0]) for path in import_paths}
    if not packages:
        return "project"
    seen: list[BaseException] = []
    modules: list[str] = []
    following: BaseException | None = error
    while following is not None and following not in seen:
        seen.append(following)
        frames = walk_tb(following.__traceback__)
        modules += [str(frame.f_globals.get("__name__", "")) for frame, _ in frames]
        following = following.__cause__ or following.__context__
    raised_in = [str(frame.f_globals.get("__name__", "")) for frame, _ in walk_tb(error.__traceback__)][-1:]
    if any(_package(module) in packages or _package(module) not in _SHARED for module in modules):
        return "user"
    if raised_in == [_CALLER] and isinstance(error, TypeError):
        return "user"
    return "project" if _package("".join(raised_in)) == _OWN else "unclear"


@contextmanager
def named_errors(what: str, import_paths: Iterable[str]) -> Iterator[None]:
    """Turn an error that the user's code raises into one sentence; any other error passes unchanged.

    An error that torch raises may be caused by what the user's network returned before, such as a tensor of
    another type. It becomes a sentence too, and its traceback is a note of the new error, which the command
    prints first.

    Args:
        what: The subject of the sentence: ``the network in front/3/model.pt``.
        import_paths: The code (``package.module:name``) that may run inside the block. An error is the user's
            if a frame of its traceback is in one of these packages.

    Raises:
        NetworkError: The user's code raised an error, or torch did while there was such code.
    """
    packages = {_package(path.partition(":")[0]) for path in import_paths}
    try:
        yield
    except (MorelSearchError, *PASSED_ON):
        raise
    except BaseException as error:  # SystemExit too, which would end the command without a sentence
        modules = [str(frame.f_globals.get("__name__", "")) for frame, _ in walk_tb(error.__traceback__)]
        sentence = NetworkError(f"{what} raised {error_text(error)}")
        if packages.isdisjoint(map(_package, modules)):
            if not packages or _package(modules[-1]) != "torch":
                raise
            trace = "".join(traceback.format_exception(error)).rstrip()
            sentence.add_note(f"{trace}\nif your own code is right, this traceback is one of a bug")
        raise sentence from error


def _package(module: str) -> str:
    return module.partition(".")[0]


@contextmanager
def time_limit(what: str, seconds: float = LIMIT_SECONDS) -> Iterator[None]:
    """End the code inside when it takes too long, and say after 30 s what is being waited for.

    Inside another limit, only that one counts. Outside the main thread, where Python receives no signals, the
    code is not ended.

    Args:
        what: The subject of the sentence: ``the import of my_losses``.
        seconds: The limit.

    Raises:
        TrainingError: The limit is over.
    """
    if getattr(_active, "limit", False):
        yield
        return
    over = f"{what} has not ended within {duration(seconds)}"
    waiting = f"waiting for {what} (the limit is {duration(seconds)})"
    timers = [threading.Timer(NOTE_SECONDS, _say, [waiting])]
    in_main = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    if in_main:
        timers.append(threading.Timer(seconds + GRACE_SECONDS, _leave, [over]))
    for timer in timers:
        timer.daemon = True
        timer.start()
    _active.limit = True
    try:
        with _alarm(seconds) if in_main else nullcontext():
            yield
    except Expired:
        raise TrainingError(over) from None
    finally:
        _active.limit = False
        for timer in timers:
            timer.cancel()


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise :class:`Expired` after some seconds; an alarm that was set before is set again afterwards."""

    def expire(*_: object) -> None:
        raise Expired

    began = time.monotonic()
    previous = signal.signal(signal.SIGALRM, expire)
    remaining, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        if remaining:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, remaining - (time.monotonic() - began)), interval)


def _say(text: str) -> None:
    sys.stderr.write(f"{printable(text)}\n")
    sys.stderr.flush()


def _leave(text: str) -> None:
    """End the process as a mistake of the user does: the code goes on after its error."""
    _say(f"morel_search: {text}")
    os._exit(2)
