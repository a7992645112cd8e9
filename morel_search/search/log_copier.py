"""SQLite's write-ahead log of a study, copied to the study's file in a thread."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import suppress

__all__ = ["LogCopier"]

COPY_SECONDS = 0.5
"""Seconds after a commit after which the log is copied."""


class LogCopier:
    """Copies the write-ahead log to the file after commits, in a thread.

    SQLite itself would do so inside each commit, and the search would wait for the disk four times instead of
    once. Neither readers nor writers wait for the copy; a reader of an old state delays it.

    Args:
        connection: A connection of its own, opened before the first commit: a new connection could apply the
            log to another file that has taken the name of the study.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._wanted, self._stopped = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="study-log", daemon=True)
        self._thread.start()

    def copy_soon(self) -> None:
        """Copy the log :data:`COPY_SECONDS` from now on, or a little earlier."""
        self._wanted.set()

    def stop(self) -> None:
        """End the thread; what it has not copied stays in the log."""
        self._stopped.set()
        self._wanted.set()
        self._thread.join()

    def _run(self) -> None:
        while self._wanted.wait() and not self._stopped.wait(COPY_SECONDS):
            self._wanted.clear()
            with suppress(sqlite3.Error):  # on a full disk, the log keeps everything
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
