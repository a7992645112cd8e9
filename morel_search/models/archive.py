"""The check of a file before ``torch.load`` reads it: a regular file, in the size that its content has."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

from morel_search.results.reading import require_regular

__all__ = ["NO_DATA", "UNREADABLE", "check_archive"]

UNREADABLE = (
    *(OSError, RuntimeError, EOFError, AttributeError, LookupError, TypeError, ValueError),
    *(ArithmeticError, MemoryError, pickle.UnpicklingError),
)
"""Errors of ``torch.load`` for a damaged file, and of the code that reads its content."""

NO_DATA = "it is damaged, or holds more than tensors and plain values"
"""The reason why ``torch.load`` refuses a file; its own text advises to load the file as code."""


def check_archive(path: Path) -> None:
    """Refuse a file that ``torch.save`` did not write.

    Raises:
        OSError: The file is missing, is not a regular file, or cannot be read.
        ValueError: It is not such a file, or is compressed, so that it may need much more memory than its
            size; ``torch.save`` does not compress.
    """
    require_regular(path.stat())
    try:
        with zipfile.ZipFile(path) as archive:
            compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError) as error:  # the latter: a version above ZIP's latest
        raise ValueError("it is damaged, or torch.save did not write it") from error
    if compressed:
        raise ValueError("it is compressed, which torch.save does not do")
