"""Data sets of torchvision with a file for each image, from small folders in the layout of their authors."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from config_files import changed, faults, load
from image_files import encoded
from scipy.io import savemat

from morel_search.errors import DataError
from morel_search.training.data_settings import DOWNLOADED, SIZED
from morel_search.training.datasets.loading import check_test, load_development, load_test
from morel_search.training.datasets.torchvision_files import KINDS
from morel_search.training.settings import DataSettings

WNIDS = ("n01440764", "n02102040", "n02979186", "n03000684", "n03028079")
WNIDS += ("n03394916", "n03417042", "n03425413", "n03445777", "n03888257")
COUNTS = {
    "gtsrb": (43, 4, 2),
    "eurosat": (10, 4, 1),
    "flowers102": (102, 2, 1),
    "oxford_iiit_pet": (37, 3, 2),
    "food101": (101, 3, 2),
    "imagenette": (10, 4, 2),
}
"""Classes, and training and test images of each class in the folders that are written."""


def picture(path: Path, label: int, number: int) -> None:
    """Write an image without a loss, whose first and second channel are its label and its number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((64, 80 if number % 2 else 64, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = label, number
    path.write_bytes(encoded(pixels, "PPM" if path.suffix == ".ppm" else "PNG"))


def write(name: str, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a data set; images of a class are numbered, those of the test after those of training."""
    classes, train, test = COUNTS[name]
    images = [(label, number) for label in range(classes) for number in range(train + test)]
    if name == "gtsrb":
        lines = ["Filename;Width;ClassId"]
        for label, number in images:
            file = f"{label:03d}{number:02d}.ppm"
            if number < train:
                picture(root / f"gtsrb/GTSRB/Training/{label:05d}/{file}", label, number)
            else:
                picture(root / f"gtsrb/GTSRB/Final_Test/Images/{file}", label, number)
                lines.append(f"{file};64;{label}")
        (root / "gtsrb/GT-final_test.csv").write_text("\n".join(lines))
    elif name == "eurosat":
        for label, number in images:
            path = root / f"eurosat/2750/Class{label}/Class{label}_{number}.jpg"
            picture(path, label, 2 * number)  # all have one size
    elif name == "flowers102":
        parts: dict[str, list[int]] = {"trnid": [], "valid": [], "tstid": []}
        labels = []
        for place, (label, number) in enumerate(images, start=1):
            picture(root / f"flowers-102/jpg/image_{place:05d}.jpg", label, number)
            parts[list(parts)[number]].append(place)
            labels.append(label + 1)
        savemat(root / "flowers-102/setid.mat", parts)
        savemat(root / "flowers-102/imagelabels.mat", {"labels": labels})
        monkeypatch.setattr(
            torchvision.datasets.flowers102, "check_integrity", lambda path, _: Path(path).is_file()
        )
    elif name == "oxford_iiit_pet":
        lists: dict[str, list[str]] = {"trainval": [], "test": []}
        for label, number in images:
            file = f"great_pet{label:02d}_{number}"
            picture(root / f"oxford-iiit-pet/images/{file}.jpg", label, number)
            lists["trainval" if number < train else "test"].append(f"{file} {label + 1} 1 1")
        for part, lines in lists.items():
            folder = root / "oxford-iiit-pet/annotations"
            folder.mkdir(exist_ok=True)
            (folder / f"{part}.txt").write_text("\n".join(lines))
    elif name == "food101":
        files: dict[str, dict[str, list[str]]] = {"train": {}, "test": {}}
        for label, number in images:
            file = f"food{label:03d}/{number}"
            picture(root / f"food-101/images/{file}.jpg", label, number)
            files["train" if number < train else "test"].setdefault(f"food{label:03d}", []).append(file)
        (root / "food-101/meta").mkdir()
        for part, entries in files.items():
            shuffled = dict(sorted(entries.items(), reverse=True))
            (root / f"food-101/meta/{part}.json").write_text(json.dumps(shuffled))
    else:
        for edition in ("", "-320", "-160"):
            for label, number in images:
                part = "train" if number < train else "val"
                picture(root / f"imagenette2{edition}/{part}/{WNIDS[label]}/{number}.JPEG", label, number)


def settings(name: Any, root: Path, **more: Any) -> DataSettings:
    classes = COUNTS[name][0]
    return DataSettings(
        **{
            "name": name,
            "folder": str(root),
            "download": False,
            "image_size": 16,
            "validation": classes,
            **more,
        }
    )


@pytest.mark.parametrize("name", COUNTS)
def test_images_and_labels_are_those_of_the_files(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(name, tmp_path, monkeypatch)
    classes, train, test = COUNTS[name]
    development, tested = load_development(settings(name, tmp_path)), load_test(settings(name, tmp_path))
    parts = (development.train, development.validation, tested)
    for part in parts:
        assert part.images.shape[1:] == (3, 16, 16)
        assert torch.equal(part.images[:, 0, 0, 0].long(), part.labels), "an image has the label of another"
    seen = [{(int(image[0, 0, 0]), int(image[1, 0, 0])) for image in part.images} for part in parts]
    assert len(seen[0] | seen[1]) == classes * train
    assert len(seen[2]) == classes * test
    assert not seen[2] & (seen[0] | seen[1])
    if name != "eurosat":
        assert {number for _, number in seen[2]} == set(range(train, train + test))
    assert len(set(development.classes)) == classes
    first_and_last = {
        "gtsrb": ("0", "42"),
        "eurosat": ("Class0", "Class9"),
        "flowers102": ("pink primrose", "blackberry lily"),
        "oxford_iiit_pet": ("Great Pet00", "Great Pet36"),
        "food101": ("food000", "food100"),
        "imagenette": ("tench", "parachute"),
    }
    assert (development.classes[0], development.classes[-1]) == first_and_last[name]
    assert f"{classes * train:,} training images here, and {KINDS[name].train:,}" in " ".join(
        development.notes
    )


@pytest.mark.parametrize("name", COUNTS)
def test_files_that_are_missing_are_found_at_the_start(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(name, tmp_path, monkeypatch)
    chosen = settings(name, tmp_path)
    assert "test images here" in " ".join(check_test(chosen))
    files = [path for path in tmp_path.rglob("*") if path.suffix in (".ppm", ".jpg", ".JPEG")]
    for file in files:
        file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(DataError, match=r"is a damaged image|is not an image"):
        check_test(chosen)
    if name in ("eurosat", "imagenette"):
        return  # torchvision lists what is there
    for file in files:
        file.unlink()
    with pytest.raises(DataError, match=r"lacks (\d+) of \1 image files, such as .*; delete .*, so that"):
        check_test(chosen)


@pytest.mark.parametrize("name", COUNTS)
def test_without_files_and_a_network_it_is_one_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    for read in (load_development, load_test, check_test):
        with pytest.raises(DataError, match=r"are missing or damaged, and data\.download is off: copy them"):
            read(settings(name, tmp_path / "none"))
    assert not (tmp_path / "none").exists()
    with pytest.raises(DataError, match="could not be downloaded") as raised:
        load_development(settings(name, tmp_path, download=True))
    assert "\n" not in str(raised.value)


def test_lists_of_files_that_are_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists = {
        "food101": "food-101/meta/test.json",
        "oxford_iiit_pet": "oxford-iiit-pet/annotations/test.txt",
        "gtsrb": "gtsrb/GT-final_test.csv",
        "flowers102": "flowers-102/setid.mat",
    }
    for name, path in lists.items():
        with monkeypatch.context() as without_sums:
            write(name, tmp_path, without_sums)
        for content in ("", "{", "a b c"):
            (tmp_path / path).write_text(content)
            with pytest.raises(DataError, match="damaged") as raised:
                check_test(settings(name, tmp_path))
            assert "\n" not in str(raised.value)


def test_a_missing_class_of_gtsrb_does_not_shift_the_others(tmp_path: Path, monkeypatch: Any) -> None:
    write("gtsrb", tmp_path, monkeypatch)
    (tmp_path / "gtsrb/GTSRB/Training/00007").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="00008 is not the folder of class 7"):
        load_development(settings("gtsrb", tmp_path))


def test_the_test_images_of_eurosat_are_the_same_for_every_seed(tmp_path: Path, monkeypatch: Any) -> None:
    write("eurosat", tmp_path, monkeypatch)
    tests = [load_test(settings("eurosat", tmp_path, seed=seed, image_size=None)) for seed in (0, 1)]
    assert torch.equal(tests[0].images, tests[1].images)
    assert tests[0].images.shape == (10, 3, 64, 64)
    assert tests[0].labels.tolist() == list(range(10))
    assert "EuroSAT has no test split: 10 of its 50 images" in check_test(settings("eurosat", tmp_path))[0]


@pytest.mark.parametrize(("side", "edition"), [(64, "-160"), (160, "-160"), (224, "-320"), (321, "")])
def test_the_edition_of_imagenette_follows_the_size(
    side: int, edition: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("imagenette", tmp_path, monkeypatch)
    for other in {"-160", "-320", ""} - {edition}:
        (tmp_path / f"imagenette2{other}").rename(tmp_path / f"other{other}")
    assert load_test(settings("imagenette", tmp_path, image_size=side)).images.shape == (20, 3, side, side)
    (tmp_path / f"imagenette2{edition}").rename(tmp_path / "moved")
    with pytest.raises(DataError, match=f"imagenette2{edition} are missing"):
        load_test(settings("imagenette", tmp_path, image_size=side))


def test_a_size_must_be_given_where_images_differ(tmp_path: Path) -> None:
    assert set(SIZED) == set(KINDS) - {"eurosat"}
    for name in SIZED:
        (fault,) = faults(tmp_path, changed(data={"name": name}))
        assert fault.startswith(f"data.image_size: must be given for {name}, whose images differ in size")
        with pytest.raises(DataError, match=r"data\.image_size must be given"):
            load_development(DataSettings(name=name))
    space = load(tmp_path, changed(data={"name": "food101", "image_size": 64, "folder": "there"}))
    assert not [warning for warning in space.warnings if "no effect" in warning]
    assert set(KINDS) < set(DOWNLOADED)
