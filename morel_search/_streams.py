"""Output that cannot be written: a closed pipe or a full disk below a log must not end a search."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO, cast

__all__ = ["lasting_output"]


class _Lasting:
    """A text stream whose errors of the system are ignored: the rest of the output is lost.

    Args:
        stream: The stream.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text."""
        try:
            return self._stream.write(text)
        except OSError:
            return len(text)

    def flush(self) -> None:
        """Write what is buffered."""
        try:
            self._stream.flush()
        except OSError:
            return

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


@contextmanager
def lasting_output() -> Iterator[None]:
    """Ignore errors of standard output and of the error stream in a ``with`` block."""
    before = sys.stdout, sys.stderr
    # Either is None when the process was started without it.
    lasting = [None if stream is None else cast("TextIO", _Lasting(stream)) for stream in before]
    sys.stdout, sys.stderr = lasting
    try:
        yield
    finally:
        for stream in lasting:
            if stream is not None:
                stream.flush()
        sys.stdout, sys.stderr = before
