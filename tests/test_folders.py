"""Image folders that are written here."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import pictures
from PIL import Image

from morel_search.errors import DataError
from morel_search.training.datasets.loading import check_test, load_development, load_test
from morel_search.training.settings import DataSettings


def write_folder(folder: Path, classes: dict[str, list[np.ndarray]]) -> Path:
    for name, images in classes.items():
        (folder / name).mkdir(parents=True)
        for number, image in enumerate(images):
            Image.fromarray(image).save(folder / name / f"{number:03}.png")
    return folder


def folder_settings(train: Path, test: Path | None = None, **more: Any) -> DataSettings:
    return DataSettings(
        name="image_folder",
        train=str(train),
        test=None if test is None else str(test),
        validation=0.2,
        **more,
    )


def test_image_folders_give_every_pixel_back(tmp_path: Path) -> None:
    cats, dogs = list(pictures(12)), list(pictures(8, seed=1))
    train = write_folder(tmp_path / "train", {"dog": dogs, "cat": cats})
    (train / "cat" / "notes.txt").write_text("no image")
    (train / ".hidden").mkdir()
    test = write_folder(tmp_path / "test", {"dog": dogs[:2]})
    development = load_development(folder_settings(train, test))
    assert development.classes == ("cat", "dog")
    assert (len(development.train), len(development.validation)) == (16, 4)
    expected = {
        i.transpose(2, 0, 1).tobytes(): label for label, images in enumerate((cats, dogs)) for i in images
    }
    for part in (development.train, development.validation):
        assert all(
            expected[image.numpy().tobytes()] == int(label)
            for image, label in zip(part.images, part.labels, strict=True)
        )
    loaded = load_test(folder_settings(train, test))
    assert loaded.labels.tolist() == [1, 1]
    assert torch.equal(loaded.images, torch.from_numpy(np.stack(dogs[:2]).transpose(0, 3, 1, 2)))


def test_what_is_wrong_in_an_image_folder(tmp_path: Path) -> None:
    train = write_folder(tmp_path / "train", {"cat": list(pictures(5)), "dog": list(pictures(5))})
    with pytest.raises(DataError, match="nowhere is not a folder"):
        load_development(folder_settings(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="folders of at least two classes, got 0"):
        load_development(folder_settings(train / "cat"))
    with pytest.raises(DataError, match=r"data\.test .* is the folder of the training images"):
        check_test(folder_settings(train, train))
    test = write_folder(tmp_path / "test", {"cow": list(pictures(1))})
    with pytest.raises(DataError, match=r"has the class cow, which data\.train"):
        load_test(folder_settings(train, test))
    test = write_folder(tmp_path / "other", {"Cat": list(pictures(1))})
    with pytest.raises(DataError, match=r"has the class Cat, which data\.train lacks; it has 'cat'"):
        check_test(folder_settings(train, test))
    (train / "dog" / "003.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"dog/003\.png is not an image that can be read"):
        load_development(folder_settings(train))
    (train / "eel").mkdir()
    with pytest.raises(DataError, match=r"train/eel has no image"):
        load_development(folder_settings(train))


def test_classes_of_a_folder_that_differ_only_in_case_are_named(tmp_path: Path) -> None:
    train = write_folder(tmp_path / "train", {"Cat": list(pictures(5)), "cat": list(pictures(5))})
    development = load_development(folder_settings(train))
    assert development.classes == ("Cat", "cat")
    assert "'Cat' and 'cat' are two classes" in development.notes[0]


def test_the_order_of_the_test_folders_does_not_matter(tmp_path: Path) -> None:
    """A test folder without the first class: the others keep the numbers of the training folder."""
    train = write_folder(tmp_path / "train", {name: list(pictures(4)) for name in ("ant", "bee", "cat")})
    test = write_folder(tmp_path / "test", {"cat": list(pictures(2)), "bee": list(pictures(1, seed=1))})
    assert load_test(folder_settings(train, test)).labels.tolist() == [1, 2, 2]


def test_hidden_files_and_folders_are_left_out(tmp_path: Path) -> None:
    train = write_folder(tmp_path / "train", {"cat/a": list(pictures(5)), "dog": list(pictures(5))})
    for name in ("cat/._000.png", "cat/.thumbnails/000.png", "cat/a/.ipynb_checkpoints/b/000.png"):
        (train / name).parent.mkdir(parents=True, exist_ok=True)
        (train / name).write_bytes(b"no image")
    development = load_development(folder_settings(train))
    assert len(development.train) + len(development.validation) == 10


def test_a_subfolder_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = write_folder(tmp_path / "train", {"cat": list(pictures(5)), "dog/a": list(pictures(5))})
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("dog/a"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=r"the folder .*dog/a cannot be read: Permission denied"):
        load_development(folder_settings(train))


@pytest.mark.parametrize("name", ["[x]", "a b", "50%", "%20", "a*b", "{1,2}", "\u00e9"])
def test_folders_of_images_may_have_any_name(tmp_path: Path, name: str) -> None:
    train = write_folder(tmp_path / name, {name: list(pictures(5)), f"{name}2": list(pictures(5))})
    assert load_development(folder_settings(train)).classes == (name, f"{name}2")


def test_accents_of_macos_and_of_linux_are_one_name(tmp_path: Path) -> None:
    train = write_folder(tmp_path / "train", {"caf\u00e9": list(pictures(5)), "tea": list(pictures(5))})
    test = write_folder(tmp_path / "test", {"cafe\u0301": list(pictures(2)), "tea": list(pictures(1))})
    assert load_test(folder_settings(train, test)).labels.tolist() == [0, 0, 1]
