"""The settings of the images of a training, as frozen data; see :mod:`morel_search.training.settings`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from morel_search.training.limits import check_limits, setting

__all__ = [
    "DATA_NAMES",
    "DOWNLOADED",
    "HUB",
    "SIZED",
    "Augmentation",
    "Background",
    "DataSettings",
    "is_hub_name",
]

Augmentation = Literal["auto", "none", "crop", "crop_flip"]
Background = Literal["white", "black", "grey"]
DATA_NAMES = (
    "digits",
    "cifar10",
    "cifar100",
    "mnist",
    "fashion_mnist",
    "kmnist",
    "svhn",
    "stl10",
    "emnist",
    "gtsrb",
    "eurosat",
    "flowers102",
    "oxford_iiit_pet",
    "food101",
    "imagenette",
    "image_folder",
    "parquet",
    "npz",
)
"""The names of data sets, beside those of the Hugging Face hub."""

DOWNLOADED = DATA_NAMES[1:-3]
"""Data sets that are downloaded to ``data.folder``."""

SIZED = ("gtsrb", "flowers102", "oxford_iiit_pet", "food101", "imagenette")
"""Data sets whose images differ in size, so that ``data.image_size`` must be given."""

HUB = "huggingface/"
"""What the names of data sets of the Hugging Face hub begin with."""

_PART = r"[A-Za-z0-9](?:[\w.-]*\w)?"
_HUB_NAME = re.compile(rf"huggingface/{_PART}/{_PART}", re.ASCII)


def is_hub_name(name: str) -> bool:
    """Return whether a name is ``huggingface/OWNER/NAME``; the library takes no data set without an owner."""
    return _HUB_NAME.fullmatch(name) is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSettings:
    """Data set and its splits."""

    name: str = setting(
        doc="data set; huggingface/OWNER/NAME is one of the Hugging Face hub",
        choices=DATA_NAMES,
        hub=True,
    )
    folder: str = setting(
        "data",
        doc="data sets that are downloaded: folder of the files; they are downloaded to this folder",
    )
    download: bool = setting(True, doc="data sets with a folder: download the files if they are missing")
    train: str | None = setting(
        None,
        doc="training images; parquet: a file or a glob of files; image_folder: a folder with one "
        "folder a class; npz: a file of NumPy arrays; huggingface: name of the split, null takes train",
    )
    test: str | None = setting(
        None,
        doc="test images, given like the training images; npz: null if one file holds both; "
        "huggingface: null takes the split test, else validation",
    )
    subset: str | None = setting(
        None,
        doc="huggingface: the subset (configuration) of the data set, null takes its default; emnist: "
        "balanced (null), byclass, bymerge, letters, digits or mnist",
    )
    revision: str | None = setting(
        None, doc="huggingface: branch, tag or commit of the data set; null takes the newest commit"
    )
    commit: str | None = setting(
        None,
        doc="huggingface: the commit that is read; null takes that of data.revision when the search "
        "starts, and a resumed search keeps it",
    )
    image_column: str | None = setting(
        None, doc="parquet, npz, huggingface: column or array of the images; null takes the usual names"
    )
    label_column: str | None = setting(
        None, doc="parquet, npz, huggingface: column or array of the labels; null takes the usual names"
    )
    image_size: int | None = setting(
        None,
        doc="all but digits, cifar10 and cifar100: side in pixels to which images are resized; null requires "
        "images of equal size",
        ge=1,
    )
    background: Background = setting(
        "white",
        doc="images in files, parquet, huggingface: background of transparent images: white, black or grey",
    )
    validation: float = setting(
        0.1,
        doc="validation split: a fraction of the training images if below 1, else a number of images",
        gt=0,
    )
    seed: int = setting(0, doc="random seed of the validation split", ge=0)
    limit: int | None = setting(
        None, doc="maximum number of training images, taken before the split; null means all", ge=2
    )
    test_limit: int | None = setting(None, doc="maximum number of test images; null means all", ge=1)
    augmentation: Augmentation = setting(
        "auto",
        doc="augmentation: none, crop, crop_flip, or auto (crop_flip for colour images of at least 32 "
        "pixels, else none)",
    )

    extra: str | None = setting(
        None,
        doc="extra training images, real or synthetic, with labels of the same classes: a Parquet file, a "
        "folder or a glob of files; null means none",
    )
    extra_share: float = setting(0.5, doc="fraction of each training batch that is extra images", gt=0, lt=1)

    def __post_init__(self) -> None:
        check_limits(self)
