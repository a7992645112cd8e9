"""CIFAR-10 and CIFAR-100, downloaded and verified by torchvision."""

from __future__ import annotations

import pickle
import socket
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any

import numpy as np
import torch

from morel_search.errors import DataError
from morel_search.training.datasets.source import Source, Split, local_path
from morel_search.training.settings import DataSettings

__all__ = ["open_cifar10", "open_cifar100"]

SILENCE = 30.0
"""Seconds without a byte after which a download is given up.

Without a limit a filtered network hangs for minutes.
"""
FAILURES = (
    OSError,
    RuntimeError,
    EOFError,
    HTTPException,
    tarfile.TarError,
    zlib.error,
    pickle.UnpicklingError,
)


def open_cifar10(settings: DataSettings, split: Split) -> Source:
    """CIFAR-10: 50,000 training and 10,000 test images in 10 classes; see :func:`_open`."""
    from torchvision.datasets import CIFAR10

    return _open(CIFAR10, settings, split)


def open_cifar100(settings: DataSettings, split: Split) -> Source:
    """CIFAR-100: 50,000 training and 10,000 test images in 100 classes; see :func:`_open`."""
    from torchvision.datasets import CIFAR100

    return _open(CIFAR100, settings, split)


def _open(dataset: Any, settings: DataSettings, split: Split) -> Source:
    """Read one split of a torchvision CIFAR class.

    Files that are unpacked in ``settings.folder`` are used; an archive that lies there is verified and
    unpacked; otherwise it is downloaded first, if ``settings.download`` allows it. The MD5 sum of every file
    is checked; of the test file nothing else is read for the development split.

    Raises:
        DataError: The archive is not there, cannot be downloaded, or is not the original.
    """
    folder = local_path("folder", settings.folder)
    try:
        if not _is_unpacked(folder, dataset):
            _unpack(folder, dataset, settings.download)
        loaded = dataset(folder, train=split == "development")
    except FAILURES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _cannot(folder, dataset, f"could not be downloaded and unpacked ({reason})") from error
    images = torch.from_numpy(np.ascontiguousarray(loaded.data.transpose(0, 3, 1, 2)))
    labels = torch.tensor(loaded.targets, dtype=torch.int64)
    return Source(labels, tuple(str(name) for name in loaded.classes), lambda indices: images[indices])


def _cannot(folder: Path, dataset: Any, what: str) -> DataError:
    """One sentence: what is wrong with the archive, and the two ways out."""
    return DataError(
        f"the {dataset.__name__} archive {folder / dataset.filename} {what}: put {dataset.url} into that "
        f"data folder (data.folder), "
        "or search on images that need no download, with search_spaces/digits.yaml"
    )


def _is_unpacked(folder: Path, dataset: Any) -> bool:
    """Whether every file is there with its MD5 sum."""
    from torchvision.datasets.utils import check_integrity

    files = [*dataset.train_list, *dataset.test_list, (dataset.meta["filename"], dataset.meta["md5"])]
    return all(check_integrity(folder / dataset.base_folder / name, md5) for name, md5 in files)


def _unpack(folder: Path, dataset: Any, download: bool) -> None:
    """Verify and unpack the archive in the folder, after downloading it where there is none.

    One process at a time.
    """
    from torchvision.datasets.utils import calculate_md5, check_integrity, download_and_extract_archive

    archive = folder / dataset.filename
    if not archive.exists() and not download:
        raise _cannot(folder, dataset, "is not there and data.download is off")
    folder.mkdir(parents=True, exist_ok=True)
    with _alone(folder / f".{dataset.base_folder}.lock"):
        if _is_unpacked(folder, dataset):
            return
        given = archive.exists()
        if given and (found := calculate_md5(archive)) != dataset.tgz_md5:
            raise _cannot(
                folder,
                dataset,
                f"is damaged or not the original (its MD5 sum is {found}, not {dataset.tgz_md5})",
            )
        try:
            with _impatient():
                download_and_extract_archive(
                    dataset.url, folder, filename=dataset.filename, md5=dataset.tgz_md5
                )
        except BaseException:
            if not given and not check_integrity(archive, dataset.tgz_md5):
                archive.unlink(
                    missing_ok=True
                )  # half a download would be taken for a damaged archive the next time
            raise


@contextmanager
def _impatient() -> Iterator[None]:
    """Give up on a connection that stays silent; torchvision sets no limit."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(SILENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold a lock on a file: several trials may begin at once on a machine without the images."""
    import fcntl  # POSIX alone, and needed on the way to a first download alone

    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
