"""Folders of ``Dataset.save_to_disk`` of the Hugging Face library: Arrow files with names of classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from image_files import encoded

from morel_search.__main__ import main
from morel_search.config import load_space
from morel_search.errors import DataError
from morel_search.training.datasets.loading import load_development, load_test
from morel_search.training.settings import DataSettings
from morel_search.workflows import preflight

RANDOM = np.random.default_rng(0)
NAMES = ["wombat", "cat"]


def pictures(count: int) -> list[np.ndarray]:
    """Colour images whose mean says their class: those of class 1 are bright."""
    return [RANDOM.integers(0, 128, (12, 12, 3)).astype(np.uint8) + 127 * (n % 2) for n in range(count)]


def write(path: Path, count: int, *, names: list[str] = NAMES, stream: bool = True) -> None:
    """Write a split as the library does, with a shard of another size beside the first."""
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    path.mkdir(parents=True)
    order = [names.index(name) for name in NAMES]
    for shard, part in enumerate((pictures(count), pictures(4))):
        images = [{"bytes": encoded(image), "path": None} for image in part]
        labels = pa.array([order[number % 2] for number in range(len(part))], pa.int64())
        table = pa.table({"image": images, "label": labels}).replace_schema_metadata(metadata)
        file = str(path / f"data-0000{shard}-of-00002.arrow")
        new = pa.ipc.new_stream if stream else pa.ipc.new_file
        with new(file, table.schema) as writer:
            writer.write_table(table)
    (path / "state.json").write_text("{}")
    (path / "dataset_info.json").write_text("{}")


def settings(**more: Any) -> DataSettings:
    return DataSettings(name="parquet", train="set/train", test="set/test", validation=10, **more)


def check(expected_train: int, expected_test: int) -> None:
    development, test = load_development(settings()), load_test(settings())
    assert len(development.train) + len(development.validation) == expected_train
    assert len(test) == expected_test
    assert sorted(development.classes) == ["cat", "wombat"]
    for images in (development.train, test):
        bright = images.images.float().mean((1, 2, 3)) > 127
        assert [development.classes[label] for label in images.labels] == [
            "cat" if is_bright else "wombat" for is_bright in bright
        ]


@pytest.mark.parametrize("stream", [True, False])
def test_a_saved_data_set_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("set/train"), 40, stream=stream)
    write(Path("set/test"), 10, names=NAMES[::-1], stream=stream)  # brought together by name
    check(44, 14)
    assert main(["init", "mine.yaml", "--data", "set"]) == 0
    space = load_space(Path("mine.yaml"))
    assert (space.data.name, space.data.train, space.data.test) == ("parquet", "set/train", "set/test")
    assert preflight.inspect(space).image_shape == (3, 12, 12)


def test_what_the_library_itself_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets: Any = pytest.importorskip("datasets")
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=NAMES))

    def split(count: int) -> Any:
        rows = {
            "image": [Image.fromarray(image) for image in pictures(count)],
            "label": [number % 2 for number in range(count)],
        }
        return datasets.Dataset.from_dict(rows, features=features)

    shuffled = split(44).shuffle(seed=1).select(range(40))
    datasets.DatasetDict(train=shuffled, test=split(14)).save_to_disk("set")
    check(40, 14)


def test_faults_are_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("set/train"), 40)
    write(Path("set/test"), 10)
    with pytest.raises(DataError, match="has no column pixels") as raised:
        load_development(settings(image_column="pixels"))
    file = Path("set/train/data-00000-of-00002.arrow")
    content = file.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"text"):
        file.write_bytes(damaged)
        with pytest.raises(DataError, match="cannot be read as an Arrow file") as raised:
            load_development(settings())
        assert "\n" not in str(raised.value)
