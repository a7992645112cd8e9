"""Parquet files that are written here with pyarrow, whole and damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import encoded, pictures

from morel_search.errors import DataError
from morel_search.training.datasets.loading import check_test, load_development, load_test
from morel_search.training.settings import DataSettings


def write_parquet(
    path: Path,
    images: list[Any],
    labels: Any,
    *,
    names: tuple[str, str] = ("img", "label"),
    wrapped: bool = True,
    classes: Any = None,
) -> Path:
    struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    column = (
        pa.array([{"bytes": b, "path": None} for b in images], struct)
        if wrapped
        else pa.array(images, pa.binary())
    )
    table = pa.table({names[0]: column, names[1]: labels})
    if classes:
        features = {names[0]: {"_type": "Image"}, names[1]: {"names": list(classes), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=7)
    return path


def parquet(train: Path | str, test: Path | str | None = None, **more: Any) -> DataSettings:
    more.setdefault("validation", 0.2)
    return DataSettings(name="parquet", train=str(train), test=None if test is None else str(test), **more)


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_parquet_gives_every_pixel_back(tmp_path: Path, wrapped: bool, channels: int) -> None:
    images, labels = pictures(40, channels=channels), np.arange(40) % 4
    names = ("img", "label") if wrapped else ("image", "fine_label")
    write_parquet(
        tmp_path / "a.parquet",
        [encoded(i) for i in images[:25]],
        labels[:25],
        names=names,
        wrapped=wrapped,
        classes="wxyz",
    )
    write_parquet(
        tmp_path / "b.parquet", [encoded(i) for i in images[25:]], labels[25:], names=names, wrapped=wrapped
    )
    expected = {
        image.transpose(2, 0, 1).tobytes(): int(label) for image, label in zip(images, labels, strict=True)
    }
    for train in (tmp_path / "*.parquet", tmp_path):
        development = load_development(parquet(train))
        assert development.classes == ("w", "x", "y", "z")
        found = {}
        for part in (development.train, development.validation):
            found |= {
                image.numpy().tobytes(): int(label)
                for image, label in zip(part.images, part.labels, strict=True)
            }
        assert found == expected
        assert (len(development.train), len(development.validation)) == (32, 8)


def test_development_does_not_open_the_test_file(tmp_path: Path) -> None:
    train = write_parquet(tmp_path / "train.parquet", [encoded(i) for i in pictures(20)], np.arange(20) % 2)
    (tmp_path / "test.parquet").write_bytes(b"not parquet at all")
    assert len(load_development(parquet(train, tmp_path / "test.parquet")).train) == 16
    for look in (check_test, load_test):
        with pytest.raises(DataError, match=r"test\.parquet cannot be read as a Parquet file"):
            look(parquet(train, tmp_path / "test.parquet"))


def test_test_images_get_the_training_images_shape(tmp_path: Path) -> None:
    mixed = [encoded(i) for i in pictures(9, channels=1)] + [encoded(pictures(1)[0])]
    train = write_parquet(tmp_path / "train.parquet", mixed, np.arange(10) % 2)
    grey = pictures(4, channels=1, seed=3)
    test = write_parquet(tmp_path / "test.parquet", [encoded(i) for i in grey], np.arange(4) % 2)
    loaded = load_test(parquet(train, test))
    assert torch.equal(loaded.images, torch.from_numpy(grey.transpose(0, 3, 1, 2)).expand(4, 3, 6, 6))
    assert load_development(parquet(train)).train.images.shape[1:] == (3, 6, 6)


def test_jpeg_and_resizing(tmp_path: Path) -> None:
    plain = [
        np.full((side, wide, 3), 40 * n, np.uint8)
        for n, (side, wide) in enumerate([(8, 8), (16, 9), (5, 30), (8, 8)])
    ]
    train = write_parquet(tmp_path / "train.parquet", [encoded(i, "JPEG") for i in plain], [0, 1, 0, 1])
    with pytest.raises(
        DataError, match=r"row 1 has 16 x 9 pixels, and the first training image 8 x 8; set data\.image_size"
    ):
        load_development(parquet(train, validation=1))
    images = load_development(parquet(train, validation=1, image_size=6)).train.images
    assert images.shape == (3, 3, 6, 6)
    assert all(
        int(image.max()) - int(image.min()) <= 2 and int(image.max()) % 40 in (38, 39, 0, 1, 2)
        for image in images
    )


def test_truncated_parquet_files_are_named(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "train.parquet", [encoded(i) for i in pictures(30)], np.arange(30) % 3)
    whole = path.read_bytes()
    for length in (0, 3, 8, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"train\.parquet cannot be read as a Parquet file"):
            load_development(parquet(path))


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_a_damaged_parquet_file_gives_its_images_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("damaged") / "train.parquet"
    content = bytearray(
        write_parquet(path, [encoded(i) for i in pictures(12)], np.arange(12) % 3).read_bytes()
    )
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        sentence = f"{path} gives {len(load_development(parquet(path)).train)} images"
    except DataError as error:
        sentence = str(error)
    assert "\n" not in sentence
    assert "data." in sentence or path.name in sentence


def damaged(which: int, content: Any) -> list[Any]:
    images: list[Any] = [encoded(i) for i in pictures(20)]
    images[which] = content
    return images


@pytest.mark.parametrize(
    ("images", "labels", "words"),
    [
        (damaged(13, b"no image"), np.arange(20) % 2, r"row 13 is not an image that can be read \(8 bytes\)"),
        (
            damaged(13, encoded(pictures(1, side=40)[0])[:-900]),
            np.arange(20) % 2,
            "row 13 has 40 x 40 pixels",
        ),
        (damaged(13, encoded(pictures(1)[0])[:-60]), np.arange(20) % 2, "row 13 is a damaged image"),
        (damaged(0, b""), np.arange(20) % 2, r"row 0 is not an image that can be read \(0 bytes\)"),
        (damaged(7, None), np.arange(20) % 2, "row 7 has no image bytes"),
        (
            damaged(7, encoded(np.zeros((6, 6), np.uint16))),
            np.arange(20) % 2,
            "row 7 has 16 bits for each channel; images must",
        ),
        (damaged(0, encoded(pictures(1)[0])), [0, 1] * 9 + [0, -1], r"row 19 has the label -1"),
        (
            damaged(0, encoded(pictures(1)[0])),
            [0, 1] * 9 + [0, 3],
            r"row 19 has the label 3, but no image has 2",
        ),
        (damaged(0, encoded(pictures(1)[0])), [0, 1] * 9 + [0, None], r"row 19 has no label"),
        (
            damaged(0, encoded(pictures(1)[0])),
            [0.0, 1.0] * 10,
            r"column label holds double, not whole numbers",
        ),
        ([], pa.array([], pa.int64()), "has no rows"),
    ],
)
def test_what_is_wrong_in_a_parquet_file_is_named_with_its_row(
    tmp_path: Path, images: list[Any], labels: Any, words: str
) -> None:
    path = write_parquet(tmp_path / "train.parquet", images, labels)
    with pytest.raises(DataError, match=words) as caught:
        load_development(parquet(path, validation=1))
    assert str(path) in str(caught.value)


def test_labels_must_fit_the_named_classes(tmp_path: Path) -> None:
    images = [encoded(i) for i in pictures(10)]
    train = write_parquet(tmp_path / "train.parquet", images, np.arange(10) % 3, classes="ab")
    with pytest.raises(DataError, match="row 2 has the label 2; labels must be 0 to 1"):
        load_development(parquet(train))
    train = write_parquet(tmp_path / "train.parquet", images, np.arange(10) % 2)
    test = write_parquet(tmp_path / "test.parquet", images, [0] * 9 + [-1])
    with pytest.raises(DataError, match=r"test\.parquet, row 9 has the label -1; labels must be 0 to 1"):
        load_test(parquet(train, test))


def test_missing_columns_and_files(tmp_path: Path) -> None:
    images = [encoded(i) for i in pictures(10)]
    path = write_parquet(tmp_path / "train.parquet", images, np.arange(10) % 2, names=("picture", "kind"))
    with pytest.raises(
        DataError, match=r"has no column img or image \(data\.image_column\); its columns are picture, kind"
    ):
        load_development(parquet(path))
    with pytest.raises(
        DataError, match=r"has no column label or fine_label or labels \(data\.label_column\)"
    ):
        load_development(parquet(path, image_column="picture"))
    with pytest.raises(DataError, match="column kind holds int64, not encoded images"):
        load_development(parquet(path, image_column="kind", label_column="kind"))
    assert len(load_development(parquet(path, image_column="picture", label_column="kind")).train) == 8
    with pytest.raises(DataError, match=": no such file"):
        load_development(parquet(tmp_path / "*.csv"))
    with pytest.raises(DataError, match=r"data\.test must name"):
        check_test(parquet(path))
    with pytest.raises(DataError, match=r"is among the files of data\.train and of data\.test"):
        check_test(parquet(tmp_path, path))


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "train.parquet", [encoded(i) for i in pictures(6)], np.arange(6) % 2)
    path.write_bytes(path.read_bytes().replace(b"label", b"labe\xfc"))
    with pytest.raises(DataError, match=r"train\.parquet cannot be read as a Parquet file"):
        load_development(parquet(path))


def test_two_columns_of_one_name(tmp_path: Path) -> None:
    images = pa.array([encoded(i) for i in pictures(6)], pa.binary())
    table = pa.table([images, images, pa.array([0, 1] * 3)], names=["img", "img", "label"])
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"has 2 columns with the name img; .*data\.image_column"):
        load_development(parquet(tmp_path / "train.parquet"))
    table = pa.table([images, pa.array([0, 1] * 3), pa.array([0, 1] * 3)], names=["img", "label", "label"])
    pq.write_table(table, tmp_path / "train.parquet")
    with pytest.raises(DataError, match=r"has 2 columns with the name label"):
        load_development(parquet(tmp_path / "train.parquet"))


def test_a_path_that_leads_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(DataError, match=r"data\.train .* is not a path that can be used"):
        load_development(parquet(tmp_path / "loop"))
