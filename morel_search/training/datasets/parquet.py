"""Parquet files as the Hugging Face hub serves them: one row for each image, with its label."""

from __future__ import annotations

import glob
from bisect import bisect_right
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
from morel_search.training.datasets.images import Decoder, common_shape
from morel_search.training.datasets.label_column import read_labels
from morel_search.training.datasets.source import Source, Split, local_path
from morel_search.training.settings import DataSettings

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["open_parquet", "parquet_files"]

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label", "labels")


def open_parquet(settings: DataSettings, split: Split) -> Source:
    """Return the images of ``data.train`` or ``data.test``.

    An image is a struct with the encoded file in ``bytes``, or the encoded file as binary data. Labels are
    brought together by the names of their classes; see :mod:`morel_search.training.datasets.classes`. Test
    images get the shape of the training images.

    Raises:
        DataError: A file, a column, an image or a label is missing, cannot be read or does not fit; the
            message names file and row.
    """
    table = train = _Table(parquet_files(settings, "development"), settings)
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
        table = _Table(parquet_files(settings, "test"), settings)
        labels = table.numbers(with_orders(classes, table.parts))
        notes = order_notes(table.parts, classes)
    return Source(
        torch.from_numpy(labels), classes.names, Decoder(table.fetch, shape, settings), tuple(notes)
    )


def parquet_files(settings: DataSettings, split: Split) -> tuple[Path, ...]:
    """Return the files of a split, sorted: one file, the files that a glob matches, or the files of a folder.

    Raises:
        DataError: No file is given, no file exists, or a file belongs to both splits.
    """
    files = _matches(
        "test" if split == "test" else "train", settings.test if split == "test" else settings.train
    )
    if split == "test":
        both = {file.resolve() for file in files} & {
            file.resolve() for file in _matches("train", settings.train)
        }
        if both:
            raise DataError(
                f"{min(both)} is among the files of data.train and of data.test, but test images must not be "
                f"training images"
            )
    return files


def _matches(field: str, text: str | None) -> tuple[Path, ...]:
    if text is None:
        raise DataError(f"data.{field} must name one or more Parquet files")
    path = local_path(field, text)
    if path.is_dir():
        files = sorted(path.glob("*.parquet"))
    elif path.exists():
        files = [path]
    else:
        # Path.glob takes no absolute pattern.
        files = [Path(name) for name in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207
    if not files:
        raise DataError(f"data.{field} {text}: no such file")
    if other := [file for file in files if not file.is_file()]:
        raise DataError(f"data.{field} {text}: {other[0]} is not a file")
    return tuple(files)


class _Table:
    """The image and label columns of the files of one split, in memory.

    Args:
        files: The files, at least one.
        settings: The settings, with the names of the columns if they are given.

    Raises:
        DataError: A file cannot be read or lacks a column, a label cannot be read, or the files have no rows.
    """

    def __init__(self, files: tuple[Path, ...], settings: DataSettings) -> None:
        self.files = files
        self.images: list[pa.ChunkedArray] = []
        self.wrapped: list[bool] = []
        self.parts: list[FileLabels] = []
        for file in files:
            table = _read(file, settings)
            self.images.append(table.column(0))
            self.wrapped.append(_is_wrapped(file, table.schema.field(0)))
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

    def fetch(self, number: int) -> tuple[bytes, str]:
        """Return the encoded bytes of an image, and its place in words."""
        file, row = self.place(number)
        value = self.images[file][row].as_py()
        if self.wrapped[file] and value is not None:
            value = value["bytes"]
        if value is None:
            raise DataError(f"{self.files[file]}, row {row} has no image bytes")
        return value, f"{self.files[file]}, row {row}"


def _read(file: Path, settings: DataSettings) -> pa.Table:
    """Return a table of two columns, image and label."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            image = _column(file, names, settings.image_column, IMAGE_COLUMNS, "image_column")
            label = _column(file, names, settings.label_column, LABEL_COLUMNS, "label_column")
            return opened.read(columns=[image, label]).select([image, label])
    except (pa.ArrowException, OSError, ValueError) as error:  # ValueError: a name is not UTF-8
        reason = " ".join(str(error).split())
        raise DataError(
            f"{file} cannot be read as a Parquet file; it may be truncated ({reason[:160]})"
        ) from error


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


def _is_wrapped(file: Path, field: pa.Field) -> bool:
    """Return whether a column holds structs with ``bytes``; False if it holds binary data.

    Raises:
        DataError: It holds neither.
    """
    import pyarrow as pa

    def holds_bytes(kind: pa.DataType) -> bool:
        return bool(
            pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind)
        )

    if (
        pa.types.is_struct(field.type)
        and field.type.get_field_index("bytes") >= 0
        and holds_bytes(field.type.field("bytes").type)
    ):
        return True
    if not holds_bytes(field.type):
        raise DataError(
            f"{file}: column {field.name} holds {field.type}, not encoded images (binary, or a struct "
            f"with bytes)"
        )
    return False
