"""How every command ends: a user's mistake in one sentence and exit code 2, a bug with its traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable

from morel_search.errors import MorelSearchError

__all__ = ["INTERRUPTED", "guarded"]

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


def guarded(command: Callable[[], int]) -> int:
    """Run a command and return its exit code.

    Any :class:`MorelSearchError` is printed on standard error and gives 2; everything else that is raised passes.
    """
    try:
        return command()
    except MorelSearchError as error:
        print(f"morel_search: {error}", file=sys.stderr)  # noqa: T201
        return 2
    except KeyboardInterrupt:
        print("morel_search: interrupted", file=sys.stderr)  # noqa: T201
        return INTERRUPTED
