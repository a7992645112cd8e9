"""Parquet files as the Hugging Face hub serves them: one row for each image, with its label.

Arrow files, which ``Dataset.save_to_disk`` of its library writes, are read too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from morel_search.errors import DataError
from morel_search.training.datasets.classes import (
    Classes,
    FileLabels,
    class_numbers,
    order_notes,
    spelling_notes,
    training_classes,
    with_orders,
)
from morel_search.training.datasets.image_column import ImageColumn
from morel_search.training.datasets.image_file import Encoded
from morel_search.training.datasets.images import Decoder, common_shape
from morel_search.training.datasets.label_column import read_labels
from morel_search.training.datasets.parquet_paths import parquet_files
from morel_search.training.datasets.source import Source, Split
from morel_search.training.settings import DataSettings

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["Table", "open_parquet", "open_tables"]

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label", "labels")


def open_parquet(settings: DataSettings, split: Split) -> Source:
    """Return the images of ``data.train`` or ``data.test``.

    For the images see :class:`morel_search.training.datasets.image_column.ImageColumn`. Labels are brought
    together by the names of their classes; see :mod:`morel_search.training.datasets.classes`. Test images get
    the shape of the training images.

    Raises:
        DataError: A file, a column, an image or a label is missing, cannot be read or does not fit; the
            message names file and row.
    """
    return open_tables(settings, split, partial(parquet_files, settings))


def open_tables(
    settings: DataSettings,
    split: Split,
    files: Callable[[Split], tuple[Path, ...]],
    folders: tuple[Path, ...] = (),
) -> Source:
    """Return the images of a split; see :func:`open_parquet`.

    Args:
        settings: The settings.
        split: The split.
        files: Function of a split that returns its files.
        folders: Folders with image files; an image may be a path in one of them.

    Raises:
        DataError: See :func:`open_parquet`.
    """
    table = train = Table(files("development"), settings, folders)
    classes = training_classes(train.parts)
    labels = train.numbers(classes)
    if len(np.unique(labels)) < 2:
        raise DataError(
            f"data.train must have images of at least two classes; all images of {train.files[0]} have the "
            f"label {classes.names[labels[0]]}"
        )
    notes = [*spelling_notes(classes.names), *order_notes(train.parts, classes)]
    shape = common_shape(len(train), train.fetch, settings.image_size)
    if split == "test":
        table = Table(files("test"), settings, folders)
        labels = table.numbers(with_orders(classes, table.parts))
        notes = order_notes(table.parts, classes)
    return Source(
        torch.from_numpy(labels), classes.names, Decoder(table.fetch, shape, settings), tuple(notes), classes
    )


class Table:
    """The image and label columns of the files of one split, in memory.

    Args:
        files: The files, at least one.
        settings: The settings, with the names of the columns if they are given.
        folders: Folders with image files; an image may be a path in one of them.

    Raises:
        DataError: A file cannot be read or lacks a column, a label cannot be read, or the files have no rows.
    """

    def __init__(
        self, files: tuple[Path, ...], settings: DataSettings, folders: tuple[Path, ...] = ()
    ) -> None:
        self.files = files
        self.images: list[ImageColumn] = []
        self.parts: list[FileLabels] = []
        for file in files:
            table = _read(file, settings)
            self.images.append(ImageColumn(file, table.column_names[0], table.column(0), folders))
            self.parts.append(
                read_labels(file, table.column(1), table.column_names[1], table.schema.metadata)
            )
        self.ends = np.cumsum([len(part.codes) for part in self.parts]).tolist()
        if not len(self):
            raise DataError(f"{files[0]} has no rows")

    def __len__(self) -> int:
        return int(self.ends[-1])

    def numbers(self, classes: Classes) -> NDArray[np.int64]:
        """Return the class of each image, as a position in the names of the classes."""
        return np.concatenate([class_numbers(part, classes) for part in self.parts])

    def place(self, number: int) -> tuple[int, int]:
        """Return the file of an image and the row in it, both from 0."""
        file = bisect_right(self.ends, number)
        return file, number - (self.ends[file - 1] if file else 0)

    def fetch(self, number: int) -> tuple[Encoded, str]:
        """Return an image, and its place in words."""
        file, row = self.place(number)
        return self.images[file].fetch(row)


def _read(file: Path, settings: DataSettings) -> pa.Table:
    """Return a table of two columns, image and label."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if file.suffix.lower() == ".arrow":
            whole = _read_arrow(file)
            image = _column(file, whole.column_names, settings.image_column, IMAGE_COLUMNS, "image_column")
            label = _column(file, whole.column_names, settings.label_column, LABEL_COLUMNS, "label_column")
            return whole.select([image, label])
        with pq.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            image = _column(file, names, settings.image_column, IMAGE_COLUMNS, "image_column")
            label = _column(file, names, settings.label_column, LABEL_COLUMNS, "label_column")
            return opened.read(columns=[image, label]).select([image, label])
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a name is not UTF-8
        reason = " ".join(str(error).split())
        form = "an Arrow" if file.suffix.lower() == ".arrow" else "a Parquet"
        raise DataError(
            f"{file} cannot be read as {form} file; it may be truncated ({reason[:160]})"
        ) from error


def _read_arrow(file: Path) -> pa.Table:
    """Read a file in the streaming format of Arrow, or in its file format; images stay on the disk."""
    import pyarrow as pa

    mapped = pa.memory_map(str(file))
    try:
        return pa.ipc.open_stream(mapped).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_file(pa.memory_map(str(file))).read_all()


def _column(file: Path, names: list[str], given: str | None, usual: tuple[str, ...], setting: str) -> str:
    candidates = usual if given is None else (given,)
    for name in candidates:
        if names.count(name) > 1:
            raise DataError(
                f"{file} has {names.count(name)} columns with the name {name}; name another one in "
                f"data.{setting}, or rename them in the file"
            )
        if name in names:
            return name
    raise DataError(
        f"{file} has no column {' or '.join(candidates)} (data.{setting}); its columns are "
        f"{', '.join(names) or 'none'}"
    )
