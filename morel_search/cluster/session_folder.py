"""The folder of Ray's sockets and logs on this machine: private, and removed after the run or its death.

Ray gives its own folder and those below it the mode 0777. Another user of the machine could then create files
beside its sockets, rename them, and plant links among its logs. The folder is therefore inside one of mode
0700, which no other user can enter.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from morel_search.cluster.ray_processes import kill_left
from morel_search.errors import ResourceError

__all__ = ["LONGEST_PATH", "remove_leftovers", "session_folder"]

PREFIX = "morel-"
LOCK, NEW_LOCK = ".lock", ".lock.new"
INNER = "r"
"""Name of Ray's folder; short, because of :data:`LONGEST_PATH`."""

MADE = re.compile(rf"{PREFIX}[a-z0-9_]{{8}}")
"""The names that ``tempfile.mkdtemp`` gives."""

BEGINNING_SECONDS = 3600.0
"""Age from which an empty folder without a lock is no longer one that a run is creating right now."""

LONGEST_PATH = 107
"""Most bytes of the path of a socket on Linux.

Ray's longest is ``INNER/session_YYYY-MM-DD_HH-MM-SS_MICROSECONDS_PID/sockets/plasma_store``.
"""


@contextmanager
def session_folder() -> Iterator[Path]:
    """Yield the path of a folder for Ray, which does not exist yet; remove it at the end of the block.

    First, remove what runs that were killed have left.

    Raises:
        ResourceError: No folder can be made.
    """
    shared = _shared()
    remove_leftovers(shared)
    try:
        private = Path(tempfile.mkdtemp(prefix=PREFIX, dir=shared))  # mode 0700
    except OSError as error:
        raise ResourceError(f"Ray needs a folder in {shared}, which cannot be written: {error}") from error
    try:
        with _locked(private):
            yield private / INNER
    finally:
        shutil.rmtree(private, ignore_errors=True)


def _shared() -> Path:
    """Return the folder for temporary files with the shortest path."""
    return Path("/tmp") if Path("/tmp").is_dir() else Path(tempfile.gettempdir())


@contextmanager
def _locked(private: Path) -> Iterator[None]:
    """Hold the lock of a folder; the lock file appears when it is locked already."""
    import fcntl  # POSIX only

    new = private / NEW_LOCK
    lock = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        new.rename(private / LOCK)
        yield
    finally:
        os.close(lock)


def remove_leftovers(shared: Path) -> None:
    """Remove the folders of this user's runs that ended without removing them, and kill their processes.

    The system releases the lock of a run when its process ends, for whatever reason. A folder without a lock
    file may be one that a run is creating right now; it is removed if it is empty and old. A folder with
    anything else in it is somebody's own, such as the results of a search in a folder ``/tmp/morel-digits``,
    and stays.

    Args:
        shared: The folder with the private folders of all runs.
    """
    import fcntl  # POSIX only

    for folder in shared.glob(f"{PREFIX}*"):
        with suppress(OSError):
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or not _is_session(folder):
                continue
            if not (folder / LOCK).exists():
                if time.time() - status.st_mtime > BEGINNING_SECONDS:
                    (folder / NEW_LOCK).unlink(missing_ok=True)
                    folder.rmdir()  # fails if it is not empty
                continue
            lock = os.open(folder / LOCK, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                kill_left(folder)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _is_session(folder: Path) -> bool:
    """Return whether a folder has the name and the content of one of :func:`session_folder`, and no more."""
    own = {LOCK, NEW_LOCK, INNER}
    return MADE.fullmatch(folder.name) is not None and own.issuperset(path.name for path in folder.iterdir())
