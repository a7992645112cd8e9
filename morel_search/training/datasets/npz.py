"""NumPy arrays in ``.npz`` files, as ``numpy.savez`` writes them: images and labels of one or both splits."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from morel_search._machine import memory_bytes
from morel_search.errors import DataError
from morel_search.training.datasets.classes import (
    FileLabels,
    class_numbers,
    order_notes,
    spelling_notes,
    training_classes,
    with_orders,
)
from morel_search.training.datasets.images import Decoder, common_shape
from morel_search.training.datasets.label_column import read_labels
from morel_search.training.datasets.source import Source, Split, local_path
from morel_search.training.settings import DataSettings

__all__ = ["npz_file", "open_npz"]

IMAGES, LABELS = ("images", "image", "x", "data"), ("labels", "label", "y", "targets")
"""Names of the arrays of a file with one split; in a file with both, ``x_train`` and so on."""

FORMS = {"development": ("{}_train", "train_{}"), "test": ("{}_test", "test_{}")}
"""Names of the arrays of each split, in a file with both."""


@dataclass(frozen=True, slots=True, eq=False)
class _Arrays:
    """One split: pixels, shape (N, H, W) or (N, H, W, 3), and labels."""

    file: Path
    pixels: NDArray[np.uint8]
    labels: FileLabels
    scaled: bool

    def fetch(self, number: int) -> tuple[NDArray[np.uint8], str]:
        return self.pixels[number], f"{self.file}, image {number}"


def open_npz(settings: DataSettings, split: Split) -> Source:
    """Return the images of ``data.train`` or ``data.test``.

    Without ``data.test``, or if both name the same file, it holds both splits. Images are whole numbers from
    0 to 255, or decimals from 0 to 1, which are multiplied by 255 and rounded. Labels are whole numbers,
    texts or booleans, as in Parquet files. Test images get the shape of the training images.

    Raises:
        DataError: An array is missing, has another type or shape, or does not fit.
    """
    part = train = _read(settings, "development")
    classes = training_classes([train.labels])
    labels = class_numbers(train.labels, classes)
    if len(np.unique(labels)) < 2:
        raise DataError(f"data.train must have images of at least two classes; see {train.file}")
    shape = common_shape(len(labels), train.fetch, settings.image_size)
    notes = spelling_notes(classes.names)
    if split == "test":
        part = _read(settings, "test")
        labels = class_numbers(part.labels, with_orders(classes, [part.labels]))
        notes = order_notes([part.labels], classes)
    if part.scaled:
        notes.append(f"{part.file}: decimals from 0 to 1 are multiplied by 255 and rounded")
    decoder = Decoder(part.fetch, shape, settings)
    return Source(torch.from_numpy(labels), classes.names, decoder, tuple(notes), classes)


def npz_file(settings: DataSettings, split: Split) -> Path:
    """Return the file of a split.

    Raises:
        DataError: It is not given or does not exist.
    """
    field = "train" if split == "development" or settings.test is None else "test"
    text = settings.train if field == "train" else settings.test
    if text is None:
        raise DataError("data.train must name a .npz file")
    path = local_path(field, text)
    if not path.is_file():
        raise DataError(f"data.{field} {text} is not a file")
    return path


def _read(settings: DataSettings, split: Split) -> _Arrays:
    file = npz_file(settings, split)
    try:
        with zipfile.ZipFile(file) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > (memory_bytes() or size):
            raise DataError(f"{file} holds {size:,} bytes, more than the memory of this machine")
        with np.load(file, allow_pickle=False) as arrays:
            images = arrays[_name(file, arrays.files, settings, split, settings.image_column, IMAGES)]
            labels = arrays[_name(file, arrays.files, settings, split, settings.label_column, LABELS)]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        raise DataError(f"{file} cannot be read as a .npz file of arrays: {error}") from error
    pixels, scaled = _pixels(file, images)
    known = _labels(file, labels)
    if len(labels) != len(pixels):
        raise DataError(f"{file} has {len(pixels)} images and {len(labels)} labels")
    return _Arrays(file, pixels, known, scaled)


def _name(
    file: Path,
    names: list[str],
    settings: DataSettings,
    split: Split,
    given: str | None,
    usual: tuple[str, ...],
) -> str:
    """Return the name of the array of images or of labels of a split."""
    both = settings.test is None or npz_file(settings, "test").resolve() == (
        npz_file(settings, "development").resolve()
    )
    words = usual if given is None else (given,)
    forms = FORMS[split] if both else ("{}", *FORMS[split])
    candidates = [form.format(word) for word in words for form in forms]
    for name in candidates:
        if name in names:
            return name
    hint = "; without a second file in data.test, one file must hold both splits" if both else ""
    raise DataError(
        f"{file} has no array {' or '.join(candidates)}; its arrays are {', '.join(names) or 'none'}{hint}"
    )


def _pixels(file: Path, images: NDArray[np.generic]) -> tuple[NDArray[np.uint8], bool]:
    """Return pixels with the channels last, and whether they were scaled."""
    if images.ndim == 4 and images.shape[1] in (1, 3) and images.shape[-1] not in (1, 3):
        images = np.moveaxis(images, 1, -1)
    if images.ndim == 4 and images.shape[-1] == 1:
        images = images[..., 0]
    is_image = images.ndim == 3 or (images.ndim == 4 and images.shape[-1] == 3)
    if not is_image or not images.size:
        raise DataError(
            f"{file}: images must have the shape (N, height, width), with 1 or 3 channels first or last, got "
            f"{images.shape}"
        )
    low, high = float(images.min()), float(images.max())
    if np.issubdtype(images.dtype, np.integer) and low >= 0 and high <= 255:
        return images.astype(np.uint8), False
    if np.issubdtype(images.dtype, np.floating) and low >= 0 and high <= 1:
        return np.rint(images.astype(np.float32) * 255).astype(np.uint8), True
    raise DataError(
        f"{file}: images must be whole numbers from 0 to 255 or decimals from 0 to 1, got {images.dtype} "
        f"from {low:g} to {high:g}"
    )


def _labels(file: Path, labels: NDArray[np.generic]) -> FileLabels:
    import pyarrow as pa

    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise DataError(f"{file}: labels must have the shape (N,), got {labels.shape}")
    return read_labels(file, pa.chunked_array([pa.array(labels)]), "of labels", None)
