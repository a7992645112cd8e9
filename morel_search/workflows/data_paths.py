"""The paths of the images that a finished run names, and a hint where they are relative."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search.errors import DataError

if TYPE_CHECKING:
    from morel_search.training.settings import DataSettings

__all__ = ["relative_path_hint", "used_paths"]


def used_paths(data: DataSettings) -> dict[str, str]:
    """Return the paths from which the images of a data set are read, by the names of their settings."""
    from morel_search.training.data_settings import DOWNLOADED, is_hub_name

    paths: dict[str, str | None] = {}
    if data.name in DOWNLOADED:
        paths = {"folder": data.folder}
    elif not is_hub_name(data.name):  # there, data.train and data.test are names of splits
        paths = {"train": data.train, "test": data.test}
    paths["extra"] = data.extra
    return {name: path for name, path in paths.items() if path is not None}


@contextmanager
def relative_path_hint(data: DataSettings) -> Iterator[None]:
    """Add a hint to an error inside the block if a path of the images is relative.

    Raises:
        DataError: The images cannot be read.
    """
    try:
        yield
    except DataError as error:
        if all(Path(path).expanduser().is_absolute() for path in used_paths(data).values()):
            raise
        raise DataError(
            f"{error}; relative paths start from the current folder: "
            "change to the folder in which the search was started"
        ) from error
