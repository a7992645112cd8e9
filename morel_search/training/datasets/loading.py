"""Images and labels as uint8 tensors: the development images, split for training and validation, and the test images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from morel_search.errors import DataError
from morel_search.training.datasets.cifar import open_cifar10, open_cifar100
from morel_search.training.datasets.digits import open_digits
from morel_search.training.datasets.folders import check_folder, open_folder
from morel_search.training.datasets.parquet import open_parquet, parquet_files
from morel_search.training.datasets.source import Source, Split
from morel_search.training.datasets.splits import split_indices, stratified_order
from morel_search.training.settings import DataSettings

__all__ = ["Development", "ImageSet", "check_test", "load_development", "load_test"]

READERS: dict[str, Callable[[DataSettings, Split], Source]] = {
    "digits": open_digits,
    "cifar10": open_cifar10,
    "cifar100": open_cifar100,
    "image_folder": open_folder,
    "parquet": open_parquet,
}
TEST_LIMIT_SEED = 0
"""Seed of the choice that ``data.test_limit`` makes: two studies with other seeds are still judged on the same images."""


@dataclass(frozen=True, eq=False, slots=True)
class ImageSet:
    """Images with their labels.

    Attributes:
        images: uint8, shape (N, channels, height, width).
        labels: int64, shape (N,).
    """

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> ImageSet:
        """The same images on a device."""
        return ImageSet(self.images.to(device), self.labels.to(device))


@dataclass(frozen=True, eq=False, slots=True)
class Development:
    """All that a search may look at before its end.

    Attributes:
        train: Images to train on.
        validation: Images that trainings are compared by.
        classes: Name of each label.
    """

    train: ImageSet
    validation: ImageSet
    classes: tuple[str, ...]


def load_development(settings: DataSettings) -> Development:
    """Read the training images and split them; the test images are not read.

    The split is stratified by label and decided by ``settings.seed``; see
    :func:`morel_search.training.datasets.splits.split_indices` for it and for ``settings.limit``. Only the
    images that are used are decoded.

    Args:
        settings: Which images, and how they are split.

    Raises:
        DataError: Images or labels cannot be read, or do not allow the split.
    """
    source = READERS[settings.name](settings, "development")
    train, validation = split_indices(
        source.labels,
        source.classes,
        validation=settings.validation,
        seed=settings.seed,
        limit=settings.limit,
    )
    return Development(_take(source, train), _take(source, validation), source.classes)


def load_test(settings: DataSettings) -> ImageSet:
    """Read the test images: once, at the end of a search.

    Images of a parquet file or a folder are brought to the shape and the classes of the training images,
    which are looked up for it.

    Args:
        settings: Which images; ``test_limit`` takes a stratified sample that does not depend on ``seed``.

    Raises:
        DataError: Images or labels cannot be read, or do not fit the training images.
    """
    source = READERS[settings.name](settings, "test")
    return _take(
        source, stratified_order(source.labels, TEST_LIMIT_SEED)[: settings.test_limit].sort().values
    )


def check_test(settings: DataSettings) -> None:
    """Check at the start of a search that the test images can be read at its end: files, columns, labels and classes, no image.

    Raises:
        DataError: ``settings.test`` is missing, names nothing, or cannot be read.
    """
    if settings.name == "parquet":
        parquet_files(settings, "test")
        open_parquet(settings, "test")
    if settings.name == "image_folder":
        check_folder(settings, "test")
        open_folder(settings, "test")


def _take(source: Source, indices: Tensor) -> ImageSet:
    if not len(indices):
        raise DataError("the data holds no images")
    return ImageSet(source.read(indices), source.labels[indices])
