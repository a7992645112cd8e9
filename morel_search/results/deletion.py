"""Deleting the folder of a network, and the sentence for what remains of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from morel_search.results.files import os_error_sentence

__all__ = ["delete_network"]

WEIGHTS, SETTINGS = "model.pt", "settings.json"


def delete_network(folder: Path) -> str:
    """Delete the folder of a network that a search or a mix wrote, as far as the system allows.

    A folder in which the user has put something is kept as it is. So is another network, such as one that was
    exported to this place or trained again: it has no ``model.pt``.

    Returns:
        One sentence if the network remains, such as ``cannot delete a/b: permission denied``; else empty.
    """
    try:
        paths = list(folder.iterdir())
        names = [path.name for path in paths]
        others = sorted(
            path.name for path in paths if path.name not in (WEIGHTS, SETTINGS) and not _is_remainder(path)
        )
    except OSError as error:  # what is in it is not known, so it stays
        return str(os_error_sentence("delete", folder, error)) if folder.exists() else ""
    if others:
        return f"{folder} is kept, because it holds {others[0]}" if WEIGHTS in names else ""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        return str(os_error_sentence("delete", folder, error)) if folder.exists() else ""
    return ""


def _is_remainder(path: Path) -> bool:
    """Return whether a file is the remainder of a write, or one of a file manager or a file system."""
    return (path.name.startswith(".") or path.name.endswith(".tmp")) and not path.is_dir()
