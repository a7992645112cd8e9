"""What a piece of code does outside a folder: files written or deleted, connections, programs started."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

__all__ = ["Watch"]

WRITES: dict[str, tuple[tuple[int, int | None], ...]] = {
    **dict.fromkeys(("os.remove", "os.rmdir"), ((0, 1),)),
    **dict.fromkeys(("os.mkdir", "os.chmod"), ((0, 2),)),
    **dict.fromkeys(("os.rename", "os.link"), ((0, 2), (1, 3))),
    **{"os.symlink": ((1, 2),), "os.chown": ((0, 3),), "os.utime": ((0, 3),), "os.truncate": ((0, None),)},
    "sqlite3.connect": ((0, None),),
}
"""For each audited event that changes files: the position of each path, and that of the descriptor of the
folder to which the path is relative."""

PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "pty.spawn")
HARMLESS = ("git", "ldconfig", "fc-list")
"""Programs that are started on purpose: for the commit of the package, by torch to find libraries, and by
matplotlib to find fonts."""

LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")
IGNORED = ("/dev/", "/proc/")


class Watch:
    """An audit hook of the interpreter. It cannot be removed, so a process has one.

    Attributes:
        outside: Paths outside the folder that were written, deleted, or opened for writing.
        network: Addresses beyond this machine that were connected to or looked up.
        programs: Programs that were started.
    """

    def __init__(self) -> None:
        self.outside: list[str] = []
        self.network: list[str] = []
        self.programs: list[str] = []
        self._folder: str | None = None
        self._temporary = tempfile.gettempdir()  # writes a file when it is called first, and holds a lock
        sys.addaudithook(self._see)

    @contextmanager
    def folder(self, folder: Path) -> Iterator[None]:
        """Watch the code of a ``with`` block, which may change files in this folder alone."""
        self._folder = str(folder.resolve())
        try:
            yield
        finally:
            self._folder = None

    def clear(self) -> None:
        """Forget what was seen."""
        for seen in (self.outside, self.network, self.programs):
            seen.clear()

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._folder is None:
            return
        if event == "open":
            path, mode, flags = arguments
            if _writes(mode, flags):
                self._touch(event, path)
        elif event in WRITES:
            for position, folder in WRITES[event]:
                descriptor = -1 if folder is None else arguments[folder]
                self._touch(event, _below(descriptor, arguments[position]))
        elif event in ("socket.connect", "socket.getaddrinfo", "socket.sendto"):
            address = arguments[1] if event != "socket.getaddrinfo" else arguments[0]
            host = str(address[0] if isinstance(address, tuple) else address)
            if not host.startswith((*LOOPBACK, "/")):
                self.network.append(f"{event} {host}")
        elif event in PROGRAMS:
            program = Path(str(arguments[0])).name
            if program not in HARMLESS:
                self.programs.append(f"{event} {program[:80]}")

    def _touch(self, event: str, path: object) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):  # a descriptor, which an event before has opened
            return
        text = os.fsdecode(path)
        if text == ":memory:":
            return
        if text.startswith("file:"):  # the URI of an SQLite file
            text = unquote(urlsplit(text).path)
        absolute = os.path.normpath(Path(text).absolute())  # Path.resolve would open files and follow links
        if not self._may_write(absolute):
            self.outside.append(f"{event} {absolute[:200]}")

    def _may_write(self, absolute: str) -> bool:
        folder = str(self._folder)
        if absolute == folder or absolute.startswith(folder + os.sep) or absolute.startswith(IGNORED):
            return True
        # A file without a name: tempfile.TemporaryFile checks that a folder can be written to.
        return absolute in (str(Path(folder).parent), self._temporary)


def _below(descriptor: int, path: object) -> object:
    """Return a path that is relative to the folder of an open descriptor, as :func:`os.remove` takes it."""
    if descriptor < 0 or not isinstance(path, (str, bytes, os.PathLike)):
        return path
    try:
        folder = Path(f"/proc/self/fd/{descriptor}").readlink()
    except OSError:
        return path
    return folder / os.fsdecode(path)


def _writes(mode: object, flags: object) -> bool:
    if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND):
        return True
    return isinstance(mode, str) and any(letter in mode for letter in "wax+")
