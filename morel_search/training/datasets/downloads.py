"""Downloads of data sets: a time limit for silence, and one process at a time."""

from __future__ import annotations

import os
import pickle
import socket
import sys
import tarfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

from morel_search._format import printable

__all__ = ["FAILURES", "download_lock", "socket_timeout"]

SILENCE = 30.0
"""Seconds without data after which a download is aborted.

Without a limit, a download behind a firewall that drops packets hangs for minutes.
"""
LONGEST_DOWNLOAD = 3600.0
"""Longest wait for the download of another process, in seconds."""

NOTE_SECONDS, POLL_SECONDS = 30.0, 0.2
"""Seconds after which a wait is said, and between two attempts."""

FAILURES = (
    OSError,
    RuntimeError,
    EOFError,
    HTTPException,
    tarfile.TarError,
    zlib.error,
    pickle.UnpicklingError,
)
"""Errors of a download, of an archive and of its content."""


@contextmanager
def socket_timeout() -> Iterator[None]:
    """Set a timeout for connections inside the block; torchvision sets none."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def download_lock(path: Path) -> Iterator[None]:
    """Hold a lock on a file: several trials may start at once on a machine without the images.

    Raises:
        TimeoutError: Another process holds the lock and has held it for :data:`LONGEST_DOWNLOAD`, for example
            because it was stopped with Ctrl-Z.
    """
    # Through a link, the lock could be any file of the user: a model folder names the folder of its images.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        _wait_for(descriptor, path)
        yield
    finally:
        os.close(descriptor)


def _wait_for(descriptor: int, path: Path) -> None:
    import fcntl  # exists only on POSIX systems, and is needed only before a download

    began, told = time.monotonic(), False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            waited = time.monotonic() - began
        else:
            return
        if waited >= LONGEST_DOWNLOAD:
            raise TimeoutError(
                f"another process has held {path} for {waited / 60:.0f} minutes, and may be stopped; end it, "
                "and start again"
            )
        if waited >= NOTE_SECONDS and not told:
            note = f"waiting for another process that downloads images to {path.parent}"
            sys.stderr.write(f"{printable(note)}\n")
            told = True
        time.sleep(POLL_SECONDS)
