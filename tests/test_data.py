"""Splits by their laws; scikit-learn's digits against scikit-learn."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from image_files import every_row
from sklearn.datasets import load_digits

from morel_search.errors import DataError
from morel_search.training.data_settings import DATA_NAMES
from morel_search.training.datasets.digits import open_digits
from morel_search.training.datasets.loading import READERS, load_development, load_test
from morel_search.training.datasets.splits import split_indices, stratified_order, validation_count
from morel_search.training.settings import DataSettings

label_lists = st.lists(st.integers(0, 6), min_size=1, max_size=120).map(torch.tensor)


@given(label_lists, st.integers(0, 2**70), st.integers(0, 120))
def test_every_prefix_of_the_order_is_stratified(labels: torch.Tensor, seed: int, length: int) -> None:
    order = stratified_order(labels, seed)
    assert sorted(order.tolist()) == list(range(len(labels)))
    assert torch.equal(order, stratified_order(labels, seed))
    of_class, in_prefix = (
        torch.bincount(labels, minlength=7),
        torch.bincount(labels[order[:length]], minlength=7),
    )
    present = [
        (int(part) / int(whole), 0.5 / int(whole))
        for part, whole in zip(in_prefix, of_class, strict=True)
        if whole
    ]
    for share, slack in present:
        for other, other_slack in present:
            assert abs(share - other) <= slack + other_slack + 1e-9


def test_orders_of_two_seeds_differ_and_a_seed_keeps_its_order() -> None:
    labels = torch.arange(12) % 3
    assert stratified_order(labels, 0).tolist() != stratified_order(labels, 1).tolist()
    assert stratified_order(labels, 0).tolist() == [
        7,
        0,
        5,
        1,
        6,
        8,
        3,
        10,
        11,
        2,
        9,
        4,
    ]  # NumPy's RandomState never changes its stream


@given(st.integers(2, 5), st.integers(4, 30), st.floats(0.01, 0.7), st.integers(0, 10**6), st.integers(0, 40))
def test_split_covers_and_is_disjoint_and_balanced(
    classes: int, each: int, share: float, seed: int, unused: int
) -> None:
    labels = torch.arange(classes * each) % classes
    limit = max(classes * 4, len(labels) - unused)
    count = round(share * min(limit, len(labels)))
    if count < 1:
        return
    train, held = split_indices(
        labels, [str(c) for c in range(classes)], validation=share, seed=seed, limit=limit
    )
    assert len(held) == count
    assert len(train) + len(held) == min(limit, len(labels))
    assert not set(train.tolist()) & set(held.tolist())
    for part in (train, held):
        assert part.tolist() == sorted(part.tolist())
        counts = torch.bincount(labels[part], minlength=classes)
        assert int(counts.max() - counts.min()) <= 2


def test_a_number_of_validation_images_is_the_same_for_every_limit() -> None:
    labels = torch.arange(100) % 4
    few = split_indices(labels, "abcd", validation=12, seed=3, limit=40)
    many = split_indices(labels, "abcd", validation=12, seed=3)
    assert torch.equal(few[1], many[1])
    assert set(few[0].tolist()) < set(many[0].tolist())
    assert (len(few[0]), len(many[0])) == (28, 88)


@pytest.mark.parametrize(
    ("validation", "images", "words"),
    [
        (12.5, 100, "whole number of images, got 12.5"),
        (0.001, 100, "leaves no validation image"),
        (100, 100, "takes 100 of 100 images"),
        (5000, 100, "takes 5000 of 100 images"),
        (0.999, 100, "takes 100 of 100 images"),
    ],
)
def test_impossible_validation_splits(validation: float, images: int, words: str) -> None:
    with pytest.raises(DataError, match=words):
        validation_count(validation, images)


def test_a_class_without_training_images_is_named() -> None:
    labels = torch.tensor([0] * 20 + [1])
    with pytest.raises(DataError, match="no training image of class zebra, which has 1"):
        split_indices(labels, ("horse", "zebra"), validation=0.8, seed=0)
    with pytest.raises(DataError, match=r"data\.limit 2 leave no training image"):
        split_indices(torch.arange(9) % 3, "abc", validation=1, seed=0, limit=2)


def test_digits_are_scikit_learns_and_no_test_image_is_developed_on() -> None:
    bunch = load_digits()
    expected = {
        bytes(round(v * 255 / 16) for v in image.ravel()): int(y)
        for image, y in zip(bunch.images, bunch.target, strict=True)
    }
    development, test = (
        load_development(DataSettings(name="digits", seed=5, validation=0.2)),
        load_test(DataSettings(name="digits")),
    )
    assert (len(development.train), len(development.validation), len(test)) == (1150, 288, 359)
    assert development.train.images.shape[1:] == (1, 8, 8)
    assert development.train.images.dtype == torch.uint8
    parts = (development.train, development.validation, test)
    for part in parts:
        assert all(
            expected[image.numpy().tobytes()] == int(label)
            for image, label in zip(part.images, part.labels, strict=True)
        )
        counts = torch.bincount(part.labels, minlength=10)
        assert int(counts.max() - counts.min()) <= 0.06 * len(part)
    rows = [every_row(part.images) for part in parts]
    assert rows[0] | rows[1] | rows[2] == set(expected)
    assert not (rows[0] | rows[1]) & rows[2]


def test_test_images_depend_on_no_seed() -> None:
    first, second = (load_test(DataSettings(name="digits", seed=seed, test_limit=50)) for seed in (0, 1))
    assert torch.equal(first.images, second.images)
    assert torch.bincount(first.labels).tolist() == [5] * 10
    trains = [load_development(DataSettings(name="digits", seed=seed, limit=100)).train for seed in (0, 0, 1)]
    assert torch.equal(trains[0].images, trains[1].images)
    assert not torch.equal(trains[0].images, trains[2].images)


def test_every_data_set_that_the_settings_name_has_a_reader() -> None:
    assert set(READERS) == set(DATA_NAMES)


@pytest.mark.parametrize("name", ["parquet", "image_folder", "cifar10"])
@pytest.mark.parametrize("text", ["a\0b", "x" * 5000, "~no-such-user-at-all/data", ""])
def test_paths_that_cannot_be(name: Any, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"data\."):
        load_development(DataSettings(name=name, train=text, folder=text, download=False))


def test_importing_the_data_module_loads_no_reader() -> None:
    """A machine without scikit-learn can read parquet files."""
    readers = "{'sklearn', 'pandas', 'pyarrow', 'PIL', 'torchvision', 'ray'}"
    code = f"import sys, morel_search.training.datasets.loading; print({readers} & set(sys.modules))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
        == "set()\n"
    )


def digits_of(split: Any) -> tuple[torch.Tensor, torch.Tensor, tuple[str, ...]]:
    source = open_digits(DataSettings(name="digits"), split)
    return source.read(torch.arange(len(source.labels))), source.labels, source.classes


@pytest.mark.parametrize("split", ["development", "test"])
def test_digits_are_the_same_from_the_file_and_from_scikit_learn(
    split: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    images, labels, classes = digits_of(split)
    with monkeypatch.context() as without_the_file:
        without_the_file.setattr(Path, "is_file", lambda _: False)
        others = digits_of(split)
    assert torch.equal(images, others[0])
    assert torch.equal(labels, others[1])
    assert classes == others[2] == tuple(str(name) for name in load_digits().target_names)


def test_digits_do_not_import_scikit_learn() -> None:
    code = (
        "import sys\n"
        "from morel_search.training.datasets.loading import load_test\n"
        "from morel_search.training.settings import DataSettings\n"
        "print(len(load_test(DataSettings(name='digits'))), {'sklearn', 'scipy'} & set(sys.modules))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stdout == "359 set()\n"
