"""The journal beside a study's file, which SQLite rolls back when it opens the file."""

from __future__ import annotations

from pathlib import Path

from morel_search.errors import RunFolderError
from morel_search.results.files import os_error_sentence
from morel_search.results.reading import read_regular

__all__ = ["check_journal"]

MAGIC = bytes.fromhex("d9d505f920a163d7")
"""First bytes of a journal, and last bytes of one that names a super-journal
(https://www.sqlite.org/fileformat.html, section 3)."""


def check_journal(study: Path) -> None:
    """Refuse a journal that names a super-journal: SQLite would delete that file, whatever it is.

    SQLite writes super-journals for transactions on several databases; a study is one database.

    Args:
        study: The file of the study.

    Raises:
        RunFolderError: The journal names another file, or cannot be read.
    """
    journal = study.with_name(f"{study.name}-journal")
    try:
        content = read_regular(journal)
    except FileNotFoundError:
        return
    except OSError as error:
        raise os_error_sentence("read", journal, error) from error
    if content.endswith(MAGIC) and len(content) > len(MAGIC):
        raise RunFolderError(
            f"the study at {study} cannot be opened: {journal.name} beside it names another file, "
            "which SQLite would delete; move that journal elsewhere"
        )
