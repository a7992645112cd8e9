"""CIFAR-10 and CIFAR-100, downloaded and verified by torchvision."""

from __future__ import annotations

import tarfile
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from morel_search.errors import DataError
from morel_search.training.datasets.downloads import FAILURES, download_lock, socket_timeout
from morel_search.training.datasets.source import Source, Split, local_path
from morel_search.training.settings import DataSettings

__all__ = ["open_cifar10", "open_cifar100"]


class _Images(Protocol):
    """A split that torchvision has read."""

    data: NDArray[np.uint8]
    targets: list[int]
    classes: list[str]


class _Dataset(Protocol):
    """A class of torchvision: its constructor, and what it knows about the archive."""

    __name__: str
    url: str
    filename: str
    tgz_md5: str
    base_folder: str
    train_list: list[list[str]]
    test_list: list[list[str]]
    meta: dict[str, str]

    def __call__(self, root: Path, train: bool) -> _Images:
        """Read the training or the test images of an unpacked archive."""


def open_cifar10(settings: DataSettings, split: Split) -> Source:
    """CIFAR-10: 50,000 training and 10,000 test images in 10 classes; see :func:`_open`."""
    from torchvision.datasets import CIFAR10

    return _open(CIFAR10, settings, split)


def open_cifar100(settings: DataSettings, split: Split) -> Source:
    """CIFAR-100: 50,000 training and 10,000 test images in 100 classes; see :func:`_open`."""
    from torchvision.datasets import CIFAR100

    return _open(CIFAR100, settings, split)


def _open(dataset: _Dataset, settings: DataSettings, split: Split) -> Source:
    """Read one split of a CIFAR class of torchvision.

    Unpacked files in ``settings.folder`` are used; else an archive in this folder is verified and unpacked;
    else the archive is downloaded, if ``settings.download`` is on. The MD5 sums of all files are checked. For
    the development split, the content of the test file is not used otherwise.

    Raises:
        DataError: The archive is missing, cannot be downloaded, or is not the original.
    """
    folder = local_path("folder", settings.folder)
    try:
        if not _is_unpacked(folder, dataset):
            _unpack(folder, dataset, settings.download)
        read = dataset(folder, train=split == "development")
    except FAILURES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _archive_error(folder, dataset, f"could not be downloaded and unpacked ({reason})") from error
    images = torch.from_numpy(np.ascontiguousarray(read.data.transpose(0, 3, 1, 2)))
    labels = torch.tensor(read.targets, dtype=torch.int64)
    return Source(labels, tuple(str(name) for name in read.classes), lambda indices: images[indices])


def _archive_error(folder: Path, dataset: _Dataset, problem: str) -> DataError:
    """Return an error that says what is wrong with the archive, and what to do."""
    return DataError(
        f"the {dataset.__name__} archive {folder / dataset.filename} {problem}: put {dataset.url} into that "
        "folder (data.folder), or use images that need no download: morel-search init digits writes such a "
        "space file"
    )


def _files(dataset: _Dataset) -> list[list[str]]:
    """Return the name and the MD5 sum of each file of the archive."""
    return [*dataset.train_list, *dataset.test_list, [dataset.meta["filename"], dataset.meta["md5"]]]


def _is_unpacked(folder: Path, dataset: _Dataset) -> bool:
    """Return whether every file exists and has the right MD5 sum."""
    from torchvision.datasets.utils import check_integrity

    return all(check_integrity(folder / dataset.base_folder / name, md5) for name, md5 in _files(dataset))


def _refuse_other_files(folder: Path, dataset: _Dataset) -> None:
    """Refuse to unpack over files of somebody else, such as images with other labels in the same format.

    A file that is shorter than in the archive is the remainder of an unpacking that was interrupted.

    Raises:
        DataError: There is such a file.
    """
    from torchvision.datasets.utils import check_integrity

    unpacked, archive = folder / dataset.base_folder, folder / dataset.filename
    files = {unpacked / name: md5 for name, md5 in _files(dataset)}
    others = [path for path, md5 in files.items() if path.is_file() and not check_integrity(path, md5)]
    other = {path.name: size for path in others if (size := path.stat().st_size)}
    if not other:
        return
    sizes = {}
    if archive.exists():
        with tarfile.open(archive) as tar:
            sizes = {Path(member.name).name: member.size for member in tar}
    for name, size in other.items():
        if size >= sizes.get(name, 0):
            raise DataError(
                f"{unpacked / name} is not the file of {dataset.__name__}, and would be overwritten: move it "
                "away, or use your own images as data.name npz or image_folder"
            )


def _unpack(folder: Path, dataset: _Dataset, download: bool) -> None:
    """Verify and unpack the archive in the folder, and download it first if it is missing.

    A lock makes sure that one process at a time does this.

    Raises:
        DataError: The archive is missing and ``download`` is off, or it is not the original.
    """
    from torchvision.datasets.utils import calculate_md5, check_integrity, download_and_extract_archive

    archive, unpacked = folder / dataset.filename, folder / dataset.base_folder
    if unpacked.is_symlink() or (archive.is_symlink() and not archive.exists()):
        link = unpacked if unpacked.is_symlink() else archive
        raise DataError(
            f"{link} is a link to {link.readlink()}, which does not have the files of {dataset.__name__}; "
            "nothing is written through a link: delete it, or name another folder in data.folder"
        )
    if not archive.exists() and not download:
        raise _archive_error(folder, dataset, "is missing, and data.download is off")
    folder.mkdir(parents=True, exist_ok=True)
    with download_lock(folder / f".{dataset.base_folder}.lock"):
        if _is_unpacked(folder, dataset):
            return
        existed = archive.exists()
        if existed and (md5 := calculate_md5(archive)) != dataset.tgz_md5:
            raise _archive_error(
                folder,
                dataset,
                f"is damaged or not the original (its MD5 sum is {md5}, not {dataset.tgz_md5})",
            )
        _refuse_other_files(folder, dataset)
        try:
            with socket_timeout():
                download_and_extract_archive(
                    dataset.url, folder, filename=dataset.filename, md5=dataset.tgz_md5
                )
        except BaseException:
            if not existed and not check_integrity(archive, dataset.tgz_md5):
                # The next start would refuse a part of a download as a damaged archive.
                archive.unlink(missing_ok=True)
            raise
