"""The Parquet files that ``data.train`` and ``data.test`` name: a file, a folder, or a pattern of files."""

from __future__ import annotations

import glob
from pathlib import Path

from morel_search.errors import DataError
from morel_search.training.datasets.source import Split, local_path
from morel_search.training.settings import DataSettings

__all__ = ["matching_files", "parquet_files"]


def parquet_files(settings: DataSettings, split: Split) -> tuple[Path, ...]:
    """Return the files of a split, sorted: one file, the files that a glob matches, or the files of a folder.

    Raises:
        DataError: No file is given, no file exists, or a file belongs to both splits.
    """
    files = matching_files(
        "test" if split == "test" else "train", settings.test if split == "test" else settings.train
    )
    if split == "test":
        both = {file.resolve() for file in files} & {
            file.resolve() for file in matching_files("train", settings.train)
        }
        if both:
            raise DataError(
                f"{min(both)} is among the files of data.train and of data.test, but test images must not be "
                f"training images"
            )
    return files


def matching_files(field: str, text: str | None) -> tuple[Path, ...]:
    """Return the files that ``data.FIELD`` names, sorted.

    Raises:
        DataError: No file is given, or none exists.
    """
    if text is None:
        raise DataError(f"data.{field} must name one or more Parquet files")
    path = local_path(field, text)
    if path.is_dir():
        try:
            files = sorted(file for file in path.iterdir() if _is_shard(file))
        except OSError as error:
            raise DataError(f"data.{field} {text}: this folder cannot be read: {error.strerror}") from error
        if not files:
            raise DataError(f"data.{field} {text}: this folder has no file that ends with .parquet or .arrow")
    elif path.exists():
        files = [path]
    else:
        files = _glob(path)
    if not files:
        raise DataError(f"data.{field} {text}: no such file")
    if other := [file for file in files if not file.is_file()]:
        raise DataError(f"data.{field} {text}: {other[0]} is not a file")
    return tuple(files)


def _is_shard(file: Path) -> bool:
    """Return whether a name is that of a table, and not hidden, as those of macOS on other disks."""
    return file.suffix.lower() in (".parquet", ".arrow") and not file.name.startswith(".")


def _glob(pattern: Path) -> list[Path]:
    """Return the files that a pattern matches, sorted.

    The parts of the path that exist as they stand are no pattern: a folder may have brackets in its name. If
    nothing matches, brackets are characters of the names in the rest as well.
    """
    root = pattern
    rest: list[str] = []
    while not root.exists() and root.parent != root:
        root, rest = root.parent, [root.name, *rest]
    text = str(Path(*rest))
    for form in (text, text.replace("[", "[[]")):
        # Not Path.glob: it matches hidden files too, such as ._train.parquet of macOS.
        if names := glob.glob(form, root_dir=root, recursive=True):  # noqa: PTH207
            return sorted(root / name for name in names)
    return []
