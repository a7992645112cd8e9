"""Links in a run folder that lead out of it: nothing is written or deleted through them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from morel_search.errors import RunFolderError
from morel_search.results.files import os_error_sentence

__all__ = ["check_inside", "check_links"]

WRITTEN_IN_PLACE = (".lock", ".reserve", "study.db*", ".study.db*", "*.tmp")
"""Names of files that are opened for writing. All others are replaced by a rename, which replaces a link."""


def check_inside(folder: Path, target: Path) -> None:
    """Refuse a path that a link leads out of a folder.

    Args:
        folder: The folder; it may be reached through links itself.
        target: A path in it, whose last part may not exist.

    Raises:
        RunFolderError: The folder of the target is elsewhere.
    """
    try:
        place = target.parent.resolve()
        if place.is_relative_to(folder.resolve()):
            return
    except OSError as error:
        raise os_error_sentence("open", target, error) from error
    except RuntimeError as error:  # Python before 3.13
        raise os_error_sentence("open", target, OSError(errno.ELOOP, str(error))) from error
    raise _leads_out(target.parent, place)


def check_links(folder: Path) -> None:
    """Refuse a run folder that has links out of it where a run writes or deletes.

    A link in the place of a file that is only read or replaced, such as the weights of a network, is allowed.

    Raises:
        RunFolderError: There is such a link.
    """
    own = folder.resolve()
    for link in _links(folder):
        try:
            place, is_folder = link.resolve(), link.is_dir()
        except (OSError, RuntimeError):  # links in a circle, names that are too long: every use of them fails
            continue
        used = is_folder or any(fnmatch(link.name, pattern) for pattern in WRITTEN_IN_PLACE)
        if used and not place.is_relative_to(own):
            raise _leads_out(link, place)


def _links(folder: Path) -> Iterator[Path]:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink():
                yield path


def _leads_out(link: Path, place: Path) -> RunFolderError:
    return RunFolderError(
        f"{link} leads out of the run folder, to {place}; nothing is written there: put a folder or a file "
        "in the place of this link, or move the whole run folder and link to it"
    )
