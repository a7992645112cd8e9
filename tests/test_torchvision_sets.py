"""MNIST, Fashion-MNIST, KMNIST, EMNIST, SVHN and STL-10, from small files in the formats of their authors."""

from __future__ import annotations

import hashlib
import socket
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from config_files import changed, load
from scipy.io import savemat

from morel_search.errors import DataError
from morel_search.training.data_settings import DOWNLOADED
from morel_search.training.datasets.loading import check_test, load_development, load_test
from morel_search.training.datasets.torchvision_files import TORCHVISION_FILES
from morel_search.training.datasets.torchvision_sets import EMNIST_SUBSETS, KINDS, TORCHVISION_SETS
from morel_search.training.settings import DataSettings

RANDOM = np.random.default_rng(0)
COUNTS = {"train": 40, "test": 20}


def pixels(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape).astype(np.uint8)


def idx(path: Path, values: np.ndarray) -> None:
    """The format of MNIST: type of the values (8 is uint8), number of sides, the sides, the values."""
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape)
    path.write_bytes(head + values.tobytes())


def write(
    name: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Write a data set, and return images, shape (N, C, H, W), and labels of each split."""
    kind: Any = getattr(torchvision.datasets, KINDS[name].name)
    written = {}
    files = {}
    for split, count in COUNTS.items():
        labels = (np.arange(count) % 10).astype(np.uint8)
        if name == "svhn":
            images = pixels(count, 3, 32, 32)
            file = folder / f"{split}_32x32.mat"
            # In the file, the digit 0 has the label 10.
            savemat(
                file, {"X": images.transpose(2, 3, 1, 0), "y": np.where(labels == 0, 10, labels)[:, None]}
            )
            files[split] = ["no url", file.name, hashlib.md5(file.read_bytes()).hexdigest()]
        elif name == "stl10":
            images = pixels(count, 3, 96, 96)
            (folder / "stl10_binary").mkdir(exist_ok=True)
            # In the file, columns come first and labels start at 1.
            (folder / f"stl10_binary/{split}_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())
            (folder / f"stl10_binary/{split}_y.bin").write_bytes((labels + 1).tobytes())
            files[split] = [
                [part, hashlib.md5((folder / "stl10_binary" / part).read_bytes()).hexdigest()]
                for part in (f"{split}_X.bin", f"{split}_y.bin")
            ]
        else:
            images = pixels(count, 1, 28, 28)
            raw = folder / KINDS[name].place
            raw.mkdir(parents=True, exist_ok=True)
            prefix = "t10k" if split == "test" else "train"
            if name == "emnist":
                prefix = f"emnist-balanced-{split}"
            # EMNIST stores columns first.
            stored = images[:, 0].transpose(0, 2, 1) if name == "emnist" else images[:, 0]
            idx(raw / f"{prefix}-images-idx3-ubyte", stored)
            idx(raw / f"{prefix}-labels-idx1-ubyte", labels)
        written[split] = images, labels
    if name == "svhn":
        monkeypatch.setattr(kind, "split_list", files)
    elif name == "stl10":
        monkeypatch.setattr(kind, "train_list", files["train"])
        monkeypatch.setattr(kind, "test_list", files["test"])
    return written


def pairs(images: torch.Tensor, labels: torch.Tensor) -> set[tuple[bytes, int]]:
    return {(image.numpy().tobytes(), int(label)) for image, label in zip(images, labels, strict=True)}


@pytest.mark.parametrize("name", KINDS)
def test_images_and_labels_are_those_of_the_files(
    name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = write(name, tmp_path, monkeypatch)
    settings = DataSettings(name=name, folder=str(tmp_path), validation=10, download=False)
    development, test = load_development(settings), load_test(settings)
    assert (len(development.train), len(development.validation), len(test)) == (30, 10, 20)
    both = torch.cat([development.train.images, development.validation.images])
    labels = torch.cat([development.train.labels, development.validation.labels])
    images, expected = written["train"]
    assert pairs(both, labels) == {
        (image.tobytes(), int(label)) for image, label in zip(images, expected, strict=True)
    }
    assert torch.equal(test.images, torch.from_numpy(written["test"][0]))
    assert test.labels.tolist() == written["test"][1].tolist()
    assert len(development.classes) == (47 if name == "emnist" else 10)
    assert development.classes[9] == {
        "fashion_mnist": "Ankle boot",
        "kmnist": "wo",
        "stl10": "truck",
    }.get(name, "9")


@pytest.mark.parametrize("name", ["stl10", "mnist"])
def test_images_are_scaled(name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = write(name, tmp_path, monkeypatch)
    settings = DataSettings(name=name, folder=str(tmp_path), validation=10, download=False, image_size=32)
    test = load_test(settings)
    assert tuple(test.images.shape[2:]) == (32, 32)
    means = test.images.float().mean((2, 3)) - torch.from_numpy(written["test"][0]).float().mean((2, 3))
    assert float(means.abs().max()) < 3, "scaled, not cropped or mixed up"


@pytest.mark.parametrize("name", KINDS)
def test_without_files_and_a_network_it_is_one_sentence(
    name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    with pytest.raises(DataError, match=r"are missing or damaged, and data\.download is off: copy them"):
        load_development(DataSettings(name=name, folder=str(tmp_path / "none"), download=False))
    assert not (tmp_path / "none").exists()
    with pytest.raises(DataError, match="could not be downloaded") as raised:
        load_development(DataSettings(name=name, folder=str(tmp_path)))
    assert "\n" not in str(raised.value)
    assert socket.getdefaulttimeout() is None


@pytest.mark.parametrize("name", KINDS)
def test_damaged_files_are_one_sentence(name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(name, tmp_path, monkeypatch)
    for file in [path for path in tmp_path.rglob("*") if path.is_file()]:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(DataError, match="damaged") as raised:
        load_development(DataSettings(name=name, folder=str(tmp_path), download=False))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", KINDS)
def test_test_images_are_checked_at_the_start(
    name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(name, tmp_path, monkeypatch)
    settings = DataSettings(name=name, folder=str(tmp_path), download=False)
    assert check_test(settings) == ()
    words = {"mnist": "t10k", "fashion_mnist": "t10k", "kmnist": "t10k"}
    (*_, last) = sorted(tmp_path.rglob(f"*{words.get(name, 'test')}*"))
    content = last.read_bytes()
    for damage in (lambda: last.write_bytes(content[: len(content) // 2]), last.unlink):
        damage()
        with pytest.raises(DataError, match="damaged"):
            check_test(settings)


def test_subsets_of_emnist(tmp_path: Path) -> None:
    counts = {"byclass": 62, "bymerge": 47, "balanced": 47, "letters": 26, "digits": 10, "mnist": 10}
    raw = tmp_path / "EMNIST/raw"
    raw.mkdir(parents=True)
    images = pixels(20, 28, 28)
    for subset, count in counts.items():
        first = 1 if subset == "letters" else 0  # as in the files of the authors
        labels = (np.arange(20) % 10).astype(np.uint8) + first
        labels[-1] = count - 1 + first
        for split in ("train", "test"):
            idx(raw / f"emnist-{subset}-{split}-images-idx3-ubyte", images)
            idx(raw / f"emnist-{subset}-{split}-labels-idx1-ubyte", labels)
    for subset, count in counts.items():
        settings = DataSettings(name="emnist", folder=str(tmp_path), download=False, subset=subset)
        test = load_test(settings)
        assert test.labels.tolist() == [*(np.arange(19) % 10), count - 1]
        assert torch.equal(test.images[:, 0], torch.from_numpy(images.transpose(0, 2, 1)))
        source = TORCHVISION_SETS["emnist"](settings, "test")
        assert len(source.classes) == count
        assert source.classes[0] == ("a" if subset == "letters" else "0")
    assert set(counts) == set(EMNIST_SUBSETS)
    with pytest.raises(DataError, match=r"data\.subset must be one of balanced, byclass, .* got small"):
        load_test(DataSettings(name="emnist", folder=str(tmp_path), subset="small"))


@pytest.mark.parametrize("name", ["mnist", "stl10"])
def test_nothing_is_downloaded_through_a_link(name: Any, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / Path(KINDS[name].place).parts[0]).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="nothing is written through a link"):
        load_development(DataSettings(name=name, folder=str(tmp_path / "data")))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_settings_name_every_data_set_and_no_setting_is_unused(tmp_path: Path) -> None:
    assert {*TORCHVISION_SETS, *TORCHVISION_FILES} == set(DOWNLOADED) - {"cifar10", "cifar100"}
    space = load(tmp_path, changed(), ["data={name: svhn, folder: there, download: false, image_size: 16}"])
    assert not [warning for warning in space.warnings if warning.startswith("data.")]
