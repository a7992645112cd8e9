"""Image files of a data set to uint8 tensors of one shape."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from morel_search._machine import usable_cpus
from morel_search.training.datasets.image_file import NOTES, Encoded, Shape, decode, header
from morel_search.training.settings import DataSettings

__all__ = ["Decoder", "Fetch", "common_shape"]

Fetch = Callable[[int], tuple[Encoded, str]]
"""Function of the number of an image that returns its file, and its place for error messages."""

SLICE = 512
"""Number of images that a thread decodes at a time; the overhead of the threads is then negligible."""


def common_shape(count: int, fetch: Fetch, image_size: int | None) -> Shape:
    """Return the shape of all images of a data set after decoding.

    It has three channels if one image is in colour. Height and width are ``image_size``, or those of the
    first image. Of the others only headers are read, up to the first image in colour.

    Args:
        count: Number of images, at least 1.
        fetch: Returns the file of an image and its place.
        image_size: ``data.image_size``.

    Returns:
        Channels (1 or 3), height and width.
    """
    with _without_warnings_of_pillow():
        channels, height, width = header(*fetch(0), size=image_size is None)
        for number in range(1, count):
            if channels == 3:
                break
            channels = header(*fetch(number), size=False)[0]
    return (channels, height, width) if image_size is None else (channels, image_size, image_size)


class Decoder:
    """Decodes images to one shape, and counts what was done with them.

    Args:
        fetch: Returns the file of an image and its place; it is called from several threads.
        shape: Channels, height and width of the decoded images.
        settings: ``image_size``: unless it is None, images of another size are scaled and cropped at the
            centre; ``background``: that of transparent images.
    """

    def __init__(self, fetch: Fetch, shape: Shape, settings: DataSettings) -> None:
        self.fetch, self.shape = fetch, shape
        self.resized, self.background = settings.image_size is not None, settings.background
        self._images = 0
        self._kinds: dict[str, list[int]] = {}
        self._lock = threading.Lock()

    def __call__(self, indices: Tensor) -> Tensor:
        """Decode images with as many threads as torch may use.

        Args:
            indices: Numbers of the images, shape (M,).

        Returns:
            uint8, shape (M, *shape).

        Raises:
            DataError: An image cannot be read or has another size; the message names the first such image in
                the order of the indices.
        """
        numbers = indices.tolist()
        out = np.empty((len(numbers), *self.shape), dtype=np.uint8)

        def fill(start: int) -> None:
            for row, number in enumerate(numbers[start : start + SLICE], start):
                out[row], kinds = decode(
                    *self.fetch(number), self.shape, resized=self.resized, background=self.background
                )
                with self._lock:
                    for kind in kinds:
                        self._kinds.setdefault(kind, []).append(number)

        threads = max(1, min(torch.get_num_threads(), usable_cpus()))
        with _without_warnings_of_pillow(), ThreadPoolExecutor(threads) as pool:
            for _ in pool.map(fill, range(0, len(numbers), SLICE)):
                pass
        self._images += len(numbers)
        return torch.from_numpy(out)

    def notes(self) -> tuple[str, ...]:
        """Return what was done with the decoded images, one sentence each kind."""
        sentences = []
        for kind, text in NOTES.items():
            if numbers := self._kinds.get(kind):
                done = text.format(background=self.background)
                place = self.fetch(min(numbers))[1]
                sentences.append(f"{len(numbers)} of {self._images} images {done}; one is {place}")
        return tuple(sentences)


@contextmanager
def _without_warnings_of_pillow() -> Iterator[None]:
    """Hide Pillow's warnings: of large images, which are an error of its own here, and of damaged EXIF data.

    The filters of warnings belong to the process, so that this is done once, outside of threads.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
        yield
