"""Extra training images: digits that are held back from the training images, in Parquet files."""

from __future__ import annotations

import dataclasses
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from config_files import changed, load
from image_files import encoded
from test_parquet import write_parquet

from morel_search.cluster.placement import with_absolute_paths
from morel_search.cluster.worker_data import development_for
from morel_search.errors import DataError
from morel_search.training.datasets.loading import Development, ImageSet, load_development
from morel_search.training.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainSettings
from morel_search.training.trainer import Training

NAMES = tuple("0123456789")
SMALL: dict[str, Any] = {"name": "digits", "limit": 260, "validation": 200}
"""60 training images; the other 1,178 development images are held back."""


def write_digits(path: Path, images: ImageSet, labels: Any = None, **more: Any) -> Path:
    """Write images as nested lists of pixels, and labels as numbers unless others are given."""
    files = [encoded(image.permute(1, 2, 0).numpy()) for image in images.images]
    return write_parquet(path, files, images.labels.numpy() if labels is None else labels, **more)


@pytest.fixture(scope="module")
def held_back() -> ImageSet:
    everything = load_development(DataSettings(name="digits", validation=200)).train
    used = {image.numpy().tobytes() for image in load_development(DataSettings(**SMALL)).train.images}
    kept = torch.tensor([image.numpy().tobytes() not in used for image in everything.images])
    return ImageSet(everything.images[kept], everything.labels[kept])


@pytest.fixture(scope="module")
def file(held_back: ImageSet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_digits(tmp_path_factory.mktemp("extra") / "extra.parquet", held_back)


@pytest.fixture(scope="module")
def extended(file: Path) -> Development:
    return load_development(DataSettings(**SMALL, extra=str(file)))


def training_of(development: Development, share: float = 0.5, **changes: Any) -> Training:
    settings = TrainSettings(
        epochs=2,
        batch_size=16,
        optimizer="adamw",
        lr=0.01,
        accuracy_loss="pgd",
        k_robust=0.0,
        gamma=0.0,
        epsilon=Fraction(1, 20),
        attack_steps=1,
    )
    return Training(
        dataclasses.replace(settings, **changes),
        NetworkSettings(name="small_cnn", options={"width": 4}),
        development,
        EvaluationSettings(epsilon=Fraction(1, 20), steps=2, every=100),
        seed=0,
        extra_share=share,
    )


def test_every_pixel_and_label_is_read_and_the_splits_stay(
    extended: Development, held_back: ImageSet
) -> None:
    assert extended.extra is not None
    assert torch.equal(extended.extra.images, held_back.images)
    assert torch.equal(extended.extra.labels, held_back.labels)
    plain = load_development(DataSettings(**SMALL))
    for name in ("train", "validation"):
        assert torch.equal(getattr(extended, name).images, getattr(plain, name).images)
    assert extended.notes == (f"{len(held_back)} extra images are 50% of each training batch",)


@pytest.mark.parametrize(("share", "expected"), [(0.25, 4), (0.5, 8), (0.9, 14), (0.001, 1), (0.999, 15)])
def test_each_batch_has_its_share(extended: Development, share: float, expected: int) -> None:
    extra = {image.numpy().tobytes() for image in extended.extra.images}  # type: ignore[union-attr]
    real = {image.numpy().tobytes() for image in extended.train.images}
    assert not extra & real
    batches = list(training_of(extended, share)._draw())
    assert [len(labels) for _, labels in batches] == [16, 16, 16, 12]
    drawn: list[bytes] = []
    for images, _ in batches:
        rows = [image.numpy().tobytes() for image in images]
        if len(images) == 16:
            assert sum(row in extra for row in rows) == expected
        drawn += rows
    assert set(drawn) <= extra | real
    assert len(set(drawn)) == len(drawn)  # nothing twice in an epoch


def test_labels_stay_with_their_images(extended: Development, held_back: ImageSet) -> None:
    label_of = {
        image.numpy().tobytes(): int(label)
        for part in (held_back, extended.train)
        for image, label in zip(part.images, part.labels, strict=True)
    }
    for images, labels in training_of(extended)._draw():
        assert [label_of[image.numpy().tobytes()] for image in images] == labels.tolist()


def test_few_extra_images_are_repeated(extended: Development) -> None:
    assert extended.extra is not None
    few = dataclasses.replace(extended, extra=extended.extra.first(3))
    images = torch.cat([images for images, _ in training_of(few)._draw()])
    known = [image.numpy().tobytes() for image in extended.extra.images[:3]]
    counts = [sum(image.numpy().tobytes() == one for image in images) for one in known]
    assert sum(counts) == 3 * 8 + 6
    assert max(counts) - min(counts) <= 1


def test_without_extra_images_nothing_changes(extended: Development) -> None:
    """The order is that of the seed's generator, as in earlier versions."""
    training = training_of(dataclasses.replace(extended, extra=None))
    order = torch.randperm(60, generator=torch.Generator().manual_seed(0))
    drawn = torch.cat([images for images, _ in training._draw()])
    assert torch.equal(drawn, extended.train.images[order])


def test_real_images_that_were_held_back_help(extended: Development) -> None:
    """20 training images alone, and with 1,178 more of the same distribution, in the same number of steps."""
    few, accuracies = dataclasses.replace(extended, train=extended.train.first(20)), []
    for development in (dataclasses.replace(few, extra=None), few):
        training = training_of(development, 0.7, epochs=25)
        for _ in range(25):
            training.train_epoch()
        accuracies.append(training.evaluate().clean_accuracy)
    assert accuracies[1] > accuracies[0] + 0.1, accuracies


def test_a_training_with_extra_images_continues_to_the_last_bit(extended: Development) -> None:
    whole = training_of(extended)
    for _ in range(2):
        whole.train_epoch()
    first, second = training_of(extended), training_of(extended)
    first.train_epoch()
    second.load_state_dict(first.state_dict())
    second.train_epoch()
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, second.model.state_dict()[key])


def test_validation_images_are_left_out(tmp_path: Path, extended: Development) -> None:
    both = ImageSet(
        torch.cat([extended.validation.images[:7], extended.train.images[:5]]),
        torch.cat([extended.validation.labels[:7], extended.train.labels[:5]]),
    )
    path = write_digits(tmp_path / "both.parquet", both)
    development = load_development(DataSettings(**SMALL, extra=str(path)))
    assert development.extra is not None
    assert torch.equal(development.extra.images, extended.train.images[:5])
    assert "7 images of data.extra are equal to validation images and are left out" in development.notes
    only = write_digits(tmp_path / "only.parquet", both.first(7))
    with pytest.raises(DataError, match=r"all 7 images of data\.extra .* are validation images"):
        load_development(DataSettings(**SMALL, extra=str(only)))


def test_classes_are_mapped_by_their_names(tmp_path: Path, held_back: ImageSet) -> None:
    some = held_back.first(40)
    backwards = NAMES[::-1]
    labels = np.array([backwards.index(str(int(label))) for label in some.labels])
    path = write_digits(tmp_path / "named.parquet", some, labels, classes=backwards)
    development = load_development(DataSettings(**SMALL, extra=str(path)))
    assert development.extra is not None
    assert torch.equal(development.extra.labels, some.labels)
    assert any("labels are mapped by name" in note for note in development.notes)


@pytest.mark.parametrize("named", [False, True])
def test_extra_images_of_a_parquet_data_set(tmp_path: Path, extended: Development, named: bool) -> None:
    classes = NAMES if named else None
    train = write_digits(tmp_path / "train.parquet", extended.validation, classes=classes)
    extra = write_digits(tmp_path / "extra.parquet", extended.train, classes=classes)
    settings = DataSettings(
        name="parquet", train=str(train), test=str(extra), validation=50, extra=str(extra)
    )
    with pytest.raises(DataError, match=r"is among the files of data\.extra and of data\.test"):
        load_development(settings)
    development = load_development(dataclasses.replace(settings, test=None))
    assert development.extra is not None
    assert torch.equal(development.extra.images, extended.train.images)
    assert torch.equal(development.extra.labels, extended.train.labels)


@pytest.mark.parametrize("kind", ["npz", "parquet", "image_folder"])
def test_numbers_are_no_classes_of_a_data_set_that_has_only_names(
    tmp_path: Path, extended: Development, kind: str
) -> None:
    """Its classes are sorted by name: no file says which number "cat" has."""
    names, images = np.array(["dog", "cat"]), extended.validation.first(40)
    labels = images.labels.numpy() % 2
    if kind == "npz":
        np.savez(tmp_path / "a.npz", x_train=images.images[:, 0].numpy(), y_train=names[labels])
        train = tmp_path / "a.npz"
    elif kind == "parquet":
        train = write_digits(tmp_path / "train.parquet", images, names[labels].tolist())
    else:
        train = tmp_path / "train"
        for number, (image, label) in enumerate(zip(images.images, labels, strict=True)):
            path = train / names[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(image.permute(1, 2, 0).numpy()))
    settings = DataSettings(name=kind, train=str(train), validation=8)  # type: ignore[arg-type]
    numbered = write_digits(tmp_path / "numbers.parquet", extended.train.first(6), np.arange(6) % 2)
    with pytest.raises(DataError, match=r"has the number 0 as its label, and the classes .* have the names"):
        load_development(dataclasses.replace(settings, extra=str(numbered)))
    written = names[np.arange(6) % 2].tolist()
    named = write_digits(tmp_path / "names.parquet", extended.train.first(6), written)
    development = load_development(dataclasses.replace(settings, extra=str(named)))
    assert development.extra is not None
    assert [development.classes[label] for label in development.extra.labels] == written


@pytest.mark.parametrize(
    ("labels", "classes", "text"),
    [
        ([3, 12], None, "row 1 has the label 12; labels must be 0 to 9"),
        ([0, 1], ("0", "ten"), "has the class ten, which data.train lacks; its classes are 0, 1"),
        ([0, -1], None, "row 1 has the label -1"),
    ],
)
def test_a_wrong_label_is_one_sentence(
    tmp_path: Path, held_back: ImageSet, labels: list[int], classes: Any, text: str
) -> None:
    path = write_digits(tmp_path / "wrong.parquet", held_back.first(2), np.array(labels), classes=classes)
    with pytest.raises(DataError, match=text):
        load_development(DataSettings(**SMALL, extra=str(path)))


def test_a_missing_file_and_another_size_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data\.extra nowhere\.parquet: no such file"):
        load_development(DataSettings(**SMALL, extra="nowhere.parquet"))
    large = ImageSet(torch.zeros(2, 1, 12, 12, dtype=torch.uint8), torch.tensor([0, 1]))
    path = write_digits(tmp_path / "large.parquet", large)
    with pytest.raises(DataError, match="12 x 12"):
        load_development(DataSettings(**SMALL, extra=str(path)))
    resized = load_development(DataSettings(**SMALL, extra=str(path), image_size=8))
    assert resized.extra is not None
    assert resized.extra.images.shape == (2, 1, 8, 8)


def test_workers_read_the_images_once_whatever_the_share(file: Path) -> None:
    settings = with_absolute_paths(DataSettings(**SMALL, extra=str(file)))
    assert settings.extra == str(file.absolute())
    first = development_for(settings, "cpu")
    assert first.extra is not None
    assert development_for(dataclasses.replace(settings, extra_share=0.9), "cpu") is first


def test_the_share_can_be_searched(tmp_path: Path, file: Path) -> None:
    share = {"type": "float", "low": 0.2, "high": 0.8}
    content = changed(data={"name": "digits"}, parameters={"data.extra_share": share})
    unused = ("parameters.data.extra_share has no effect: data.extra is not given",)
    assert load(tmp_path, content).warnings == unused
    content["data"]["extra"] = str(file)
    space = load(tmp_path, content)
    assert space.warnings == ()
    assert space.trial_settings({"data.extra_share": 0.3}).data.extra_share == 0.3
    content["data"].update(extra_share=0.4, label_column="label")
    assert load(tmp_path, content).warnings == ()
