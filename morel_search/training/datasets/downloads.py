"""Downloads of data sets: a time limit for silence, and one process at a time."""

from __future__ import annotations

import os
import pickle
import socket
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

__all__ = ["FAILURES", "download_lock", "socket_timeout"]

SILENCE = 30.0
"""Seconds without data after which a download is aborted.

Without a limit, a download behind a firewall that drops packets hangs for minutes.
"""
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
    """Hold a lock on a file: several trials may start at once on a machine without the images."""
    import fcntl  # exists only on POSIX systems, and is needed only before a download

    # Through a link, the lock could be any file of the user: a model folder names the folder of its images.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
