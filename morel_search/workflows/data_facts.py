"""What a folder of images or Parquet files holds, as far as a space file depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Literal

from morel_search.errors import DataError

if TYPE_CHECKING:
    from morel_search.training.datasets.images import Decoder
    from morel_search.training.settings import DataSettings

__all__ = ["DataFacts", "find_splits", "look_at"]

DataName = Literal["image_folder", "parquet", "npz"]

SPLITS = {"train": ("train", "training"), "test": ("test", "val", "valid", "validation")}
"""Names of the folders of a split, and beginnings of the names of its Parquet files."""

BOTH_SPLITS = "write a space file with morel-search init my_space.yaml --data TRAIN --test TEST"
"""What a user of any command does whose images are not in one folder; only ``init`` has ``--test``."""

SIZES = (32, 48, 64)
"""Sides to which images of different sizes are resized: the largest that most of them reach."""

LOOKED_AT = 512
"""Number of images of which size and brightness are measured."""


@dataclass(frozen=True, slots=True)
class DataFacts:
    """What was found.

    Attributes:
        settings: The section ``data``, with ``image_size`` if the images need it.
        train: Number of training images, validation images included.
        test: Number of test images.
        classes: Name and number of training images of each class.
        channels: 1 for grey images, 3 for images in colour.
        size: Height and width of the images as they are trained on.
        sizes: Smallest, median and largest of the shorter sides of the images in the files.
        mean: Mean of each channel, in units of the pixel range [0, 1].
        std: Standard deviation of each channel.
    """

    settings: DataSettings
    train: int
    test: int
    classes: dict[str, int]
    channels: int
    size: tuple[int, int]
    sizes: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


def find_splits(data: Path, test: Path | None) -> tuple[DataName, str, str | None]:
    """Find training and test images.

    Args:
        data: A folder with a folder for each split, a folder with Parquet files, or the training images: a
            folder with a folder for each class, a folder of Parquet files, or a file.
        test: The test images; None if ``data`` holds both splits.

    Returns:
        The name of the data set for the space file, and its ``train`` and ``test``.

    Raises:
        DataError: There are no images, or no test images.
    """
    if not data.exists():
        raise DataError(f"--data {data}: no such file or folder")
    if test is not None:
        if not test.exists():
            raise DataError(f"--test {test}: no such file or folder")
        return _kind(data), str(data), str(test)
    if data.suffix == ".npz":
        return "npz", str(data), None
    if not data.is_dir():
        raise DataError(f"--data {data} holds one split; {BOTH_SPLITS}")
    for folder in (data, data / "data"):
        pair = [_split(folder, split) for split in SPLITS]
        if pair[0] and pair[1]:
            return _kind(Path(pair[0])), pair[0], pair[1]
    raise DataError(
        f"--data {data} has no training and test images side by side (folders train and test, or files "
        f"train*.parquet and test*.parquet); {BOTH_SPLITS}"
    )


def _split(folder: Path, split: str) -> str:
    """Return the folder or the Parquet files of a split; empty if there are none."""
    for name in SPLITS[split]:
        if (folder / name).is_dir():
            return str(folder / name)
        if files := sorted(folder.glob(f"{name}*.parquet")):
            return str(files[0]) if len(files) == 1 else str(folder / f"{name}*.parquet")
    return ""


def _kind(path: Path) -> DataName:
    if path.suffix == ".npz":
        return "npz"
    tables = (".parquet", ".arrow")
    is_table = path.suffix in tables or any(any(path.glob(f"*{ending}")) for ending in tables)
    return "parquet" if is_table else "image_folder"


def look_at(settings: DataSettings) -> DataFacts:
    """Read labels and sizes of a data set, and decode some images.

    Args:
        settings: The data set; ``image_size`` None means that it is to be found.

    Raises:
        DataError: The images cannot be used.
    """
    import torch

    from morel_search.training.augment import to_float
    from morel_search.training.data_settings import SIZED
    from morel_search.training.datasets.images import Decoder
    from morel_search.training.datasets.loading import open_source
    from morel_search.training.datasets.splits import stratified_order

    opened = open_source(replace(settings, image_size=1), "development")
    decoder = opened.read
    assert isinstance(decoder, Decoder), "these data sets are decoded"
    chosen = stratified_order(opened.labels, 0)[:LOOKED_AT]
    shapes = _shapes(decoder, chosen.tolist())
    sides = sorted(min(shape) for shape in shapes)
    size = shapes[0]
    if len(set(shapes)) > 1 or max(size) > max(SIZES) or settings.name in SIZED:
        side = max([wanted for wanted in SIZES if wanted <= median(sides)], default=SIZES[0])
        settings, size = replace(settings, image_size=side), (side, side)
    reader = open_source(settings, "development")
    images = to_float(reader.read(chosen.sort().values))
    counts = torch.bincount(reader.labels, minlength=len(reader.classes)).tolist()
    return DataFacts(
        settings=settings,
        train=len(reader.labels),
        test=_test_images(settings),
        classes=dict(zip(reader.classes, counts, strict=True)),
        channels=int(images.shape[1]),
        size=size,
        sizes=(sides[0], int(median(sides)), sides[-1]),
        mean=tuple(round(float(value), 3) for value in images.mean(dim=(0, 2, 3))),
        std=tuple(max(0.01, round(float(value), 3)) for value in images.std(dim=(0, 2, 3))),
    )


def _test_images(settings: DataSettings) -> int:
    from morel_search.training.datasets.loading import check_test, open_source

    check_test(settings)
    return len(open_source(settings, "test").labels)


def _shapes(decoder: Decoder, numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Return height and width of images, from their headers."""
    from morel_search.training.datasets.image_file import header

    return [header(*decoder.fetch(number), size=True)[1:] for number in numbers]
