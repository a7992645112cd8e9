"""Data sets of torchvision by name: MNIST, Fashion-MNIST, KMNIST, SVHN and STL-10."""

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
from morel_search.training.datasets.downloads import FAILURES, download_lock, socket_timeout
from morel_search.training.datasets.images import Decoder
from morel_search.training.datasets.source import Source, Split, local_path
from morel_search.training.settings import DataSettings

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TORCHVISION_SETS"]

DIGITS = tuple("0123456789")
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
    """

    name: str
    place: str
    classes: tuple[str, ...] | None = None
    by_split: bool = False


KINDS = {
    "mnist": _Kind("MNIST", "MNIST/raw", DIGITS),
    "fashion_mnist": _Kind("FashionMNIST", "FashionMNIST/raw"),
    "kmnist": _Kind("KMNIST", "KMNIST/raw"),
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
    folder = local_path("folder", settings.folder)
    try:
        read = _read(kind, folder, split, download=False)
    except FAILURES as error:
        if not settings.download:
            raise _problem(kind, folder, "are missing or damaged, and data.download is off") from error
        read = _downloaded(kind, folder, split)
    except (ValueError, AssertionError, TypeError, LookupError) as error:
        raise _problem(kind, folder, f"are damaged ({error})") from error
    return _source(kind, settings, read)


def _read(kind: _Kind, folder: Path, split: Split, *, download: bool) -> _Read:
    import torchvision.datasets

    training = split == "development"
    part = {"split": "train" if training else "test"} if kind.by_split else {"train": training}
    made: _Read = getattr(torchvision.datasets, kind.name)(folder, download=download, **part)
    return made


def _downloaded(kind: _Kind, folder: Path, split: Split) -> _Read:
    for path in (folder / kind.place, (folder / kind.place).parent):
        if path != folder and path.is_symlink():
            raise DataError(
                f"{path} is a link to {path.readlink()}, which does not have the files of {kind.name}; "
                "nothing is written through a link: delete it, or name another folder in data.folder"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with download_lock(folder / f".{kind.name}.lock"), socket_timeout():
            return _read(kind, folder, split, download=True)
    except (*FAILURES, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _problem(kind, folder, f"could not be downloaded ({reason[:200]})") from error


def _problem(kind: _Kind, folder: Path, problem: str) -> DataError:
    return DataError(
        f"the files of {kind.name} in {folder / kind.place} {problem}: copy them to that folder "
        "(data.folder) from a machine with a network, or use images that need no download: "
        "morel-search init digits writes such a space file"
    )


def _source(kind: _Kind, settings: DataSettings, read: _Read) -> Source:
    values = read.data if isinstance(read.data, torch.Tensor) else torch.from_numpy(np.array(read.data))
    images = values[:, None] if values.ndim == 3 else values
    given = getattr(read, "targets", None)
    labels = torch.as_tensor(getattr(read, "labels", None) if given is None else given).to(torch.int64)
    classes = kind.classes or tuple(str(name) for name in getattr(read, "classes", ()))
    if (
        len(images) != len(labels)
        or not len(labels)
        or not 0 <= int(labels.min()) <= int(labels.max()) < (len(classes))
    ):
        raise _problem(kind, local_path("folder", settings.folder), "are damaged (wrong labels)")
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
