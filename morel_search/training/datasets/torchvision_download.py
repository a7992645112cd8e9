"""Data sets that torchvision reads from ``data.folder``: downloads, and errors as sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol, TypeVar

from morel_search.errors import DataError
from morel_search.training.datasets.downloads import FAILURES, download_lock, socket_timeout
from morel_search.training.datasets.source import local_path
from morel_search.training.settings import DataSettings

__all__ = ["files_problem", "read_or_download"]

T_co = TypeVar("T_co", covariant=True)


class _Reader(Protocol[T_co]):
    """Function that reads a data set from a folder, with torchvision."""

    def __call__(self, folder: Path, /, *, download: bool) -> T_co: ...


def read_or_download(name: str, place: str, settings: DataSettings, read: _Reader[T_co]) -> T_co:
    """Read a data set; its files are downloaded to ``data.folder`` first if they are missing.

    Args:
        name: The name of its class in ``torchvision.datasets``.
        place: Its files in ``data.folder``.
        settings: The settings.
        read: Reads the data set.

    Raises:
        DataError: The files are missing, damaged, or cannot be downloaded.
    """
    folder = local_path("folder", settings.folder)
    try:
        return read(folder, download=False)
    except FAILURES as error:
        if not settings.download:
            problem = "are missing or damaged, and data.download is off"
            raise files_problem(name, place, settings, problem) from error
        return _downloaded(name, place, settings, read)
    except (ValueError, AssertionError, TypeError, LookupError) as error:
        raise files_problem(name, place, settings, f"are damaged ({error})") from error


def files_problem(name: str, place: str, settings: DataSettings, problem: str) -> DataError:
    """Return the error that says what is wrong with the files of a data set, and what to do."""
    return DataError(
        f"the files of {name} in {local_path('folder', settings.folder) / place} {problem}: copy them to "
        "that folder (data.folder) from a machine with a network, or use images that need no download: "
        "morel-search init digits writes such a space file"
    )


def _downloaded(name: str, place: str, settings: DataSettings, read: _Reader[T_co]) -> T_co:
    folder = local_path("folder", settings.folder)
    for path in (folder / place, (folder / place).parent):
        if path != folder and path.is_symlink():
            raise DataError(
                f"{path} is a link to {path.readlink()}, which does not have the files of {name}; "
                "nothing is written through a link: delete it, or name another folder in data.folder"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with download_lock(folder / f".{name}.lock"), socket_timeout():
            return read(folder, download=True)
    except (*FAILURES, ValueError, AssertionError, TypeError, LookupError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise files_problem(name, place, settings, f"could not be downloaded ({reason[:200]})") from error
