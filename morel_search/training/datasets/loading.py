"""Images and labels as uint8 tensors: training, validation and test images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from morel_search.errors import DataError
from morel_search.training.data_settings import is_hub_name
from morel_search.training.datasets.cifar import open_cifar10, open_cifar100
from morel_search.training.datasets.digits import open_digits
from morel_search.training.datasets.extra import read_extra
from morel_search.training.datasets.folders import check_folder, open_folder
from morel_search.training.datasets.hub import open_hub
from morel_search.training.datasets.images import Decoder
from morel_search.training.datasets.npz import npz_file, open_npz
from morel_search.training.datasets.parquet import open_parquet
from morel_search.training.datasets.parquet_paths import parquet_files
from morel_search.training.datasets.source import Source, Split
from morel_search.training.datasets.splits import split_indices, stratified_order
from morel_search.training.datasets.torchvision_files import TORCHVISION_FILES
from morel_search.training.datasets.torchvision_sets import TORCHVISION_SETS
from morel_search.training.settings import DataSettings

__all__ = ["Development", "ImageSet", "check_test", "load_development", "load_test", "open_source"]

READERS: dict[str, Callable[[DataSettings, Split], Source]] = {
    "digits": open_digits,
    "cifar10": open_cifar10,
    "cifar100": open_cifar100,
    **TORCHVISION_SETS,
    **TORCHVISION_FILES,
    "image_folder": open_folder,
    "parquet": open_parquet,
    "npz": open_npz,
}
"""The reader of each data set, beside those of the Hugging Face hub."""

TEST_LIMIT_SEED = 0
"""Seed of the sample of ``data.test_limit``; it is constant, so all searches use the same images."""

CHECKED_TEST_IMAGES = 256
"""Number of test images that are decoded at the start of a search."""


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
        """Return the same images on a device."""
        return ImageSet(self.images.to(device), self.labels.to(device))

    def first(self, count: int) -> ImageSet:
        """Return the first images; all where there are no more."""
        return ImageSet(self.images[:count], self.labels[:count])


@dataclass(frozen=True, eq=False, slots=True)
class Development:
    """The images that a search may use before its end.

    Attributes:
        train: The training images.
        validation: The images on which trainings are compared.
        classes: Name of each label.
        notes: What was done with images and labels and is worth knowing, one sentence each.
        extra: The images of ``data.extra``, which are used in training alone; None without them.
    """

    train: ImageSet
    validation: ImageSet
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    extra: ImageSet | None = None

    def to(self, device: torch.device | str) -> Development:
        """Return the same images on a device."""
        return replace(
            self,
            train=self.train.to(device),
            validation=self.validation.to(device),
            extra=None if self.extra is None else self.extra.to(device),
        )


def open_source(settings: DataSettings, split: Split) -> Source:
    """Return one split of a data set, not yet decoded.

    Raises:
        DataError: Images or labels cannot be read.
    """
    reader = open_hub if is_hub_name(settings.name) else READERS[settings.name]
    return reader(settings, split)


def load_development(settings: DataSettings) -> Development:
    """Read the training images and split them; the test images are not read.

    The split is stratified by label and depends on ``settings.seed``; see
    :func:`morel_search.training.datasets.splits.split_indices`, also for ``settings.limit``. Only the images
    of the two splits are decoded.

    Args:
        settings: The data set and its split.

    Raises:
        DataError: Images or labels cannot be read, or do not allow the split.
    """
    source = open_source(settings, "development")
    train, validation = split_indices(
        source.labels,
        source.classes,
        validation=settings.validation,
        seed=settings.seed,
        limit=settings.limit,
    )
    development = Development(_take(source, train), _take(source, validation), source.classes, _notes(source))
    if settings.extra is None:
        return development
    images, labels, notes = read_extra(
        settings, source, development.train.images.shape[1:], development.validation.images
    )
    return replace(development, extra=ImageSet(images, labels), notes=(*development.notes, *notes))


def load_test(settings: DataSettings) -> ImageSet:
    """Read the test images.

    A search calls this function once, at its end. Images of Parquet files and of folders get the shape and
    the classes of the training images, which are read for this.

    Args:
        settings: The data set; ``test_limit`` takes a stratified sample that does not depend on ``seed``.

    Raises:
        DataError: Images or labels cannot be read, or do not fit the training images.
    """
    source = open_source(settings, "test")
    return _take(source, _test_order(source, settings).sort().values)


def check_test(settings: DataSettings) -> tuple[str, ...]:
    """Check at the start of a search that the test images can be read at its end.

    Files, columns, labels and classes are checked, and a stratified sample of the images
    (:data:`CHECKED_TEST_IMAGES`) is decoded: one that cannot be used would end the search in an error.

    Returns:
        What is done with images and labels of the test split and is worth knowing, one sentence each.

    Raises:
        DataError: ``settings.test`` is missing or names no file, or the test images cannot be downloaded or
            read.
    """
    if settings.name == "parquet":
        parquet_files(settings, "test")
    elif settings.name == "image_folder":
        check_folder(settings, "test")
    elif settings.name == "npz":
        npz_file(settings, "test")
    elif settings.name == "digits":
        return ()  # they are part of scikit-learn
    source = open_source(settings, "test")
    _take(source, _test_order(source, settings)[:CHECKED_TEST_IMAGES].sort().values)
    return _notes(source)


def _test_order(source: Source, settings: DataSettings) -> Tensor:
    return stratified_order(source.labels, TEST_LIMIT_SEED)[: settings.test_limit]


def _notes(source: Source) -> tuple[str, ...]:
    done = source.read.notes() if isinstance(source.read, Decoder) else ()
    return (*source.notes, *done)


def _take(source: Source, indices: Tensor) -> ImageSet:
    if not len(indices):
        raise DataError("the data set has no images; check the section data")
    return ImageSet(source.read(indices), source.labels[indices])
