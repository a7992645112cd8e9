"""Ways of storing images, labels and file names that Parquet and its writers allow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from image_files import encoded, pictures

from morel_search.errors import DataError
from morel_search.training.datasets.loading import load_development, load_test
from morel_search.training.datasets.parquet import open_parquet
from morel_search.training.settings import DataSettings

COUNT = 12
FILES = [encoded(image) for image in pictures(COUNT)]
LABELS = pa.array([0, 1] * (COUNT // 2))


def load(path: Path | str) -> torch.Tensor:
    settings = DataSettings(name="parquet", train=str(path), validation=0.5)
    load_development(settings)
    source = open_parquet(settings, "development")
    return source.read(torch.arange(len(source.labels)))


def structs(kind: pa.DataType, **more: pa.DataType) -> Callable[[list[bytes]], pa.Array]:
    fields = [("bytes", kind), *more.items()]
    return lambda files: pa.array(
        [{"bytes": file} | dict.fromkeys(more) for file in files], pa.struct(fields)
    )


ENCODINGS: dict[str, Callable[[list[bytes]], pa.Array]] = {
    "binary": lambda files: pa.array(files, pa.binary()),
    "large_binary": lambda files: pa.array(files, pa.large_binary()),
    "binary_view": lambda files: pa.array(files, pa.binary_view()),
    "dictionary": lambda files: pa.array(files, pa.binary()).dictionary_encode(),
    "dictionary of large": lambda files: pa.array(files, pa.large_binary()).dictionary_encode(),
    "list of bytes": lambda files: pa.array([list(file) for file in files], pa.list_(pa.uint8())),
    "struct": structs(pa.binary(), path=pa.string()),
    "struct without path": structs(pa.binary()),
    "struct of large": structs(pa.large_binary(), path=pa.string()),
    "struct of view": structs(pa.binary_view(), path=pa.string_view()),
    "struct with more": structs(pa.binary(), path=pa.string(), width=pa.int32()),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_of_bytes_is_read(tmp_path: Path, encoding: str) -> None:
    table = pa.table({"image": ENCODINGS[encoding](FILES), "label": LABELS})
    rows = COUNT if encoding == "struct of view" else 5  # pyarrow cannot write slices of those
    pq.write_table(table, tmp_path / "train.parquet", row_group_size=rows)
    assert torch.equal(
        load(tmp_path / "train.parquet"), torch.from_numpy(pictures(COUNT).transpose(0, 3, 1, 2))
    )


def test_bytes_of_one_length(tmp_path: Path) -> None:
    files = [encoded(image, "BMP") for image in pictures(COUNT)]
    column = pa.array(files, pa.binary(len(files[0])))
    pq.write_table(pa.table({"image": column, "label": LABELS}), tmp_path / "train.parquet")
    assert torch.equal(
        load(tmp_path / "train.parquet"), torch.from_numpy(pictures(COUNT).transpose(0, 3, 1, 2))
    )


def nested(kind: pa.DataType, levels: int, make: Callable[[pa.DataType], pa.DataType]) -> pa.DataType:
    for _ in range(levels):
        kind = make(kind)
    return kind


@pytest.mark.parametrize("make", [pa.list_, pa.large_list, lambda kind: pa.list_(kind, 6)])
@pytest.mark.parametrize("number", [pa.uint8(), pa.int64(), pa.int16()])
def test_a_grey_image_as_lists_of_pixels(tmp_path: Path, make: Any, number: pa.DataType) -> None:
    images = pictures(COUNT, channels=1)[..., 0]
    column = pa.array(images.tolist(), nested(number, 2, make))
    pq.write_table(pa.table({"image": column, "label": LABELS}), tmp_path / "train.parquet", row_group_size=5)
    assert torch.equal(load(tmp_path / "train.parquet"), torch.from_numpy(images)[:, None])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("first", [True, False])
def test_three_levels_of_lists_have_the_channels_first_or_last(
    tmp_path: Path, channels: int, first: bool
) -> None:
    images = pictures(COUNT, channels=channels)
    stored = images.transpose(0, 3, 1, 2) if first else images
    column = pa.array(stored.tolist(), nested(pa.uint8(), 3, pa.list_))
    pq.write_table(pa.table({"image": column, "label": LABELS}), tmp_path / "train.parquet")
    assert torch.equal(load(tmp_path / "train.parquet"), torch.from_numpy(images.transpose(0, 3, 1, 2)))


def test_a_tensor_column_of_arrow(tmp_path: Path) -> None:
    images = pictures(COUNT)
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(images)
    pq.write_table(pa.table({"image": column, "label": LABELS}), tmp_path / "train.parquet")
    assert torch.equal(load(tmp_path / "train.parquet"), torch.from_numpy(images.transpose(0, 3, 1, 2)))


def changed(value: Any) -> list[Any]:
    images: list[Any] = pictures(COUNT, channels=1)[..., 0].tolist()
    images[3] = value
    return images


@pytest.mark.parametrize(
    ("images", "kind", "words"),
    [
        (
            changed([[0] * 6] * 5 + [[300] * 6]),
            pa.int64(),
            "row 3 has the pixel value 300; values must be 0 to",
        ),
        (changed([[0] * 6] * 5 + [[-1] * 6]), pa.int64(), "row 3 has the pixel value -1"),
        (changed([[0] * 6] * 5 + [[0] * 5]), pa.uint8(), "row 3 has rows of different lengths"),
        (changed([[0] * 6] * 5 + [None]), pa.uint8(), "row 3 has rows of different lengths"),
        (changed([[0] * 6] * 5 + [[None] * 6]), pa.uint8(), "row 3 has a pixel without a value"),
        (changed(None), pa.uint8(), "row 3 has no image"),
        (changed([]), pa.uint8(), "row 3 has no pixels"),
        (changed([[]] * 6), pa.uint8(), "row 3 has no pixels"),
        (changed([[0] * 6] * 5), pa.uint8(), "row 3 has 5 x 6 pixels, and the first training image 6 x 6"),
        (changed([[0.5] * 6] * 6), pa.float32(), "holds list.*float.*not pixels"),
    ],
)
def test_what_is_wrong_with_pixels_is_named(tmp_path: Path, images: Any, kind: Any, words: str) -> None:
    column = pa.array(images, nested(kind, 2, pa.list_))
    pq.write_table(pa.table({"image": column, "label": LABELS}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=words):
        load(tmp_path / "train.parquet")


@pytest.mark.parametrize("shape", [(6, 6, 6), (3, 6, 3), (6, 6, 2)])
def test_three_levels_without_one_side_of_channels(tmp_path: Path, shape: tuple[int, ...]) -> None:
    column = pa.array(np.zeros((COUNT, *shape), int).tolist(), nested(pa.uint8(), 3, pa.list_))
    pq.write_table(pa.table({"image": column, "label": LABELS}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match="must be that of the channels"):
        load(tmp_path / "train.parquet")


@pytest.mark.parametrize(
    ("column", "words"),
    [
        (pa.array(["a.png"] * COUNT), "holds string, not encoded images"),
        (pa.array([0.5] * COUNT), "holds double, not encoded images"),
        (pa.array([{"path": "a.png"}] * COUNT), "holds struct.* not encoded images"),
        (
            pa.array(
                [{"bytes": None, "path": "a.png"}] * COUNT,
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
            "row 0 has no image bytes, only the path a.png; write the images into the file",
        ),
        (pa.array([[0, 1]] * COUNT, pa.list_(pa.uint8())), r"not an image that can be read \(2 bytes\)"),
    ],
)
def test_columns_without_images(tmp_path: Path, column: pa.Array, words: str) -> None:
    pq.write_table(pa.table({"image": column, "label": LABELS}), tmp_path / "train.parquet")
    with pytest.raises(DataError, match=words):
        load(tmp_path / "train.parquet")


def shards(folder: Path, names: list[str]) -> None:
    """Write the images into several files, with the names of the classes in one of them only."""
    folder.mkdir(parents=True, exist_ok=True)
    step = COUNT // len(names)
    for number, name in enumerate(names):
        part = slice(step * number, step * (number + 1))
        table = pa.table({"image": FILES[part], "label": LABELS[part]})
        if number == len(names) - 1:
            features = {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}}
            table = table.replace_schema_metadata(
                {"huggingface": json.dumps({"info": {"features": features}})}
            )
        (folder / name).parent.mkdir(exist_ok=True)
        pq.write_table(table, folder / name)


NAMES = ["train-0.parquet", "train-1.parquet", "train-2.parquet"]
FOLDERS = [
    "plain",
    "[x]",
    "a [b] c",
    "50%",
    "%20",
    "a b",
    "a*b",
    "what?",
    "{1,2}",
    "a:b",
    "#1",
    "\u00e9",
    "[!a]",
]


@pytest.mark.parametrize("folder", FOLDERS)
@pytest.mark.parametrize("pattern", ["", "train-0.parquet", "train-*.parquet", "*", "train-[012].parquet"])
def test_folders_may_have_any_name(tmp_path: Path, folder: str, pattern: str) -> None:
    shards(tmp_path / folder / "data", NAMES)
    images = load(tmp_path / folder / "data" / pattern)
    expected = pictures(COUNT)[: 4 if pattern == "train-0.parquet" else COUNT]
    assert torch.equal(images, torch.from_numpy(expected.transpose(0, 3, 1, 2)))


@pytest.mark.parametrize(
    ("names", "pattern", "count"),
    [
        (["tr[1]-0.parquet", "tr[1]-1.parquet"], "tr[1]-*.parquet", 12),
        (["[a]-0.parquet", "[a]-1.parquet"], "[[]a[]]-*.parquet", 12),
        (["[a]-0.parquet", "[a]-1.parquet"], "[a]-0.parquet", 6),
        (["a-0.parquet", "b-1.parquet"], "[ab]-*.parquet", 12),
        (["a-0.PARQUET", "._a-1.parquet"], "", 6),
        (["a-0.parquet", "._a-1.parquet"], "*.parquet", 6),
        (["a-0.parquet", ".a/a-1.parquet"], "**/*.parquet", 6),
        (["x.data", "y.data"], "*.data", 12),
    ],
)
def test_patterns_and_names_with_brackets(tmp_path: Path, names: list[str], pattern: str, count: int) -> None:
    shards(tmp_path / "[d]", names)
    assert len(load(tmp_path / "[d]" / pattern)) == count


def test_patterns_of_folders(tmp_path: Path) -> None:
    shards(tmp_path / "[d]" / "a", NAMES[:2])
    shards(tmp_path / "[d]" / "b", NAMES[:2])
    assert len(load(tmp_path / "[d]" / "*" / "*.parquet")) == 24
    assert len(load(tmp_path / "[d]" / "**" / "*.parquet")) == 24
    with pytest.raises(DataError, match="this folder has no file that ends with"):
        load(tmp_path / "[d]")
    with pytest.raises(DataError, match="no such file"):
        load(tmp_path / "[e]" / "*.parquet")


def test_a_folder_that_cannot_be_read_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(DataError, match=r"data\.train .*: this folder cannot be read: Permission denied"):
        load(tmp_path)


def test_the_names_of_one_shard_are_those_of_all(tmp_path: Path) -> None:
    shards(tmp_path / "train", NAMES)
    shards(tmp_path / "test", NAMES[:1])
    settings = DataSettings(
        name="parquet", train=str(tmp_path / "train"), test=str(tmp_path / "test"), validation=0.5
    )
    assert load_development(settings).classes == ("cat", "dog")
    assert load_test(settings).labels.tolist() == LABELS.to_pylist()
