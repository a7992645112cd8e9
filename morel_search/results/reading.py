"""Reading files of a folder that may be somebody else's: regular files alone, and none that is too large.

A pipe would make the reader wait for ever, and a device such as ``/dev/zero`` never ends.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

__all__ = ["JSON_BYTES", "TABLE_BYTES", "read_regular", "require_regular"]

JSON_BYTES = 32 * 2**20
"""Largest JSON file in bytes; the settings of a run have some kilobytes."""

TABLE_BYTES = 2**30
"""Largest CSV file in bytes: about four million epochs."""


def require_regular(status: os.stat_result) -> None:
    """Refuse pipes, sockets and devices.

    Raises:
        OSError: It is not a regular file; the text of the error is the reason.
    """
    if stat.S_ISDIR(status.st_mode):
        raise OSError("it is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):
        raise OSError("it is a pipe or a device, not a file")


def read_regular(path: Path, limit: int | None = None) -> bytes:
    """Return the content of a regular file.

    Args:
        path: The file, or a link to it.
        limit: Largest size in bytes; None for none.

    Raises:
        OSError: The file is missing, is not a regular file, is larger than the limit, or cannot be read.
    """
    # Without O_NONBLOCK, the opening of a pipe waits for its writer.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        status = os.fstat(descriptor)
        require_regular(status)
    except OSError:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb") as file:
        if limit is None:
            return file.read()
        content = file.read(limit + 1) if status.st_size <= limit else b""
        if status.st_size > limit or len(content) > limit:
            raise OSError(f"it has more than {limit // 2**20} MiB")
        return content
