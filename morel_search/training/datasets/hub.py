"""Data sets of the Hugging Face hub by name: downloaded by its library ``datasets``, and read as Arrow files.

The library stores a data set in its own folder (``HF_HOME``), one folder for each commit. Images are decoded
here, from the encoded files, and no code of a data set is run. A token comes from the environment, as the
library reads it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from morel_search._format import shortened
from morel_search._user_code import error_text
from morel_search.errors import DataError
from morel_search.training.data_settings import HUB, is_hub_name
from morel_search.training.datasets.parquet import open_tables
from morel_search.training.datasets.source import Source, Split
from morel_search.training.settings import DataSettings

__all__ = ["HubFolder", "open_hub", "pinned", "prepared", "with_recorded"]

OLDEST = 5
"""Oldest version of the library; versions before 4 run code of data sets."""

COMMIT = re.compile(r"[0-9a-f]{40}")
TEST_SPLITS = ("test", "validation")
"""Splits that are the test images if ``data.test`` is null: the first that the data set has."""

SECONDS = 30.0
"""Time limit of the question for the newest commit."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class HubFolder:
    """The folder in which the library has stored one subset of a data set.

    Attributes:
        path: The folder.
        name: Beginning of the names of its files.
        subset: Name of the subset.
        splits: Names of the splits.
        caches: Folders of the library; an image that is a path must be in one of them.
    """

    path: Path
    name: str
    subset: str
    splits: tuple[str, ...]
    caches: tuple[Path, ...]

    def files(self, split: str) -> tuple[Path, ...]:
        """Return the files of a split, sorted.

        Raises:
            DataError: There are none, or not all.
        """
        pattern = re.compile(rf"{re.escape(f'{self.name}-{split}')}(-\d{{5}}-of-(\d{{5}}))?\.arrow")
        found = [
            (file, match) for file in sorted(self.path.iterdir()) if (match := pattern.fullmatch(file.name))
        ]
        if not found or len(found) != int(found[0][1][2] or 1):
            raise DataError(
                f"{self.path} lacks files of the split {split}; delete this folder, so that it is made again"
            )
        return tuple(file for file, _ in found)


def pinned(settings: DataSettings) -> DataSettings:
    """Return the settings with the commit and the subset that are read, so that they do not change later.

    The data set is downloaded if this commit is not on this machine.

    Raises:
        DataError: The library is missing, the hub cannot be reached, or it has no such data set.
    """
    if not is_hub_name(settings.name):
        return settings
    if settings.commit is None:
        settings = replace(settings, commit=_newest_commit(settings))
    return replace(settings, subset=prepared(settings).subset)


def with_recorded(settings: DataSettings, recorded: Mapping[str, object]) -> DataSettings:
    """Return the settings with the commit and the subset that a search has recorded for them.

    Args:
        settings: The section ``data`` of the space file.
        recorded: The section as ``settings.json`` has it. Nothing of another data set or revision is taken.
    """
    if (recorded.get("name"), recorded.get("revision")) != (settings.name, settings.revision):
        return settings
    commit, subset = recorded.get("commit"), recorded.get("subset")
    if settings.commit is None and isinstance(commit, str):
        settings = replace(settings, commit=commit)
    if settings.subset is None and isinstance(subset, str):
        settings = replace(settings, subset=subset)
    return settings


def prepared(settings: DataSettings) -> HubFolder:
    """Return the folder of a data set; it is downloaded if ``data.commit`` is not on this machine.

    Raises:
        DataError: See :func:`pinned`.
    """
    _check_library()
    commit = settings.commit or _newest_commit(settings)
    if not COMMIT.fullmatch(commit):
        raise DataError(f"data.commit must be 40 hexadecimal digits, got {shortened(commit)}")
    return _stored(settings, commit) or _downloaded(settings, commit)


def open_hub(settings: DataSettings, split: Split) -> Source:
    """Return the images of the split ``data.train`` or ``data.test``.

    Columns, labels and images are read as those of Parquet files.

    Raises:
        DataError: See :func:`pinned`; or there is no such split, or its images or labels cannot be used.
    """
    folder = prepared(settings)
    train, test = _splits(settings, folder)
    source = open_tables(
        settings,
        split,
        lambda wanted: folder.files(test if wanted == "test" else train),
        folders=folder.caches,
    )
    if split == "test" and settings.test is None:
        note = f"the test images of {settings.name} are those of its split {test} (data.test)"
        return replace(source, notes=(note, *source.notes))
    return source


def _splits(settings: DataSettings, folder: HubFolder) -> tuple[str, str]:
    """Return the splits of the training and of the test images."""
    train = settings.train or "train"
    default = next((name for name in TEST_SPLITS if name in folder.splits and name != train), TEST_SPLITS[0])
    test = settings.test or default
    for field, name in (("train", train), ("test", test)):
        if name not in folder.splits:
            raise DataError(
                f"{settings.name} has no split {name} (data.{field}); its splits are "
                f"{', '.join(folder.splits)}"
            )
    if train == test:
        raise DataError(f"data.train and data.test are both the split {train} of {settings.name}")
    return train, test


def _check_library() -> None:
    try:
        installed = version("datasets")
    except PackageNotFoundError:
        raise DataError(
            "data sets of the Hugging Face hub need datasets, which is not installed: "
            "pip install 'morel-search[huggingface]'"
        ) from None
    if int(installed.partition(".")[0]) < OLDEST:
        raise DataError(f"data sets of the Hugging Face hub need datasets {OLDEST} or newer, got {installed}")


def _newest_commit(settings: DataSettings) -> str:
    """Return the commit of ``data.revision``, or of the main branch."""
    _check_library()
    if settings.revision is not None and COMMIT.fullmatch(settings.revision):
        return settings.revision

    def ask() -> str:
        from huggingface_hub import HfApi

        repository = settings.name.removeprefix(HUB)
        return str(HfApi().dataset_info(repository, revision=settings.revision, timeout=SECONDS).sha)

    return _explained(settings, ask)


def _caches() -> tuple[Path, ...]:
    """Return the folders of the library for prepared data sets and for downloaded files."""
    import datasets.config
    import huggingface_hub.constants

    folders = (
        datasets.config.HF_DATASETS_CACHE,
        datasets.config.EXTRACTED_DATASETS_PATH,
        huggingface_hub.constants.HF_HUB_CACHE,
    )
    return tuple(Path(folder).expanduser().resolve() for folder in folders)


def _stored(settings: DataSettings, commit: str) -> HubFolder | None:
    """Return the folder of a commit, if the library has made it on this machine.

    Its path is ``DATA_SET/SUBSET/VERSION/COMMIT``; the library writes it under another name first. The commit
    finds it, because the library spells the data set in its own way: ``MyPictures`` is ``my_pictures``. Where
    ``load_dataset`` read only some files of the data set (``data_files``), the name of the folder is longer
    than that of the subset.
    Without ``data.subset`` the library must say which one is the default.
    """
    if settings.subset is None:
        return None
    for path in sorted(_caches()[0].glob(f"*/*/*/{commit}")):
        folder = _read(path)
        if folder is not None and folder.subset == settings.subset == path.parent.parent.name:
            return folder
    return None


def _read(path: Path) -> HubFolder | None:
    """Return a folder of the library; None if it is not complete."""
    try:
        info = json.loads((path / "dataset_info.json").read_text(encoding="utf-8"))
        return HubFolder(
            path, str(info["dataset_name"]), str(info["config_name"]), tuple(info["splits"]), _caches()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _downloaded(settings: DataSettings, commit: str) -> HubFolder:
    def download() -> Path:
        from datasets import load_dataset_builder

        # With hf://, a folder of this name in the working directory is not taken for the data set.
        path = f"hf://datasets/{settings.name.removeprefix(HUB)}"
        builder = load_dataset_builder(path, settings.subset, revision=commit)
        if builder.hash != commit:  # without a network the library takes any commit that it has
            raise ConnectionError(f"the commit {commit} is not on this machine")
        builder.download_and_prepare()
        return Path(builder.cache_dir)

    path = _explained(settings, download)
    folder = _read(path)
    if folder is None:
        raise DataError(f"{path} has no dataset_info.json; the version of datasets may be too new")
    return folder


def _explained(settings: DataSettings, action: Callable[[], T]) -> T:
    """Return what a function of the library returns; its errors, of many kinds, become sentences."""
    try:
        return action()
    except Exception as error:
        raise DataError(
            f"{settings.name} could not be read from the Hugging Face hub ({error_text(error)}); without a "
            "network, copy the library's folder (HF_HOME) from a machine that has read this data set, and "
            "set data.commit and data.subset to what is in it"
        ) from error
