"""Extra training images, real or synthetic: Parquet files beside the data set, with labels of its classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from morel_search.errors import DataError
from morel_search.training.datasets.classes import Classes, order_notes, with_orders
from morel_search.training.datasets.images import Decoder
from morel_search.training.datasets.parquet import Table
from morel_search.training.datasets.parquet_paths import matching_files, parquet_files
from morel_search.training.datasets.source import Source
from morel_search.training.settings import DataSettings

__all__ = ["check_extra", "read_extra"]


def check_extra(settings: DataSettings) -> tuple[Path, ...]:
    """Return the files of ``data.extra``.

    Raises:
        DataError: No file exists, or one is a file of the test images.
    """
    files = matching_files("extra", settings.extra)
    if settings.name == "parquet" and settings.test is not None:
        both = {file.resolve() for file in files} & {
            file.resolve() for file in parquet_files(settings, "test")
        }
        if both:
            raise DataError(
                f"{min(both)} is among the files of data.extra and of data.test, but test images must not be "
                "training images"
            )
    return files


def read_extra(
    settings: DataSettings, source: Source, shape: Sequence[int], held_back: Tensor
) -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Read the extra images, without those that are validation images.

    Args:
        settings: The data set; ``extra`` is given.
        source: Its development images.
        shape: Channels, height and width of its images.
        held_back: The validation images, uint8, shape (N, channels, height, width). An extra image that is
            equal to one of them is left out.

    Returns:
        Images, uint8, shape (M, channels, height, width); their labels, int64, shape (M,); notes, one
        sentence each.

    Raises:
        DataError: A file, a column, an image or a label is missing, cannot be read or does not fit, or all
            images are validation images.
    """
    table = Table(check_extra(settings), settings)
    classes = source.numbering or _ordered(source.classes)
    labels = torch.from_numpy(table.numbers(with_orders(classes, table.parts)))
    channels, height, width = shape
    read = Decoder(table.fetch, (channels, height, width), settings)
    images = read(torch.arange(len(labels)))
    known = {image.tobytes() for image in held_back.numpy()}
    kept = torch.tensor([image.tobytes() not in known for image in images.numpy()])
    left_out = len(kept) - int(kept.sum())
    if left_out == len(kept):
        raise DataError(f"all {left_out} images of data.extra {settings.extra} are validation images")
    notes = [f"{len(kept) - left_out} extra images are {settings.extra_share:.0%} of each training batch"]
    if left_out:
        notes.append(f"{left_out} images of data.extra are equal to validation images and are left out")
    return images[kept], labels[kept], (*notes, *order_notes(table.parts, classes), *read.notes())


def _ordered(names: tuple[str, ...]) -> Classes:
    """Return the classes of a data set whose numbers are known: those of CIFAR and of the digits."""
    return Classes(names, named=True, orders=((Path("data.name"), names),))
