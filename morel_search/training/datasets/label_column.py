"""The label column of a Parquet file: numbers, numbers with class names, texts or booleans."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from morel_search.errors import DataError
from morel_search.training.datasets.classes import FileLabels, normalized

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["read_labels"]

BOOLEANS = ("false", "true")


def read_labels(
    file: Path, column: pa.ChunkedArray, name: str, metadata: Mapping[bytes, bytes] | None
) -> FileLabels:
    """Return the labels of a file.

    Args:
        file: The file.
        column: Its label column: whole numbers, texts or booleans, also dictionary-encoded.
        name: Name of the column.
        metadata: Metadata of the file's schema. The Hugging Face hub writes the names of the classes there.

    Raises:
        DataError: The column holds something else, or a row has no label.
    """
    import pyarrow as pa

    given = column.type
    try:
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        if column.null_count:
            row = int(np.argmax(column.is_null().to_numpy()))
            raise DataError(f"{file}, row {row} has no label")
        if pa.types.is_boolean(column.type):
            return FileLabels(file, _numbers(column), "coded", BOOLEANS)
        if pa.types.is_integer(column.type):
            names = _class_names(file, metadata, name)
            return FileLabels(file, _numbers(column), "coded" if names else "numbers", names)
        if _is_text(column.type):
            return _texts(file, column.cast(pa.string()))
    except pa.ArrowException as error:  # a number above 64 bits, a text that is not UTF-8
        reason = " ".join(str(error).split())
        raise DataError(f"{file}: column {name} cannot be read as labels: {reason[:160]}") from error
    raise DataError(f"{file}: column {name} holds {given}, not whole numbers, names or booleans")


def _numbers(column: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    import pyarrow as pa

    numbers: np.ndarray[tuple[int], np.dtype[np.int64]] = column.cast(pa.int64()).to_numpy()
    return numbers


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    checks = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
    return any(getattr(pa.types, f"is_{check}")(kind) for check in checks)


def _texts(file: Path, column: pa.ChunkedArray) -> FileLabels:
    """Return text labels; the names are sorted as Python sorts the names of folders."""
    encoded = column.combine_chunks().dictionary_encode()
    values: list[str] = encoded.dictionary.to_pylist()
    codes = encoded.indices.to_numpy()
    empty = [number for number, value in enumerate(values) if not value.strip()]
    if empty:
        raise DataError(f"{file}, row {int(np.argmax(codes == empty[0]))} has an empty label")
    names = sorted(set(map(normalized, values)))
    place = {name: number for number, name in enumerate(names)}
    to_sorted = np.array([place[normalized(value)] for value in values], dtype=np.int64)
    return FileLabels(file, to_sorted[codes] if len(codes) else np.empty(0, np.int64), "text", tuple(names))


def _class_names(file: Path, metadata: Mapping[bytes, bytes] | None, column: str) -> tuple[str, ...]:
    """Return the names of ``ClassLabel`` in the metadata of the hub; none if there are none.

    Raises:
        DataError: A name occurs twice.
    """
    try:
        names = json.loads((metadata or {})[b"huggingface"])["info"]["features"][column]["names"]
        names = tuple(normalized(str(name)) for name in names)
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise DataError(f"{file} names the class {twice[0]} twice in its metadata")
    return names
