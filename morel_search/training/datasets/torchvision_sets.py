"""Data sets of torchvision that are read as arrays: MNIST, Fashion-MNIST, KMNIST, EMNIST, SVHN and STL-10."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from morel_search.errors import DataError
from morel_search.training.datasets.images import Decoder
from morel_search.training.datasets.source import Source, Split
from morel_search.training.datasets.torchvision_download import files_problem, read_or_download
from morel_search.training.settings import DataSettings

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TORCHVISION_SETS"]

DIGITS = tuple("0123456789")
EMNIST_SUBSETS = ("balanced", "byclass", "bymerge", "letters", "digits", "mnist")
NO_CLASS = "N/A"
"""What torchvision calls the label 0 of the subset ``letters`` of EMNIST, which no image has."""

STL10_CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


class _Read(Protocol):
    """A split that torchvision has read: images (N, H, W) or (N, 3, H, W), and labels of one of two names."""

    data: Tensor | NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class _Kind:
    """One data set.

    Attributes:
        name: The name of its class in ``torchvision.datasets``.
        place: Its files in ``data.folder``, for messages.
        classes: Names of the classes; None takes those of torchvision.
        by_split: Whether the constructor has ``split="train"``, and not ``train=True``.
        subsets: Values of ``data.subset``, the default first.
        transposed: Whether torchvision returns the images with rows and columns exchanged.
    """

    name: str
    place: str
    classes: tuple[str, ...] | None = None
    by_split: bool = False
    subsets: tuple[str, ...] = ()
    transposed: bool = False


KINDS = {
    "mnist": _Kind("MNIST", "MNIST/raw", DIGITS),
    "fashion_mnist": _Kind("FashionMNIST", "FashionMNIST/raw"),
    "kmnist": _Kind("KMNIST", "KMNIST/raw"),
    "emnist": _Kind("EMNIST", "EMNIST/raw", subsets=EMNIST_SUBSETS, transposed=True),
    "svhn": _Kind("SVHN", "train_32x32.mat", DIGITS, by_split=True),
    "stl10": _Kind("STL10", "stl10_binary", STL10_CLASSES, by_split=True),
}
"""Each data set by its name in a space file."""


def _open(kind: _Kind, settings: DataSettings, split: Split) -> Source:
    """Read one split; the files are downloaded to ``data.folder`` first if they are missing.

    torchvision checks the MD5 sums of what it downloads, and those of the files of SVHN and STL-10 whenever
    it reads them. Images are scaled to ``data.image_size`` if it is given.

    Raises:
        DataError: The files are missing, damaged, or cannot be downloaded.
    """
    read = partial(_read, kind, split, settings)
    return _source(kind, settings, read_or_download(kind.name, kind.place, settings, read))


def _read(kind: _Kind, split: Split, settings: DataSettings, folder: Path, /, *, download: bool) -> _Read:
    import torchvision.datasets

    training = split == "development"
    part: dict[str, object] = (
        {"split": "train" if training else "test"} if kind.by_split else {"train": training}
    )
    if kind.subsets:
        part["split"] = subset = settings.subset or kind.subsets[0]
        if subset not in kind.subsets:
            names = ", ".join(kind.subsets)
            raise DataError(f"data.subset must be one of {names} for {settings.name}, got {subset}")
    made: _Read = getattr(torchvision.datasets, kind.name)(folder, download=download, **part)
    return made


def _source(kind: _Kind, settings: DataSettings, read: _Read) -> Source:
    values = read.data if isinstance(read.data, torch.Tensor) else torch.from_numpy(np.array(read.data))
    images = values[:, None] if values.ndim == 3 else values
    if kind.transposed:
        images = images.mT.contiguous()
    given = getattr(read, "targets", None)
    labels = torch.as_tensor(getattr(read, "labels", None) if given is None else given).to(torch.int64)
    classes = kind.classes or tuple(str(name) for name in getattr(read, "classes", ()))
    if classes[:1] == (NO_CLASS,):
        classes, labels = classes[1:], labels - 1
    if (
        len(images) != len(labels)
        or not len(labels)
        or not 0 <= int(labels.min()) <= int(labels.max()) < (len(classes))
    ):
        raise files_problem(kind.name, kind.place, settings, "are damaged (wrong labels)")
    channels, height, width = images.shape[1:]
    if settings.image_size in (None, height if height == width else None):
        return Source(labels, classes, lambda indices: images[indices])

    def fetch(number: int) -> tuple[NDArray[np.uint8], str]:
        image = images[number]
        return (image[0] if channels == 1 else image.permute(1, 2, 0)).numpy(), f"{kind.name}, image {number}"

    size = settings.image_size or height
    return Source(labels, classes, Decoder(fetch, (channels, size, size), settings))


TORCHVISION_SETS: dict[str, Callable[[DataSettings, Split], Source]] = {
    name: partial(_open, kind) for name, kind in KINDS.items()
}
"""The reader of each data set."""
