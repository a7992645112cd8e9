"""Reading files of ``torch.save`` as data: tensors and plain values, in the size that the file has."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from morel_search.results.reading import require_regular

__all__ = ["read_tensors"]


def read_tensors(path: Path) -> Any:
    """Return the content of a file that ``torch.save`` wrote.

    Raises:
        OSError: The file is missing, is not a regular file, or cannot be read.
        ValueError: It is not such a file, holds more than tensors and plain values, or is compressed, so that
            it may need much more memory than its size.
        RuntimeError: It is damaged.
    """
    require_regular(path.stat())
    try:
        with zipfile.ZipFile(path) as archive:
            compressed = any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist())
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise ValueError("it is damaged, or torch.save did not write it") from error
    if compressed:
        raise ValueError("it is compressed, which torch.save does not do")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:  # whose text advises to load it without weights_only
        raise ValueError("it is damaged, or holds more than tensors and plain values") from error
