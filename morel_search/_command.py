"""How every command ends: a user's mistake in one sentence and exit code 2, a bug with its traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from morel_search.errors import MorelSearchError

__all__ = ["INTERRUPTED", "complain", "guarded", "say"]

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def guarded(command: Callable[[], int]) -> int:
    """Run a command and return its exit code.

    Any :class:`MorelSearchError` is printed on standard error and gives 2; everything else that is raised passes.
    """
    try:
        return command()
    except MorelSearchError as error:
        complain(f"morel_search: {error}")
        return 2
    except KeyboardInterrupt:
        complain("morel_search: interrupted")
        return INTERRUPTED


def say(text: str) -> None:
    """Print on standard output, at once: it may be a pipe that somebody reads."""
    print(text, flush=True)  # noqa: T201


def complain(text: str) -> None:
    """Print on standard error."""
    print(text, file=sys.stderr, flush=True)  # noqa: T201
