"""Encoded image files (PNG, JPEG, ...) to uint8 tensors of one shape."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from morel_search._machine import usable_cpus
from morel_search.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["Fetch", "Shape", "common_shape", "decode_all"]

Shape = tuple[int, int, int]
Fetch = Callable[[int], tuple[bytes, str]]
"""Function of the number of an image that returns its encoded bytes, and its place for error messages."""

GREY, COLOUR = ("1", "L", "LA"), ("RGB", "RGBA", "P", "PA", "CMYK", "YCbCr")
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "PPM", "TIFF", "WEBP")
"""The formats that are read, by the bytes of a file and not by its name.

Pillow knows others, and some of their readers start programs: EPS, for example, starts Ghostscript.
"""

MOST_PIXELS = 2**26
"""Largest number of pixels of an image; a small file can claim many more than fit into memory."""

SLICE = 512
"""Number of images that a thread decodes at a time; the overhead of the threads is then negligible."""


def common_shape(count: int, fetch: Fetch, image_size: int | None) -> Shape:
    """Return the shape of all images of a data set after decoding.

    It has three channels if one image is in colour. Height and width are ``image_size``, or those of the
    first image. Only headers are read, up to the first image in colour.

    Args:
        count: Number of images, at least 1.
        fetch: Returns the bytes of an image and its place.
        image_size: ``data.image_size``.

    Returns:
        Channels (1 or 3), height and width.
    """
    with _large_images_without_warning():
        channels, height, width = _header(*fetch(0))
        for number in range(1, count):
            if channels == 3:
                break
            channels = _header(*fetch(number))[0]
    return (channels, height, width) if image_size is None else (channels, image_size, image_size)


def decode_all(indices: Tensor, fetch: Fetch, shape: Shape, *, resized: bool) -> Tensor:
    """Decode images with as many threads as torch may use.

    Args:
        indices: Numbers of the images, shape (M,).
        fetch: Returns the bytes of an image and its place; it is called from several threads.
        shape: Channels, height and width of the decoded images.
        resized: Whether images of another size are scaled and cropped at the centre; otherwise another size
            is an error.

    Returns:
        uint8, shape (M, *shape).

    Raises:
        DataError: An image cannot be read or has another size; the message names the first such image in the
            order of the indices.
    """
    numbers = indices.tolist()
    out = np.empty((len(numbers), *shape), dtype=np.uint8)

    def fill(start: int) -> None:
        for row, number in enumerate(numbers[start : start + SLICE], start):
            out[row] = _decode(*fetch(number), shape, resized=resized)

    threads = max(1, min(torch.get_num_threads(), usable_cpus()))
    with _large_images_without_warning(), ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(fill, range(0, len(numbers), SLICE)):
            pass
    return torch.from_numpy(out)


@contextmanager
def _large_images_without_warning() -> Iterator[None]:
    """Hide Pillow's warning about large images: :data:`MOST_PIXELS` is an error of its own.

    The filters of warnings belong to the process, so that this is done once, outside of threads.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _open(data: bytes, place: str) -> Image.Image:
    """Open an image and check its mode; its pixels are not decoded yet."""
    from PIL import Image

    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise DataError(f"{place} is too large: images may have {MOST_PIXELS:,} pixels") from error
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"{place} is not an image that can be read ({len(data)} bytes); the formats are "
            f"{', '.join(FORMATS)}"
        ) from error
    if image.width * image.height > MOST_PIXELS:
        raise DataError(
            f"{place} has {image.height} x {image.width} pixels; images may have {MOST_PIXELS:,} pixels"
        )
    if image.mode not in GREY + COLOUR:
        raise DataError(
            f"{place} has pixels of the mode {image.mode}; images must be grey or in colour, with 8 bits for "
            f"each channel"
        )
    return image


def _header(data: bytes, place: str) -> Shape:
    image = _open(data, place)
    return (1 if image.mode in GREY else 3), image.height, image.width


def _decode(data: bytes, place: str, shape: Shape, *, resized: bool) -> NDArray[np.uint8]:
    """Decode one image, shape (C, H, W)."""
    from PIL import Image, ImageOps

    channels, height, width = shape
    image = _open(data, place)
    if not resized and image.size != (width, height):
        raise DataError(
            f"{place} has {image.height} x {image.width} pixels, and the first training image {height} x "
            f"{width}; set data.image_size to resize all images"
        )
    try:
        image = image.convert("L" if channels == 1 else "RGB")
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{place} is a damaged image: {' '.join(str(error).split())}") from error
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(image)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)
