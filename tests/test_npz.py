"""NumPy arrays as a data set: the same images and labels as were written, or one sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from image_files import pictures

from morel_search.__main__ import main
from morel_search.config import load_space
from morel_search.errors import DataError
from morel_search.training.datasets.loading import check_test, load_development, load_test
from morel_search.training.settings import DataSettings

IMAGES, TEST = pictures(40), pictures(10, seed=1)
LABELS, TEST_LABELS = np.arange(40) % 4, np.arange(10) % 4


def settings(train: Path, test: Path | None = None, **changes: Any) -> DataSettings:
    given = None if test is None else str(test)
    return DataSettings(name="npz", train=str(train), test=given, validation=0.25, **changes)


def check(data: DataSettings) -> tuple[str, ...]:
    """Check that the images are those above; return the notes."""
    development, test = load_development(data), load_test(data)
    read = {
        image.permute(1, 2, 0).numpy().tobytes(): int(label)
        for part in (development.train, development.validation)
        for image, label in zip(part.images, part.labels, strict=True)
    }
    assert read == {image.tobytes(): int(label) for image, label in zip(IMAGES, LABELS, strict=True)}
    torch.testing.assert_close(test.images, torch.from_numpy(TEST).permute(0, 3, 1, 2))
    assert test.labels.tolist() == TEST_LABELS.tolist()
    check_test(data)
    return development.notes


@pytest.mark.parametrize(
    "names", ["x_train y_train x_test y_test", "train_images train_labels test_images test_labels"]
)
def test_both_splits_in_one_file(tmp_path: Path, names: str) -> None:
    arrays = (IMAGES, LABELS, TEST, TEST_LABELS)
    np.savez(tmp_path / "a.npz", **dict(zip(names.split(), arrays, strict=True)))
    assert check(settings(tmp_path / "a.npz")) == ()


def test_two_files_channels_first_decimals_and_columns_of_labels(tmp_path: Path) -> None:
    decimals = IMAGES.transpose(0, 3, 1, 2) / 255
    np.savez_compressed(tmp_path / "train.npz", images=decimals, labels=LABELS[:, None].astype(np.uint8))
    np.savez(tmp_path / "test.npz", x=TEST.astype(np.int64), y=TEST_LABELS)
    (note,) = check(settings(tmp_path / "train.npz", tmp_path / "test.npz"))
    assert note.endswith("decimals from 0 to 1 are multiplied by 255 and rounded")


def test_other_names_texts_and_grey(tmp_path: Path) -> None:
    grey, names = IMAGES[..., :1], np.array(["d", "b", "c", "a"])
    arrays = {"pix_train": grey, "pix_test": TEST[..., 0], "kind_train": names[LABELS]}
    np.savez(tmp_path / "a.npz", **arrays, kind_test=names[TEST_LABELS])
    data = settings(tmp_path / "a.npz", image_column="pix", label_column="kind", image_size=12)
    development, test = load_development(data), load_test(data)
    assert development.classes == ("a", "b", "c", "d")
    assert test.images.shape == (10, 1, 12, 12)
    assert [development.classes[label] for label in test.labels] == names[TEST_LABELS].tolist()


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        (
            {"x_train": IMAGES},
            "has no array labels_train or train_labels .*; its arrays are x_train; without",
        ),
        ({"x_train": IMAGES[:3], "y_train": LABELS}, "has 3 images and 40 labels"),
        ({"x_train": IMAGES.astype(int) + 1, "y_train": LABELS}, "got int64 from 1 to 256"),
        ({"x_train": IMAGES / 100, "y_train": LABELS}, "or decimals from 0 to 1, got float64"),
        ({"x_train": IMAGES[0, 0], "y_train": LABELS}, r"images must have the shape .* got \(6, 3\)"),
        ({"x_train": IMAGES, "y_train": LABELS[:, None] * [1, 1]}, r"labels must have the shape \(N,\)"),
        ({"x_train": IMAGES, "y_train": np.array(3)}, r"labels must have the shape \(N,\), got \(\)"),
        ({"x_train": IMAGES, "y_train": LABELS / 2}, "holds double, not whole numbers, names or booleans"),
        ({"x_train": IMAGES, "y_train": LABELS * 0}, "at least two classes"),
        ({"x_train": IMAGES, "y_train": LABELS * 2}, "has the label 2, but no image has 1"),
        ({"x_train": IMAGES, "y_train": np.array([None] * 40)}, "cannot be read as a .npz file of arrays"),
    ],
)
def test_mistakes(tmp_path: Path, arrays: dict[str, Any], sentence: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError, match=sentence):
        load_development(settings(tmp_path / "a.npz"))


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"PK nothing")
    with pytest.raises(DataError, match=r"cannot be read as a \.npz file"):
        load_development(settings(tmp_path / "a.npz"))
    with pytest.raises(DataError, match=r"b\.npz is not a file"):
        load_development(settings(tmp_path / "b.npz"))


def test_training_images_are_never_test_images(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    data = settings(tmp_path / "a.npz", tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"has no array .* one file must hold both splits"):
        load_test(data)
    arrays = (IMAGES, LABELS, TEST, TEST_LABELS)
    names = ("x_train", "y_train", "x_test", "y_test")
    np.savez(tmp_path / "b.npz", **dict(zip(names, arrays, strict=True)))
    check(settings(tmp_path / "b.npz", tmp_path / "b.npz"))


def test_init_writes_a_space_for_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("a.npz", x_train=IMAGES, y_train=LABELS, x_test=TEST, y_test=TEST_LABELS)
    assert main(["init", "mine.yaml", "--data", "a.npz"]) == 0
    space = load_space(Path("mine.yaml"))
    assert (space.data.name, space.data.train, space.data.test) == ("npz", "a.npz", None)
    assert not [warning for warning in space.warnings if "validation" not in warning]
