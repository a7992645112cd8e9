"""Deleting a folder, and the sentence for what remains of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from morel_search.results.files import os_error_sentence

__all__ = ["delete_folder"]


def delete_folder(folder: Path) -> str:
    """Delete a folder with its content, as far as the system allows.

    Returns:
        One sentence if the folder remains, such as ``cannot delete a/b: permission denied``; else empty.
    """
    try:
        shutil.rmtree(folder)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        return str(os_error_sentence("delete", folder, error)) if folder.exists() else ""
    return ""
