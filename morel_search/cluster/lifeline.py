"""The end of a run whose Ray is lost: a thread notices it, and ends the process with a report.

Without its raylet or its GCS server, Ray makes a process wait for ever, or ends it after a minute, and the
calls in which the main thread waits cannot be interrupted. Therefore a second thread finishes the run: only
while the main thread waits for Ray, which :func:`waiting` marks, and for good, because the process ends.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress

from morel_search._cli import RAY_LOST, print_err

__all__ = ["Lifeline", "on_loss", "waiting", "working"]

SECONDS_BETWEEN_CHECKS = 1.0

_current: list[Lifeline] = []
"""The lifeline of the session, if there is one; Ray, too, is one for the process."""


class Lifeline:
    """Watches the Ray of this process from a thread, from :meth:`start` to :meth:`stop`.

    Args:
        check: Returns why Ray is lost, as in ``its process raylet has died``; empty while it is not.
        clean: Called before the process ends, to kill the processes of Ray that are left.
        leave: Ends the process with an exit code.
    """

    def __init__(
        self,
        check: Callable[[], str],
        clean: Callable[[], None] = lambda: None,
        leave: Callable[[int], object] = os._exit,
    ) -> None:
        self._check, self._clean, self._leave = check, clean, leave
        self._main = threading.Lock()  # held by the main thread, except while it waits for Ray
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lifeline", daemon=True)
        self.finish: Callable[[], str] = lambda: ""

    def start(self) -> None:
        """Start the thread; called by the main thread."""
        self._main.acquire()
        _current.append(self)
        self._thread.start()

    def stop(self) -> None:
        """Stop watching, before Ray is shut down."""
        self._stopped.set()
        _current.remove(self)
        self._main.release()
        self._thread.join()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Mark a ``with`` block in which the main thread waits for Ray; the process may end in it."""
        self._main.release()
        try:
            yield
        except Exception:
            self._main.acquire()
            if reason := self._check():  # Ray's error comes before the thread's next check
                self._end(reason)
            raise
        except BaseException:
            self._main.acquire()
            raise
        else:
            self._main.acquire()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Mark a part of a :meth:`waiting` block in which the process must not end."""
        with self._main:
            yield

    def _watch(self) -> None:
        while not self._stopped.wait(SECONDS_BETWEEN_CHECKS):
            if reason := self._check():
                with self._main:
                    if not self._stopped.is_set():
                        self._end(reason)
                return

    def _end(self, reason: str) -> None:
        """Finish the run and end the process; the caller holds the lock of the main thread."""
        consequence = ""
        try:
            self._clean()
            consequence = self.finish()
        except Exception as error:  # nothing more can be done than to say it
            print_err(f"morel_search: {error}")
        finally:
            print_err(f"morel_search: Ray was lost: {reason}{consequence or '; run the command again'}")
            with suppress(OSError):
                sys.stdout.flush()
            self._leave(RAY_LOST)


class Patience:
    """Turns a state that must not last into a reason: Ray is lost only if it lasts for some time.

    Args:
        seconds: How long the state may last.
        clock: Returns seconds since a fixed moment.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock = seconds, clock
        self._since: float | None = None

    def exhausted(self, *, wrong: bool) -> bool:
        """Return whether the state has been wrong in all calls of the last ``seconds``."""
        if not wrong:
            self._since = None
            return False
        if self._since is None:
            self._since = self._clock()
        return self._clock() - self._since >= self._seconds


def waiting() -> AbstractContextManager[None]:
    """Mark a ``with`` block in which the main thread waits for Ray; see :meth:`Lifeline.waiting`."""
    return _current[-1].waiting() if _current else nullcontext()


def working() -> AbstractContextManager[None]:
    """Mark a part of a :func:`waiting` block in which the process must not end."""
    return _current[-1].working() if _current else nullcontext()


@contextmanager
def on_loss(finish: Callable[[], str]) -> Iterator[None]:
    """Set what is done if Ray is lost inside a ``with`` block.

    Args:
        finish: Writes what can still be written, without Ray; returns the rest of the sentence for the user.
    """
    if not _current:
        yield
        return
    lifeline, before = _current[-1], _current[-1].finish
    lifeline.finish = finish
    try:
        yield
    finally:
        lifeline.finish = before
