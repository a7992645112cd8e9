"""The SQLite file of a study: opened by its path, written while others read it, kept when it is deleted."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import TypeVar

from sqlalchemy import URL, Engine
from sqlalchemy.pool import QueuePool

from morel_search._cli import print_err
from morel_search.errors import RunFolderError
from morel_search.search.journal import check_journal
from morel_search.search.log_copier import LogCopier

__all__ = ["StudyFile", "is_full", "wait_while_locked"]

Result = TypeVar("Result")

BUSY_SECONDS = 1.0
"""Seconds that SQLite itself waits for a lock; Ctrl-C has no effect during that time."""

QUIET_SECONDS, LOCKED_SECONDS = 10.0, 3600.0
"""Seconds of waiting for a lock after which a message is printed, and after which the search ends."""

LOCAL = frozenset(
    ("apfs", "bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "overlay", "tmpfs", "xfs", "zfs")
)
"""File systems of one machine. SQLite's write-ahead log needs memory that all its users share."""

SIDE_FILES = ("-wal", "-shm", "-journal")
"""Endings of the files that SQLite keeps beside a database while it is written."""

RESERVE, RESERVED_BYTES = ".reserve", 256 * 1024
"""A file beside the study, and its size; it is deleted on a full disk, so that the last writes succeed."""


def wait_while_locked(
    action: Callable[[], Result],
    place: str,
    *,
    clock: Callable[[], float] = time.monotonic,
    say: Callable[[str], None] = print_err,
) -> Result:
    """Repeat an action while another program locks the database; say so after :data:`QUIET_SECONDS`.

    Args:
        action: Reads or writes the database in one transaction, or in several that may be repeated.
        place: The database, for messages.
        clock: Returns seconds since a fixed moment.
        say: Prints a message.

    Raises:
        RunFolderError: The database was locked for :data:`LOCKED_SECONDS`.
    """
    began, told = clock(), False
    while True:
        try:
            result = action()
        except Exception as error:
            if not _has_code(error, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                raise
            waited = clock() - began
            if waited >= LOCKED_SECONDS:
                raise RunFolderError(
                    f"the study {place} has been locked by another program for {waited:.0f} s; end that "
                    "program, then --resume continues"
                ) from error
            if waited >= QUIET_SECONDS and not told:
                say(f"waiting: another program (a dashboard, a backup, a notebook) locks the study {place}")
                told = True
        else:
            if told:
                say(f"the study {place} is free again after {clock() - began:.0f} s")
            return result


def is_full(error: BaseException | None) -> bool:
    """Return whether the disk is full, or does not allow the file to grow."""
    return _has_code(error, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)


def _has_code(error: BaseException | None, *codes: int) -> bool:
    """Return whether SQLite raised an error of one of these codes; other libraries wrap its errors."""
    while error is not None:
        original = getattr(error, "orig", None) or error
        if isinstance(original, sqlite3.Error):
            return getattr(original, "sqlite_errorcode", 0) & 0xFF in codes
        error = error.__cause__
    return False


class StudyFile:
    """The SQLite file of a study.

    During a search the file uses SQLite's write-ahead log where its file system allows it: programs that read
    the study do not block the search then. A commit is on the disk, in the log, when it returns. A thread
    copies the log to the file a moment later (:class:`~morel_search.search.log_copier.LogCopier`), and
    :meth:`end_writing` removes the log, so that a copy of the file alone is complete.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        self._identity: tuple[int, int] | None = None
        self._reader: sqlite3.Connection | None = None  # it still reads a deleted file
        self._copier: LogCopier | None = None

    @property
    def url(self) -> str:
        """URL of the file, for messages and for Optuna's commands."""
        return URL.create("sqlite", database=str(self.path)).render_as_string(hide_password=False)

    @property
    def engine_options(self) -> Mapping[str, object]:
        """Options of an SQLAlchemy engine with the URL ``sqlite://``, which then uses this file.

        A path does not become part of a URL: in one, ``?``, ``#`` and ``%41`` have a meaning.
        """
        return {"creator": self._connect, "poolclass": QueuePool}

    @property
    def has_content(self) -> bool:
        """Whether the file exists and is not empty."""
        return self.path.is_file() and self.path.stat().st_size > 0

    def _connect(self) -> sqlite3.Connection:
        # Once the study is open, a connection must not create an empty file in the place of a deleted one.
        mode = "rwc" if self._identity is None else "rw"
        if self._identity is None:
            check_journal(self.path)
        connection = sqlite3.connect(
            f"{self.path.as_uri()}?mode={mode}", uri=True, timeout=BUSY_SECONDS, check_same_thread=False
        )
        connection.execute("PRAGMA wal_autocheckpoint = 0")  # LogCopier does it
        connection.execute("PRAGMA synchronous = FULL")  # not the default of every build
        return connection

    def check(self) -> None:
        """Refuse a file that SQLite finds damaged, and one with views or triggers.

        Raises:
            sqlite3.Error: The file is damaged, is no database, or is not that of a study.
        """
        with closing(self._connect()) as connection:
            code = connection.execute(
                "SELECT type, name FROM sqlite_master WHERE type IN ('view', 'trigger')"
            ).fetchone()
            if code is not None:  # statements that run when the study is read or written
                raise sqlite3.DatabaseError(f"it has the {code[0]} {code[1]!r}, which no study has")
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if answer != "ok":
            raise sqlite3.DatabaseError(f"the file is damaged ({answer.splitlines()[0]})")

    def begin_writing(self) -> None:
        """Use the write-ahead log if the file system is local, and remember which file is the study."""
        if _is_local(self.path):
            with closing(self._connect()) as connection, suppress(sqlite3.OperationalError):
                connection.execute("PRAGMA journal_mode = WAL")  # not while another program reads
        with suppress(OSError):  # on a full disk there is none
            reserve = self.path.with_name(RESERVE)
            if not reserve.exists():
                reserve.write_bytes(os.urandom(RESERVED_BYTES))  # random: compression cannot shrink it
        self._identity = self._identity_now()
        self._reader = self._connect()
        self._reader.execute("SELECT name FROM sqlite_master").fetchall()  # opens the log too
        (mode,) = self._reader.execute("PRAGMA journal_mode").fetchone()
        if mode == "wal":
            self._copier = LogCopier(self._reader)

    def committed(self) -> None:
        """Have the write-ahead log copied to the file, soon and in another thread."""
        if self._copier is not None:
            self._copier.copy_soon()

    def end_writing(self) -> None:
        """Remove the write-ahead log and the reserve; all connections must be closed."""
        with suppress(OSError):
            self.path.with_name(RESERVE).unlink(missing_ok=True)
        self._stop_copying()
        self._close_reader()
        if not self.has_content:
            return
        reason = "another program reads it"
        for command in ("journal_mode = DELETE", "wal_checkpoint(TRUNCATE)"):
            # The first fails while another program has the file open, and the second while it reads.
            try:
                with closing(self._connect()) as connection:
                    connection.execute(f"PRAGMA {command}")
            except sqlite3.Error as error:
                if not _has_code(error, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
                    reason = str(error)  # on a full disk, for example
        log = self.path.with_name(self.path.name + SIDE_FILES[0])
        if log.exists() and log.stat().st_size:
            print_err(
                f"warning: {log} could not be copied into {self.path.name} ({reason}); keep both files "
                "together until the study is opened again"
            )

    def free_reserve(self) -> None:
        """Delete the reserve, so that a full disk has room for a few more transactions."""
        with suppress(OSError):
            self.path.with_name(RESERVE).unlink(missing_ok=True)

    def keep(self, engine: Engine) -> None:
        """Write the file again if another program has deleted or replaced it since :meth:`begin_writing`.

        Args:
            engine: The engine of the study, none of whose connections is in use.

        Raises:
            sqlite3.Error: The file cannot be written.
            OSError: The file cannot be written.
        """
        now = self._identity_now()
        if self._identity in (None, now) or self._reader is None:
            return
        self._stop_copying()
        copy = self.path.with_name(f".{self.path.name}.restored.tmp")
        copy.unlink(missing_ok=True)
        with closing(sqlite3.connect(copy)) as target:
            self._reader.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")
        self._close_reader()
        engine.dispose()  # closes the connections to the deleted file before a new file takes its name
        happened = "deleted"
        if now is not None:
            other = self.path.with_name(f"{self.path.name}.other-{time.strftime('%Y%m%d-%H%M%S')}")
            self.path.replace(other)
            happened = f"replaced by another file, which is {other.name} now,"
        for ending in SIDE_FILES:  # they would be applied to the new file
            self.path.with_name(self.path.name + ending).unlink(missing_ok=True)
        copy.replace(self.path)
        self._identity = None
        self.begin_writing()
        print_err(f"warning: {self.path} was {happened} while the search ran; it was written again, complete")

    def _stop_copying(self) -> None:
        if self._copier is not None:
            self._copier.stop()
            self._copier = None

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
            self._reader = None

    def _identity_now(self) -> tuple[int, int] | None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino


def _is_local(path: Path) -> bool:
    """Return whether a file is on a file system of this machine; False where that is not known."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    place, found, kind = os.path.realpath(path), "", ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = _unescaped(before.split()[4])
        inside = place == point or place.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(found):  # a later mount hides an earlier one
            found, kind = point, after.split()[0]
    return kind in LOCAL


def _unescaped(text: str) -> str:
    """Return a path of ``mountinfo``, which writes blanks and backslashes as octal numbers."""
    for character in " \t\n\\":
        text = text.replace(f"\\{ord(character):03o}", character)
    return text
