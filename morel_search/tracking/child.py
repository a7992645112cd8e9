"""The process that sends a running search to a tracker, so that no tracker can stop or slow the search.

It reads one line of JSON on standard input, the path of the run folder and the target, prints ``ready`` when
the tracker can be used, and then each warning as a line. It ends when standard input ends, that is with the
process of the search, whatever ended that.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from morel_search.errors import TrackerError
from morel_search.results.folder import RunFolder
from morel_search.tracking.follow import follow
from morel_search.tracking.send import check_target
from morel_search.tracking.targets import parse_target

__all__ = ["END_SECONDS", "READY", "TOLD", "main"]

READY = "ready"
"""The first line, when the tracker can be used; any other first line is the reason why it cannot."""

TOLD = 3
"""Exit code when a warning has told what was not sent; 1 is that of Python for an error in the program."""

END_SECONDS = 900.0
"""Longest wait for a tracker after the search, in seconds: the weights of the front are sent then."""

SPARE_SECONDS = 60.0
"""Further seconds until this process ends itself, if the process of the search has not ended it."""

NICENESS = 10
"""How much lower the priority of this process is than that of the search."""


def main() -> int:
    """Follow a search; return 0 if everything was sent, 2 if the tracker cannot be used, else ``TOLD``."""
    with suppress(OSError, AttributeError):  # AttributeError: Windows
        os.nice(NICENESS)
    output = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="backslashreplace")
    os.dup2(2, 1)  # what a library prints is not a line for the search

    def tell(text: str) -> None:
        with suppress(OSError):  # the search has ended
            print(" ".join(text.splitlines()), file=output, flush=True)

    given = json.loads(sys.stdin.readline() or "{}")
    try:
        target = parse_target(str(given["target"]))
        check_target(target)
    except TrackerError as error:
        tell(str(error))
        return 2
    tell(READY)
    ended = threading.Event()
    threading.Thread(target=_wait_for_end, args=(ended,), daemon=True).start()
    run = RunFolder(Path(str(given["folder"])))
    return 0 if follow(run, target, ended.is_set, tell, pause=ended.wait) else TOLD


def _wait_for_end(ended: threading.Event) -> None:
    with suppress(OSError, ValueError):
        sys.stdin.read()
    ended.set()
    time.sleep(END_SECONDS + SPARE_SECONDS)
    os._exit(TOLD)  # the library of a tracker hangs, and no process of a search is left to end it


if __name__ == "__main__":
    sys.exit(main())
