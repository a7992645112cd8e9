"""Writing a file so that no reader, and no crash, ever finds half of it; reading tables back; a lock that dies with its process."""

from __future__ import annotations

import csv
import errno
import io
import math
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morel_search.errors import RunFolderError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["hold_lock", "os_error_sentence", "read_table", "write_atomically"]

_REASONS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than this system or its limits allow",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "there is no permission to write there",
    errno.EPERM: "there is no permission to write there",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.ENOENT: "the folder is not there",
    errno.EISDIR: "a folder stands in its place",
}


def os_error_sentence(action: str, path: Path, error: OSError) -> RunFolderError:
    """One sentence about a file that could not be written or read: ``cannot write results/a/trials.csv: the disk is full``."""
    reason = _REASONS.get(error.errno or 0) or (error.strerror or str(error)).lower()
    return RunFolderError(f"cannot {action} {path}: {reason}")


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file by new contents in one step.

    The bytes go to a temporary file in the same folder, to the disk (fsync), and only then to their name
    (rename); the folder is synced last, so that after a power cut the name leads to the old contents or to
    the new ones.

    Args:
        path: The file; its folder exists.
        data: The whole contents.

    Raises:
        RunFolderError: The file cannot be written; the old contents are still there and no temporary file is
            left.
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
    """Sync a folder's entries; some systems (network shares, Windows) cannot, and then the rename alone has to do."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive ``flock`` on a file, which holds the process id of its owner.

    The system drops the lock when the process ends, however it ends; the file stays and means nothing by
    itself.

    Raises:
        RunFolderError: Another process (or another holder in this one) has it, or the file cannot be written.
    """
    import fcntl  # POSIX alone; imported here so that a report can be drawn again on any system

    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise os_error_sentence("write", path, error) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFolderError(
                f"{path.parent} is in use by {_holder(descriptor)}; wait for it, or stop it first"
            ) from error
        except OSError as error:
            raise os_error_sentence("lock", path, error) from error
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError as error:
            raise os_error_sentence("write", path, error) from error
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    text = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
    return f"process {text}" if text.isdigit() else "another process"


def read_table(
    path: Path,
    columns: Sequence[str],
    text: Sequence[str],
    counts: Sequence[str],
    later: Mapping[str, str] | None = None,
) -> pd.DataFrame:
    """Read a CSV file.

    Args:
        path: The file; where it is missing, the table has no row.
        columns: Columns that must be there.
        text: Columns that hold text, empty where nothing is known.
        counts: Columns that hold whole numbers or nothing (nullable integers).
        later: Columns that older files lack, each with the cell that stands in all of its rows then.

    Returns:
        The table; ``param_`` columns are numbers where all values are, else text; all other columns are
        floats.

    Raises:
        RunFolderError: The file cannot be read or is not such a table.
    """
    import pandas as pd

    try:
        content = path.read_bytes().decode("utf-8", "replace")
    except FileNotFoundError:
        content = ",".join(columns)
    except OSError as error:
        raise os_error_sentence("read", path, error) from error
    try:
        # by the csv module, not by pandas: which of its parsers keeps the last digit, and what it calls it,
        # changes with its versions
        head, *rows = [row for row in csv.reader(io.StringIO(content, newline=""), strict=True) if row] or [
            []
        ]
        added = {column: cell for column, cell in (later or {}).items() if column not in head}
        missing = [column for column in columns if column not in head and column not in added]
        if missing:
            raise ValueError(f"it has no column {missing[0]}")
        if any(len(row) != len(head) for row in rows):
            raise ValueError("its rows have different lengths")
        cells = dict(zip(head, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(head, ())
        cells |= {name: (cell,) * len(rows) for name, cell in added.items()}
        return pd.DataFrame({name: _typed(name, cells[name], text, counts) for name in [*head, *added]})
    except (ValueError, TypeError, csv.Error) as error:
        raise RunFolderError(f"{path} is damaged: {str(error).strip().splitlines()[0]}") from error


def _typed(name: str, cells: Sequence[str], text: Sequence[str], counts: Sequence[str]) -> pd.Series[Any]:
    """Give a column the type that its name promises."""
    import pandas as pd

    if name in text:
        return pd.Series(list(cells), dtype=object)
    if name in counts:
        return pd.Series([pd.NA if cell == "" else int(float(cell)) for cell in cells], dtype="Int64")
    try:
        return pd.Series([float(cell or "nan") for cell in cells], dtype=float)
    except ValueError:
        if not name.startswith("param_"):
            raise
        return pd.Series([cell or math.nan for cell in cells], dtype=object)
