"""How every command ends: a user's mistake in one sentence and exit code 2, a bug with its traceback."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from morel_search.errors import MorelSearchError

__all__ = ["INTERRUPTED", "exit_code_of", "print_err", "print_out", "terminate_as_interrupt"]

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def exit_code_of(command: Callable[[], int]) -> int:
    """Run a command and return its exit code.

    Any :class:`MorelSearchError` is printed on standard error and gives 2; everything else that is raised passes.
    """
    try:
        return command()
    except MorelSearchError as error:
        print_err(f"morel_search: {error}")
        return 2
    except KeyboardInterrupt:
        print_err("morel_search: interrupted")
        return INTERRUPTED


@contextmanager
def terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM does what Ctrl-C does. Outside the main thread Python hears no signals and nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def print_out(text: str) -> None:
    """Print on standard output, at once: it may be a pipe that somebody reads."""
    print(text, flush=True)  # noqa: T201


def print_err(text: str) -> None:
    """Print on standard error."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201
