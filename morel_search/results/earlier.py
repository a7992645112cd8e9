"""Finished results that new ones would replace: they are kept beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from itertools import count
from pathlib import Path

from morel_search.results.attack_records import UNKNOWN, AttackSetup, read_record
from morel_search.results.files import os_error_sentence
from morel_search.results.folder import RunFolder
from morel_search.results.links import check_inside

__all__ = ["EARLIER", "aside", "keep_aside", "keep_record", "other_records"]

EARLIER = "earlier"
"""Folder in ``verification/`` of the records of other attacks, images or weights."""

_ENDINGS = (".json", ".csv")
"""The results come last: a record is moved as long as its results are there, also after a kill in between."""


def keep_aside(path: Path) -> Path:
    """Rename a file to :func:`aside`.

    Returns:
        The new path.

    Raises:
        RunFolderError: The file cannot be renamed.
    """
    target = aside(path)
    _rename(path, target)
    return target


def aside(path: Path) -> Path:
    """Return ``NAME.earlier.csv`` for ``NAME.csv``, or ``NAME.earlier-2.csv`` if that exists, and so on."""
    return path.with_name(_free(path.parent, f"{path.stem}.{EARLIER}", (path.suffix,)) + path.suffix)


def other_records(run: RunFolder, setups: Mapping[str, AttackSetup]) -> list[str]:
    """Return the names of the records with results that a verification would replace.

    They are of other attacks, other images or other weights than the verification that begins, or damaged.

    Args:
        run: The run folder, whose lock is held.
        setups: The setup of the verification that begins, by the name of the network.

    Raises:
        RunFolderError: A table of a record is damaged.
    """
    return [name for name, setup in setups.items() if _is_other(run, name, setup)]


def _is_other(run: RunFolder, name: str, setup: AttackSetup) -> bool:
    if not (run.verification / f"{name}.csv").exists():
        return False
    record = read_record(run, name)
    return record is None or (record.setup != setup and bool((record.table != UNKNOWN).any()))


def keep_record(run: RunFolder, name: str) -> None:
    """Move a record to ``verification/earlier/``.

    Raises:
        RunFolderError: A file cannot be moved.
    """
    folder = run.verification / EARLIER
    check_inside(run.path, folder / name)
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise os_error_sentence("create", folder, error) from error
    kept = _free(folder, name, _ENDINGS)
    for ending in _ENDINGS:
        source = run.verification / f"{name}{ending}"
        if source.exists():
            _rename(source, folder / f"{kept}{ending}")


def _free(folder: Path, name: str, endings: tuple[str, ...]) -> str:
    """Return a name, with ``-2`` or a later number if files of it exist."""
    for number in count(1):
        free = name if number == 1 else f"{name}-{number}"
        if not any(os.path.lexists(folder / f"{free}{ending}") for ending in endings):
            return free
    raise AssertionError


def _rename(path: Path, target: Path) -> None:
    try:
        path.rename(target)
    except OSError as error:
        raise os_error_sentence("rename", path, error) from error
