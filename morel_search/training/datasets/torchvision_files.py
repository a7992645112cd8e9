"""Data sets of torchvision with a file for each image, from GTSRB to Imagenette.

torchvision finds the files and their labels; the images are decoded as those of image folders are. The lists
of files are private parts of its classes (``_samples``, ``_images``, ``_image_files``, ``_labels``), used in
this module alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import torch

from morel_search.errors import DataError
from morel_search.training.datasets.folders import read_image
from morel_search.training.datasets.images import Decoder
from morel_search.training.datasets.source import Source, Split, local_path
from morel_search.training.datasets.splits import stratified_order
from morel_search.training.datasets.torchvision_download import files_problem, read_or_download
from morel_search.training.settings import DataSettings

__all__ = ["TORCHVISION_FILES"]

EUROSAT_TEST, EUROSAT_SEED = 0.2, 0
"""Share of the test images of EuroSAT, which has no test split, and the random seed of their choice."""

IMAGENETTE = {160: "160px", 320: "320px"}
"""The shorter side of the images in the smaller editions of Imagenette."""


class _Listed(Protocol):
    """A data set of torchvision; each has some of these attributes.

    The classes of Imagenette are tuples of names.
    """

    classes: Sequence[str]
    samples: Sequence[tuple[str, int]]
    _samples: Sequence[tuple[str, int]]
    _images: Sequence[Path]
    _image_files: Sequence[Path]
    _labels: Sequence[int]


_Dataset = Callable[..., _Listed]


@dataclass(frozen=True, slots=True)
class _Files:
    """The images of one split."""

    paths: Sequence[Path]
    labels: Sequence[int]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Kind:
    """One data set.

    Attributes:
        name: The name of its class in ``torchvision.datasets``.
        place: Its folder in ``data.folder``.
        read: Function of the class of torchvision, ``data.folder``, the split and the settings that returns
            the files; with ``download=True`` they are downloaded.
        train: Number of training images in the files of the authors.
        test: Number of test images.
        side: Height and width of all images; None if they differ.
    """

    name: str
    place: str
    read: Callable[..., _Files]
    train: int
    test: int
    side: int | None = None


def _gtsrb(dataset: _Dataset, folder: Path, split: Split, _: DataSettings, *, download: bool) -> _Files:
    made = dataset(folder, "test" if split == "test" else "train", download=download)
    paths = [Path(path) for path, _ in made._samples]
    labels = [label for _, label in made._samples]
    for path, label in zip(paths, labels, strict=True):
        # In training, a class is the place of its folder: a missing folder would shift all that follow.
        if split == "development" and path.parent.name != f"{label:05d}":
            raise ValueError(f"{path.parent} is not the folder of class {label}")
    return _Files(paths, labels, tuple(map(str, range(43))))


def _eurosat(dataset: _Dataset, folder: Path, split: Split, _: DataSettings, *, download: bool) -> _Files:
    made = dataset(folder, download=download)
    order = stratified_order(torch.tensor([label for _, label in made.samples]), EUROSAT_SEED)
    count = round(EUROSAT_TEST * len(order))
    chosen = order[:count] if split == "test" else order[count:]
    samples = [made.samples[number] for number in chosen.sort().values.tolist()]
    note = f"EuroSAT has no test split: {count:,} of its {len(order):,} images are kept for the test"
    paths, labels = [Path(path) for path, _ in samples], [label for _, label in samples]
    return _Files(paths, labels, tuple(made.classes), (note,) if split == "test" else ())


def _flowers102(dataset: _Dataset, folder: Path, split: Split, _: DataSettings, *, download: bool) -> _Files:
    parts = [
        dataset(folder, part, download=download)
        for part in (("test",) if split == "test" else ("train", "val"))
    ]
    return _Files(
        [path for part in parts for path in part._image_files],
        [label for part in parts for label in part._labels],
        tuple(parts[0].classes),
    )


def _pets(dataset: _Dataset, folder: Path, split: Split, _: DataSettings, *, download: bool) -> _Files:
    made = dataset(folder, "test" if split == "test" else "trainval", download=download)
    return _Files(made._images, made._labels, tuple(made.classes))


def _food101(dataset: _Dataset, folder: Path, split: Split, _: DataSettings, *, download: bool) -> _Files:
    made = dataset(folder, "test" if split == "test" else "train", download=download)
    return _Files(made._image_files, made._labels, tuple(made.classes))


def _imagenette(
    dataset: _Dataset, folder: Path, split: Split, settings: DataSettings, *, download: bool
) -> _Files:
    part = "val" if split == "test" else "train"
    made = dataset(folder, part, size=_edition(settings) or "full", download=download)
    paths, labels = [Path(path) for path, _ in made._samples], [label for _, label in made._samples]
    return _Files(paths, labels, tuple(names[0] for names in made.classes))


def _edition(settings: DataSettings) -> str:
    """Return the smallest edition of Imagenette that is not enlarged; empty for the full one."""
    side = settings.image_size or 0
    return next((name for size, name in IMAGENETTE.items() if side <= size), "")


def _place(kind: _Kind, settings: DataSettings) -> str:
    edition = _edition(settings).removesuffix("px") if kind.name == "Imagenette" else ""
    return f"{kind.place}-{edition}" if edition else kind.place


KINDS = {
    "gtsrb": _Kind("GTSRB", "gtsrb", _gtsrb, 26_640, 12_630),
    "eurosat": _Kind("EuroSAT", "eurosat", _eurosat, 21_600, 5_400, side=64),
    "flowers102": _Kind("Flowers102", "flowers-102", _flowers102, 2_040, 6_149),
    "oxford_iiit_pet": _Kind("OxfordIIITPet", "oxford-iiit-pet", _pets, 3_680, 3_669),
    "food101": _Kind("Food101", "food-101", _food101, 75_750, 25_250),
    "imagenette": _Kind("Imagenette", "imagenette2", _imagenette, 9_469, 3_925),
}
"""Each data set by its name in a space file."""


def _open(kind: _Kind, settings: DataSettings, split: Split) -> Source:
    """Return one split; the files are downloaded to ``data.folder`` first if they are missing.

    Raises:
        DataError: Files are missing, damaged, or cannot be downloaded, or ``data.image_size`` is not given.
    """
    import torchvision.datasets

    side = settings.image_size or kind.side
    if side is None:
        raise DataError(f"data.image_size must be given for {settings.name}, whose images differ in size")
    place = _place(kind, settings)
    dataset: _Dataset = getattr(torchvision.datasets, kind.name)

    def read(folder: Path, /, *, download: bool) -> _Files:
        return kind.read(dataset, folder, split, settings, download=download)

    files = read_or_download(kind.name, place, settings, read)
    if not files.labels or not 0 <= min(files.labels) <= max(files.labels) < len(files.classes):
        raise files_problem(kind.name, place, settings, "are damaged (wrong labels)")
    missing = [path for path in files.paths if not path.is_file()]
    if missing:
        folder = local_path("folder", settings.folder) / place
        raise DataError(
            f"{kind.name} lacks {len(missing)} of {len(files.paths)} image files, such as {missing[0]}; "
            f"delete {folder}, so that it is downloaded again"
        )
    expected = kind.test if split == "test" else kind.train
    notes = files.notes
    if len(files.paths) != expected:
        part = "test" if split == "test" else "training"
        notes += (
            f"{kind.name} has {len(files.paths):,} {part} images here, and {expected:,} in the files of its "
            "authors",
        )
    decoder = Decoder(lambda number: read_image(files.paths[number]), (3, side, side), settings)
    return Source(torch.tensor(files.labels, dtype=torch.int64), files.classes, decoder, notes)


TORCHVISION_FILES: dict[str, Callable[[DataSettings, Split], Source]] = {
    name: partial(_open, kind) for name, kind in KINDS.items()
}
"""The reader of each data set."""
