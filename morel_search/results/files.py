"""Atomic writes, a lock that ends with its process, and sentences for errors of the file system."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from morel_search.errors import RunFolderError

__all__ = ["check_locks", "hold_lock", "kind_of_path", "os_error_sentence", "write_atomically"]

LONGEST_PATH = 1000
"""Largest number of characters of a path that a message shows."""

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than this system or its limits allow",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied",
    errno.EPERM: "permission denied",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ELOOP: "symbolic links lead in a circle",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.ENOENT: "no such folder",
    errno.EISDIR: "a folder has this name",
}


def os_error_sentence(action: str, path: Path, error: OSError) -> RunFolderError:
    """Return an error for a file that could not be written, read, created or locked.

    Args:
        action: A verb, such as ``write``.
        path: The file or folder.
        error: The error of the system.

    Returns:
        The error, with one sentence such as ``cannot write results/a/trials.csv: the disk is full``.
    """
    reason = _REASONS.get(error.errno or 0) or (error.strerror or "").lower() or str(error)
    text = str(path)
    shown = text if len(text) <= LONGEST_PATH else f"{text[: LONGEST_PATH - 3]}..."
    return RunFolderError(f"cannot {action} {shown}: {reason}")


def kind_of_path(path: Path) -> Literal["folder", "file", ""]:
    """Return what is at a path; an empty text when nothing is.

    Raises:
        RunFolderError: The path cannot be used: it is too long, or below a folder without permission.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise os_error_sentence("open", path, error) from error
    except ValueError as error:
        raise RunFolderError(f"cannot open {str(path)!r}: {error}") from error
    return "folder" if stat.S_ISDIR(mode) else "file"


def write_atomically(path: Path, data: bytes) -> None:
    """Replace the content of a file in one step, so that a reader or a crash never leaves half of it.

    The bytes are written to a temporary file in the same folder, flushed to the disk (fsync), and renamed to
    the name of the file. The folder is synced last, so that after a power failure the file has the old or the
    new content.

    Args:
        path: The file, in an existing folder.
        data: The new content.

    Raises:
        RunFolderError: The file cannot be written. It keeps its old content, and no temporary file is left.
    """
    temporary = path.with_name(f".{path.name[:100]}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            _write_and_sync(temporary, data)
            temporary.replace(path)
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
    except OSError as error:
        raise os_error_sentence("write", path, error) from error


def _write_and_sync(path: Path, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    """Sync the entries of a folder, on systems that can: network shares and Windows only have the rename."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def check_locks() -> None:
    """Check that this system has the file locks of POSIX.

    Raises:
        RunFolderError: It does not.
    """
    if find_spec("fcntl") is None:
        raise RunFolderError(
            "this system has no file locks of POSIX, which a run folder needs; use Linux or macOS, or WSL on "
            "Windows"
        )


@contextmanager
def hold_lock(path: Path, *, folder: bool = False) -> Iterator[None]:
    """Hold an exclusive ``flock`` on a file, and write the process id into the file.

    The system releases the lock when the process ends, for whatever reason. The file remains; a file without
    a lock has no effect.

    Args:
        path: The file.
        folder: Whether to lock its folder, too, where the file system can: somebody may delete the file,
            because it looks like one that a killed process has left.

    Raises:
        RunFolderError: Another process, or another caller in this process, holds the lock, the file cannot be
            written, or this system has no such locks.
    """
    check_locks()
    import fcntl  # POSIX only; imported here so that reports can be written on any system

    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    except OSError as error:
        raise os_error_sentence("write", path, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFolderError(
                f"{path.parent} is in use by {_holder(descriptor)}; wait until it ends, or stop it"
            ) from error
        except OSError as error:
            raise os_error_sentence("lock", path, error) from error
        with _folder_lock(path.parent) if folder else nullcontext():
            try:
                os.ftruncate(descriptor, 0)
                os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
            except OSError as error:
                raise os_error_sentence("write", path, error) from error
            yield
    finally:
        os.close(descriptor)


@contextmanager
def _folder_lock(folder: Path) -> Iterator[None]:
    import fcntl  # POSIX only

    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        yield
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFolderError(
                f"{folder} is in use by another process, though its lock file was deleted; wait until it "
                "ends, or stop it"
            ) from error
        except OSError:  # a network file system without locks of folders
            pass
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return f"process {text}" if text.isdigit() else "another process"
