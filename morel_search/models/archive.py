"""The check of a file before ``torch.load`` reads it: a regular file, in the size that its content has."""

from __future__ import annotations

import zipfile
from pathlib import Path

from morel_search.results.reading import require_regular
from morel_search.training.networks.state_dicts import NO_DATA, UNREADABLE, is_compressed

__all__ = ["NO_DATA", "UNREADABLE", "check_archive"]


def check_archive(path: Path) -> None:
    """Refuse a file that ``torch.save`` did not write.

    Raises:
        OSError: The file is missing, is not a regular file, or cannot be read.
        ValueError: It is not such a file, or is compressed, so that it may need much more memory than its
            size; ``torch.save`` does not compress.
    """
    require_regular(path.stat())
    try:
        compressed = is_compressed(path)
    except (zipfile.BadZipFile, NotImplementedError) as error:  # the latter: a version above ZIP's latest
        raise ValueError("it is damaged, or torch.save did not write it") from error
    if compressed:
        raise ValueError("it is compressed, which torch.save does not do")
