"""Parquet files as the Hugging Face hub serves them: encoded images and integer labels."""

from __future__ import annotations

import glob
import json
from bisect import bisect_right
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from morel_search.errors import DataError
from morel_search.training.datasets.images import common_shape, decode_all
from morel_search.training.datasets.source import Source, Split, local_path
from morel_search.training.settings import DataSettings

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["open_parquet", "parquet_files"]

IMAGE_COLUMNS = ("img", "image")
LABEL_COLUMNS = ("label", "fine_label", "labels")


def open_parquet(settings: DataSettings, split: Split) -> Source:
    """Return the images of ``data.train`` or ``data.test``.

    An image is a struct with the encoded file in ``bytes``, or the encoded file as binary data; a label is an
    integer from 0. The names of the classes come from the metadata of the hub in the schema of the training
    file; without them, classes are named by their numbers. Test images get the shape of the training images.

    Raises:
        DataError: A file, a column, an image or a label is missing, cannot be read or does not fit; the
            message names file and row.
    """
    train = _Table(parquet_files(settings, "development"), settings)
    classes = train.classes()
    train.check_labels(classes)
    shape = common_shape(len(train), train.fetch, settings.image_size)
    table = train
    if split == "test":
        table = _Table(parquet_files(settings, "test"), settings)
        table.check_labels(classes)
    resized = settings.image_size is not None
    labels = torch.from_numpy(table.labels)
    return Source(labels, classes, lambda indices: decode_all(indices, table.fetch, shape, resized=resized))


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
        DataError: A file cannot be read or lacks a column, a label is not a whole number, or the files have
            no rows.
    """

    def __init__(self, files: tuple[Path, ...], settings: DataSettings) -> None:
        self.files = files
        self.images: list[pa.ChunkedArray] = []
        self.wrapped: list[bool] = []
        labels: list[NDArray[np.int64]] = []
        self.metadata: dict[bytes, bytes] | None = None
        for file in files:
            table = _read(file, settings)
            if self.metadata is None:
                self.metadata, self.label_column = table.schema.metadata or {}, table.column_names[1]
            self.images.append(table.column(0))
            self.wrapped.append(_is_wrapped(file, table.schema.field(0)))
            labels.append(_labels(file, table.column(1), table.column_names[1]))
        self.labels = np.concatenate(labels)
        self.ends = np.cumsum([len(part) for part in labels]).tolist()
        if not len(self):
            raise DataError(f"{files[0]} has no rows")

    def __len__(self) -> int:
        return len(self.labels)

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

    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes: from the metadata, else the numbers of the labels."""
        try:
            names = json.loads((self.metadata or {})[b"huggingface"])["info"]["features"][self.label_column][
                "names"
            ]
            return tuple(str(name) for name in names)
        except (KeyError, TypeError, ValueError):
            return tuple(str(label) for label in range(int(self._numbered_labels().max()) + 1))

    def _numbered_labels(self) -> NDArray[np.int64]:
        """Return the different labels, sorted.

        Raises:
            DataError: They are not the numbers from 0 to the highest label.
        """
        labels = np.unique(self.labels)
        gaps = np.flatnonzero(labels != np.arange(len(labels)))
        if len(gaps):
            file, row = self.place(int(np.argmax(self.labels == labels[gaps[0]])))
            raise DataError(
                f"{self.files[file]}, row {row} has the label {labels[gaps[0]]}, but no image has {gaps[0]}: "
                "without class names in the file, labels must be the numbers of the classes from 0"
            )
        return labels

    def check_labels(self, classes: tuple[str, ...]) -> None:
        """Check that all labels are in 0 .. len(classes) - 1.

        Raises:
            DataError: One is not; the message names the first.
        """
        wrong = (self.labels < 0) | (self.labels >= len(classes))
        if wrong.any():
            number = int(np.argmax(wrong))
            file, row = self.place(number)
            raise DataError(
                f"{self.files[file]}, row {row} has the label {self.labels[number]}; labels must be 0 to "
                f"{len(classes) - 1}"
            )


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


def _labels(file: Path, column: pa.ChunkedArray, name: str) -> NDArray[np.int64]:
    import pyarrow as pa

    if not pa.types.is_integer(column.type):
        raise DataError(f"{file}: column {name} holds {column.type}, not whole numbers")
    if column.null_count:
        row = int(np.argmax(column.is_null().to_numpy()))
        raise DataError(f"{file}, row {row} has no label")
    return np.asarray(column.to_numpy(), dtype=np.int64)
