"""The image column of a Parquet file: encoded files, or pixels as nested lists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from morel_search.errors import DataError
from morel_search.training.datasets.image_file import Encoded

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["ImageColumn"]

CHANNELS = (1, 3, 4)


class ImageColumn:
    """The images of a file.

    An image is an encoded file as binary data, a struct with the encoded file in ``bytes``, or its pixels
    from 0 to 255 as lists of lists: rows of a grey image, or three levels with the channels first or last.

    Args:
        file: The file.
        name: Name of the column.
        column: The column, also dictionary-encoded.
        folders: Folders with image files; a struct without bytes may have a ``path`` in one of them.

    Raises:
        DataError: The column holds something else.
    """

    def __init__(
        self, file: Path, name: str, column: pa.ChunkedArray, folders: tuple[Path, ...] = ()
    ) -> None:
        import pyarrow as pa

        kind = column.type
        if isinstance(kind, pa.BaseExtensionType) and not isinstance(kind, pa.FixedShapeTensorType):
            column = pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type)
        self.file, self.column, self.folders = file, column, folders
        kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
        self.is_pixels = _is_pixels(kind)
        if not (self.is_pixels or _is_struct_with_bytes(kind) or _is_bytes(kind)):
            raise DataError(
                f"{file}: column {name} holds {column.type}, not encoded images (binary, or a struct with "
                "bytes) and not pixels (lists of lists of whole numbers)"
            )

    def __len__(self) -> int:
        return len(self.column)

    def fetch(self, row: int) -> tuple[Encoded, str]:
        """Return an image, and its place in words.

        Raises:
            DataError: There is none in this row, or its pixels are not an image.
        """
        place = f"{self.file}, row {row}"
        scalar = self.column[row]
        if self.is_pixels:
            if not scalar.is_valid:
                raise DataError(f"{place} has no image")
            return _pixels(scalar, place), place
        value, path = scalar.as_py(), None
        if isinstance(value, dict):
            value, path = value["bytes"], value.get("path")
        if value is None and path and self.folders:
            return self._outside(Path(path), place)
        if value is None:
            outside = f", only the path {path}; write the images into the file" if path else ""
            raise DataError(f"{place} has no image bytes{outside}")
        return bytes(value), place

    def _outside(self, path: Path, place: str) -> tuple[bytes, str]:
        """Read an image file in one of the folders."""
        try:
            real = path.resolve(strict=True)
            if not any(real.is_relative_to(folder) for folder in self.folders):
                raise DataError(
                    f"{place} names {path}, which is not in {' or '.join(map(str, self.folders))}"
                )
            return real.read_bytes(), str(path)
        except (OSError, ValueError) as error:
            raise DataError(f"{place} names {path}, which cannot be read: {error}") from error


def _is_bytes(kind: pa.DataType) -> bool:
    """Return whether a type is binary data, or a list of bytes."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _is_bytes(kind.value_type)
    if _is_list(kind):
        return bool(pa.types.is_uint8(kind.value_type))
    checks = ("binary", "large_binary", "fixed_size_binary", "binary_view")
    return any(getattr(pa.types, f"is_{check}")(kind) for check in checks)


def _is_struct_with_bytes(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_struct(kind)
        and kind.get_field_index("bytes") >= 0
        and _is_bytes(kind.field("bytes").type)
    )


def _is_pixels(kind: pa.DataType) -> bool:
    """Return whether a type is whole numbers in two or three levels of lists."""
    import pyarrow as pa

    if isinstance(kind, pa.FixedShapeTensorType):
        return bool(pa.types.is_integer(kind.value_type)) and len(kind.shape) in (2, 3)
    levels = 0
    while _is_list(kind):
        kind, levels = kind.value_type, levels + 1
    return levels in (2, 3) and bool(pa.types.is_integer(kind))


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow as pa

    checks = ("list", "large_list", "fixed_size_list", "list_view", "large_list_view")
    return any(getattr(pa.types, f"is_{check}")(kind) for check in checks)


def _pixels(scalar: pa.Scalar, place: str) -> NDArray[np.uint8]:
    """Return pixels, shape (height, width) or (height, width, channels)."""
    import pyarrow as pa

    numbers = scalar.to_numpy() if isinstance(scalar, pa.FixedShapeTensorScalar) else _nested(scalar, place)
    if numbers.dtype != np.uint8 and not ((numbers >= 0) & (numbers <= 255)).all():
        wrong = numbers[(numbers < 0) | (numbers > 255)][0]
        raise DataError(f"{place} has the pixel value {wrong}; values must be 0 to 255")
    if not numbers.size:
        raise DataError(f"{place} has no pixels")
    return np.ascontiguousarray(_channels_last(numbers, place), dtype=np.uint8)


def _nested(scalar: pa.Scalar, place: str) -> NDArray[np.integer]:
    """Return nested lists as an array.

    Raises:
        DataError: A list or a number is missing, or the lists have different lengths.
    """
    import pyarrow.compute as pc

    values, shape = scalar.values, [len(scalar.values)]
    while _is_list(values.type):
        lengths = set(pc.list_value_length(values).to_pylist())
        if len(lengths) > 1 or None in lengths:
            raise DataError(f"{place} has rows of different lengths in its image")
        shape.append(lengths.pop() if lengths else 0)
        values = values.flatten()
    if values.null_count:
        raise DataError(f"{place} has a pixel without a value")
    numbers: NDArray[np.integer] = values.to_numpy(zero_copy_only=False).reshape(shape)
    return numbers


def _channels_last(numbers: NDArray[np.integer], place: str) -> NDArray[np.integer]:
    if numbers.ndim == 2:
        return numbers
    first, last = numbers.shape[0] in CHANNELS, numbers.shape[2] in CHANNELS
    if first == last:
        raise DataError(
            f"{place} has an image of the shape {numbers.shape}; either the first or the last number "
            "must be that of the channels: 1, 3 or 4"
        )
    numbers = numbers.transpose(1, 2, 0) if first else numbers
    return numbers[..., 0] if numbers.shape[2] == 1 else numbers
