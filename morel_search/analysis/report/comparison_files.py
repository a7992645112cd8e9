"""The files of a comparison: its page, and the data of its figures as CSV beside it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from morel_search.analysis.comparison.runs import Comparison
from morel_search.analysis.report.comparison_page import MARK, comparison_groups, comparison_page
from morel_search.analysis.report.figure_tables import figure_tables, is_table
from morel_search.analysis.report.template import figures_of
from morel_search.errors import RunFolderError
from morel_search.results.files import os_error_sentence, write_atomically
from morel_search.results.reading import read_regular

__all__ = ["write_comparison"]

LARGEST_PAGE = 2**26
"""Largest file, in bytes, that is looked at before it is replaced."""

_NAMES = re.compile(r"fronts|attainment-\d+")
"""Names of the figures of a comparison, of this one or an earlier one."""


def write_comparison(comparison: Comparison, folders: Sequence[Path], path: Path) -> Path:
    """Write the page of a comparison, and the data of each of its figures as ``STEM-FIGURE.csv`` beside it.

    Files of an earlier comparison are replaced, or removed where the page has no such figure any more; no
    other file is.

    Args:
        comparison: The runs.
        folders: Their folders as they were given, for the command that repeats the comparison.
        path: The page.

    Raises:
        RunFolderError: Another file has the name of one of the files, or a file cannot be written. If another
            file is in the way, nothing is written.
    """
    groups = comparison_groups(comparison)
    tables = figure_tables(figures_of(groups))
    targets = {path.with_name(f"{path.stem}-{name}.csv"): table for name, table in tables.items()}
    _check_page(path)
    for target in targets:
        if _exists(target) and not is_table(target):
            raise RunFolderError(
                f"{target} exists already and is not a table of a comparison; name another page with --out"
            )
    write_atomically(path, comparison_page(comparison, folders, groups).encode("utf-8", "backslashreplace"))
    for target, table in targets.items():
        write_atomically(target, table.encode("utf-8", "backslashreplace"))
    _remove_others(path, set(targets))
    return path


def _check_page(path: Path) -> None:
    try:
        ours = f'<p class="kicker">{MARK} '.encode() in read_regular(path, LARGEST_PAGE)
    except FileNotFoundError:
        ours = True
    except OSError as error:
        raise os_error_sentence("write", path, error) from error
    if not ours:
        raise RunFolderError(f"{path} exists already and is not a comparison; name another file with --out")


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise os_error_sentence("write", path, error) from error
    return True


def _remove_others(path: Path, kept: set[Path]) -> None:
    """Remove the tables of an earlier comparison of this name that this one does not have."""
    begin = f"{path.stem}-"
    for other in path.parent.iterdir():
        name = other.name.removeprefix(begin).removesuffix(".csv")
        if other in kept or other.name != f"{begin}{name}.csv" or not _NAMES.fullmatch(name):
            continue
        if is_table(other):
            try:
                other.unlink(missing_ok=True)
            except OSError as error:
                raise os_error_sentence("remove", other, error) from error
