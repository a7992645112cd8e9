"""Image folders: one folder for each class."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from morel_search.errors import DataError
from morel_search.training.datasets.classes import Classes, normalized, spelling_notes, unknown_class
from morel_search.training.datasets.images import Decoder, common_shape
from morel_search.training.datasets.source import Source, Split, local_path
from morel_search.training.settings import DataSettings

__all__ = ["check_folder", "open_folder", "read_image"]

SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".pgm", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)


def open_folder(settings: DataSettings, split: Split) -> Source:
    """Return the images ``FOLDER/CLASS/**/IMAGE`` of ``data.train`` or ``data.test``.

    The classes are the sorted names of the folders in the training folder. Test images are resized to the
    shape of the training images if ``data.image_size`` is given.

    Raises:
        DataError: A folder is missing or empty, or an image cannot be read or has another size.
    """
    train = check_folder(settings, "development")
    folders = _folders(train)
    classes = tuple(dict.fromkeys(name for name, _ in folders))
    if len(classes) < 2:
        raise DataError(f"data.train {train} must have folders of at least two classes, got {len(classes)}")
    files = _files(folders)
    shape = common_shape(len(files), lambda number: read_image(files[number][1]), settings.image_size)
    if split == "test":
        test = check_folder(settings, "test")
        folders = _folders(test)
        unknown = [name for name, _ in folders if name not in classes]
        if unknown:
            raise DataError(unknown_class(f"data.test {test}", unknown[0], classes))
        files = _files(folders)
    number_of = {name: number for number, name in enumerate(classes)}
    labels = torch.tensor([number_of[name] for name, _ in files], dtype=torch.int64)
    read = Decoder(lambda number: read_image(files[number][1]), shape, settings)
    notes = () if split == "test" else tuple(spelling_notes(classes))
    return Source(labels, classes, read, notes, Classes(classes, named=True))


def check_folder(settings: DataSettings, split: Split) -> Path:
    """Return the folder of a split.

    Raises:
        DataError: It is not given, does not exist, or is the folder of the other split.
    """
    field, text = ("test", settings.test) if split == "test" else ("train", settings.train)
    if text is None:
        raise DataError(f"data.{field} must name a folder with one folder for each class")
    folder = local_path(field, text)
    if not folder.is_dir():
        raise DataError(f"data.{field} {text} is not a folder")
    if (
        split == "test"
        and settings.train is not None
        and folder.resolve() == local_path("train", settings.train).resolve()
    ):
        raise DataError(f"data.test {text} is the folder of the training images")
    return folder


def _folders(folder: Path) -> list[tuple[str, Path]]:
    """Return the class and the path of each folder of a split, sorted by class."""
    return sorted((normalized(entry.name), entry) for entry in _entries(folder) if entry.is_dir())


def _files(folders: list[tuple[str, Path]]) -> list[tuple[str, Path]]:
    """Return the class and the path of each image, sorted by class and path."""
    files = []
    for name, folder in folders:
        paths = _images(folder)
        if not paths:
            raise DataError(f"the folder {folder} has no image ({', '.join(sorted(SUFFIXES))})")
        files += [(name, path) for path in paths]
    return files


def _images(folder: Path) -> list[Path]:
    """Return the images in a folder and its subfolders, sorted; hidden files and folders are left out."""

    def refuse(error: OSError) -> None:
        raise _unreadable(error.filename, error) from error

    images = []
    for parent, folders, names in os.walk(folder, onerror=refuse):  # Path.rglob skips unreadable folders
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(parent, name) for name in names if not name.startswith("."))
        images += [path for path in paths if path.suffix.lower() in SUFFIXES]
    return sorted(images)


def _entries(folder: Path) -> list[Path]:
    try:
        return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    except OSError as error:
        raise _unreadable(folder, error) from error


def _unreadable(folder: Path | str, error: OSError) -> DataError:
    return DataError(f"the folder {folder} cannot be read: {error.strerror}")


def read_image(path: Path) -> tuple[bytes, str]:
    """Return the bytes of an image file, and its path in words.

    Raises:
        DataError: It cannot be read.
    """
    try:
        if not path.is_file():  # reading a pipe or a device would wait, or never end
            raise DataError(f"{path} is not a file")
        return path.read_bytes(), str(path)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
