"""Making the folder of a new run."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from morel_search.errors import RunFolderError
from morel_search.results.files import kind_of_path, os_error_sentence
from morel_search.results.folder import RunFolder
from morel_search.results.names import check_run_name
from morel_search.results.reading import read_regular

__all__ = ["check_new_run", "create_run_folder", "remove_unbegun"]

_UNFINISHED = re.compile(r"\.(\.probe|space\.yaml|settings\.json)\.\d+\.[0-9a-f]{8}\.tmp")
"""Names of files that :func:`~morel_search.results.files.write_atomically` had begun to write."""


def check_new_run(results: Path, name: str) -> None:
    """Check that :func:`create_run_folder` can create a folder, without writing anything.

    Args:
        results: Folder of all runs.
        name: Name of the run.

    Raises:
        RunFolderError: The name is not valid, the folder exists, or it cannot be created.
    """
    check_run_name(name)
    folder = Path(results).absolute() / name
    if kind_of_path(folder):
        holds_a_run = RunFolder(folder).settings.is_file()
        advice = "continue it with --resume" if holds_a_run else "it is not a run: move it away"
        raise RunFolderError(f"{folder} exists already: {advice}, or choose another --name")
    if around := next((parent for parent in folder.resolve().parents if _is_run(parent)), None):
        raise RunFolderError(
            f"{folder} would be inside the run {around}, which deletes folders of its own; set --results to "
            "another folder"
        )
    existing = next(parent for parent in folder.parents if parent.exists())
    if not existing.is_dir():
        raise RunFolderError(f"cannot create {folder}: {existing} is a file, not a folder")
    try:
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise os_error_sentence("create", folder, error) from error


def remove_unbegun(run: RunFolder, given: Path, text: str) -> None:
    """Remove the folder that a start left which was killed before it had written its settings.

    A folder in which the user keeps a space file stays.

    Args:
        run: The run folder.
        given: The user's space file.
        text: Its content, which a start writes to ``space.yaml``.

    Raises:
        RunFolderError: The folder cannot be read.
    """
    if kind_of_path(run.path) != "folder" or run.path.is_symlink():
        return
    if given.resolve().parent == run.path.resolve():
        return
    try:
        files = list(run.path.iterdir())
        if all(_is_unbegun(file, run.space, text) for file in files):
            for file in files:
                file.unlink()
            run.path.rmdir()
    except OSError as error:
        raise os_error_sentence("remove", run.path, error) from error


def _is_unbegun(file: Path, space: Path, text: str) -> bool:
    """Return whether a start wrote a file before the settings of its run, or began to write it."""
    if not file.is_file():
        return False
    if file == space:
        return read_regular(file) == text.encode("utf-8", "backslashreplace")
    return file.name == ".probe" or _UNFINISHED.fullmatch(file.name) is not None


def _is_run(folder: Path) -> bool:
    run = RunFolder(folder)
    return run.settings.is_file() and run.study.is_file()


def create_run_folder(results: Path, name: str) -> RunFolder:
    """Create a new, empty run folder.

    Args:
        results: Folder of all runs; created when it does not exist.
        name: Name of the run: letters, digits, ``.``, ``_``, ``+`` and ``-``, at most 100 characters, of
            which the first is a letter or a digit.

    Raises:
        RunFolderError: The name is not valid, the folder exists, or it cannot be written to. Nothing is left
            on the disk.
    """
    check_new_run(results, name)
    run = RunFolder(Path(results).absolute() / name)
    try:
        run.path.parent.mkdir(parents=True, exist_ok=True)
        run.path.mkdir()
    except FileExistsError as error:  # created by another process since the check
        if run.path.parent.is_dir():
            raise RunFolderError(
                f"{run.path} exists already: continue it with --resume, or choose another --name"
            ) from error
        raise RunFolderError(
            f"cannot create {run.path}: {run.path.parent} is a file, not a folder"
        ) from error
    except OSError as error:
        raise os_error_sentence("create", run.path, error) from error
    try:
        run.write_bytes(".probe", b"x" * 4096)
        (run.path / ".probe").unlink()
    except RunFolderError:
        run.path.rmdir()
        raise
    return run
