"""The folder of torch's compiler: private, because torch runs code that it finds there.

Torch makes it when parts of it are imported, with a name in the folder for temporary files that everybody can
guess. Another user of the machine could make a file of this name, with which torch fails, or a folder with
code in it.
"""

from __future__ import annotations

import atexit
import getpass
import os
import re
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path

__all__ = ["use_private_folder"]

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
PREFIX = "torchinductor_"


def use_private_folder() -> None:
    """Make torch's folder with the mode 0700; if it is another user's or no folder, use one of this process.

    A folder that the environment names is left as it is.
    """
    if VARIABLE in os.environ or not hasattr(os, "getuid"):  # POSIX only
        return
    with suppress(OSError):  # torch itself says what is wrong with the folder for temporary files
        folder = _usual()
        if not _is_private(folder):
            folder = Path(tempfile.mkdtemp(prefix=PREFIX))
            atexit.register(_remove, folder, os.getpid())
        os.environ[VARIABLE] = str(folder)


def _usual() -> Path:
    """Return the folder that torch takes by itself."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # the user has no name, as in a container
        user = f"uid_{os.getuid()}"
    user = re.sub(r'[\\/:*?"<>|]', "_", user)
    return Path(tempfile.gettempdir()) / f"{PREFIX}{user}"


def _is_private(folder: Path) -> bool:
    """Make a folder, and return whether it is a folder of this user alone."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    status = folder.lstat()
    own = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    return own and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)  # others may have written to it


def _remove(folder: Path, process: int) -> None:
    """Remove a folder at the end of the process that made it, not of one that it forked."""
    if os.getpid() == process:
        shutil.rmtree(folder, ignore_errors=True)
