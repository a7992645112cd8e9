"""``morel-search init --data``: a space file from what the data holds."""

from __future__ import annotations

import importlib.util
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from image_files import encoded
from PIL import Image
from ruamel.yaml import YAML

from morel_search.__main__ import main
from morel_search.config import Space, load_space
from morel_search.config.json_schema import json_schema
from morel_search.workflows import preflight

RANDOM = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def pixels(height: int, width: int, *, colour: bool) -> np.ndarray:
    shape = (height, width, 3) if colour else (height, width)
    return RANDOM.integers(0, 256, shape).astype(np.uint8)


def image_folder(
    root: Path, counts: dict[str, int], sizes: list[tuple[int, int]], *, colour: bool = True
) -> None:
    for name, count in counts.items():
        folder = root / name
        folder.mkdir(parents=True)
        for number in range(count):
            Image.fromarray(pixels(*sizes[number % len(sizes)], colour=colour)).save(folder / f"{number}.png")


def parquet(path: Path, count: int, side: int = 12) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [{"bytes": encoded(pixels(side, side, colour=False))} for _ in range(count)]
    labels = [("even", "odd")[number % 2] for number in range(count)]
    pq.write_table(pa.table({"image": images, "label": labels}), path)


def made(*words: str, out: str = "mine.yaml") -> Space:
    assert main(["init", out, *words]) == 0
    space = load_space(Path(out))
    assert not [warning for warning in space.warnings if "validation" not in warning]
    try:
        import jsonschema
    except ImportError:
        return space
    content = YAML(typ="safe", pure=True).load(Path(out).read_text(encoding="utf-8"))
    assert not [*jsonschema.Draft7Validator(json_schema()).iter_errors(content)]
    return space


def test_image_folders_of_different_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [(50, 60), (70, 52), (200, 55)]
    image_folder(Path("images/train"), {"cat": 30, "dog": 20, "wombat": 2}, sizes)
    image_folder(Path("images/test"), {"cat": 4, "dog": 4, "wombat": 1}, sizes)
    space = made("--data", "images")
    assert (space.data.name, space.data.train, space.data.test) == (
        "image_folder",
        "images/train",
        "images/test",
    )
    assert space.data.image_size == 48, "the largest of 32, 48 and 64 that most images reach"
    text = Path("mine.yaml").read_text(encoding="utf-8")
    head = text.split("\ndata:")[0].replace("\n# ", " ")
    assert "52 training images and 9 test images of 3 classes, in colour" in head
    assert "shorter side 50 to 55, median 52 pixels" in head
    assert "2 to 30 training images in a class" in head
    assert "The class wombat is rare" in head
    assert "morel-search run --space mine.yaml --dry-run" in head
    assert "52 training images and 9 test images, 3 classes, in colour, 48 x 48 pixels" in (
        capsys.readouterr().out
    )
    assert space.network.name == "small_cnn"
    assert float(space.evaluation.epsilon) == pytest.approx(8 / 255)
    # Uniform noise, scaled down a little.
    assert space.network.options["mean"] == pytest.approx([0.5] * 3, abs=0.03)


def test_parquet_files_as_a_hub_names_them() -> None:
    parquet(Path("set/data/train-00000-of-00002.parquet"), 60)
    parquet(Path("set/data/train-00001-of-00002.parquet"), 60)
    parquet(Path("set/data/test-00000-of-00001.parquet"), 20)
    space = made("--data", "set")
    assert (space.data.name, space.data.train) == ("parquet", "set/data/train*.parquet")
    assert space.data.test == "set/data/test-00000-of-00001.parquet"
    assert space.data.image_size is None, "all images have the same size"
    assert float(space.evaluation.epsilon) == 0.1
    found = preflight.inspect(space)
    assert (found.image_shape, found.classes, found.train + found.validation) == ((1, 12, 12), 2, 120)


def test_two_files_and_a_network() -> None:
    parquet(Path("a b.parquet"), 40, side=32)
    parquet(Path("c: d.parquet"), 10, side=32)
    words = ["--data", "a b.parquet", "--test", "c: d.parquet", "--network"]
    space = made(*words, "torchvision/shufflenet_v2_x0_5")
    assert (space.data.train, space.data.test) == ("a b.parquet", "c: d.parquet")
    assert (space.network.name, space.train.optimizer) == ("torchvision/shufflenet_v2_x0_5", "adamw")
    if importlib.util.find_spec("timm") is not None:
        assert made(*words, "timm/test_resnet", out="other.yaml").network.name == "timm/test_resnet"


def grey_folders() -> None:
    for split, count in (("train", 40), ("validation", 4)):
        image_folder(Path("data", split), {"a": count, "b": count}, [(16, 16)], colour=False)


def colour_folders() -> None:
    for split, count in (("train", 30), ("test", 4)):
        image_folder(Path("data", split), dict.fromkeys("abc", count), [(36, 40), (50, 33)])


def grey_parquet() -> None:
    parquet(Path("data/train-00000-of-00001.parquet"), 60)
    parquet(Path("data/test-00000-of-00001.parquet"), 20)


def colour_arrow() -> None:
    for split, count in (("train", 60), ("test", 20)):
        Path("data", split).mkdir(parents=True)
        images = [{"bytes": encoded(pixels(32, 32, colour=True))} for _ in range(count)]
        table = pa.table({"image": images, "label": [number % 2 == 0 for number in range(count)]})
        file = f"data/{split}/data-00000-of-00001.arrow"
        with pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)


def colour_arrays() -> None:
    arrays: dict[str, np.ndarray] = {}
    for split, count in (("train", 60), ("test", 20)):
        arrays[f"x_{split}"] = RANDOM.random((count, 3, 20, 24)).astype(np.float32)
        arrays[f"y_{split}"] = np.arange(count) % 3
    np.savez("data.npz", **arrays)


KINDS: dict[str, tuple[Callable[[], None], str, str]] = {
    "grey folders": (grey_folders, "image_folder", "1x16x16, 2 classes"),
    "colour folders": (colour_folders, "image_folder", "3x32x32, 3 classes"),
    "grey Parquet": (grey_parquet, "parquet", "1x12x12, 2 classes"),
    "colour Arrow": (colour_arrow, "parquet", "3x32x32, 2 classes"),
    "colour arrays": (colour_arrays, "npz", "3x20x24, 3 classes"),
}


@pytest.mark.parametrize(
    ("kind", "network"),
    [*((kind, None) for kind in KINDS), ("colour Arrow", "torchvision/shufflenet_v2_x0_5")],
)
def test_the_dry_run_of_the_file(kind: str, network: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    write, name, shape = KINDS[kind]
    write()
    data = "data" if Path("data").exists() else "data.npz"
    space = made("--data", data, *(["--network", network] if network else []))
    assert space.data.name == name
    capsys.readouterr()
    assert main(["run", "--space", "mine.yaml", "--dry-run", "--set", "train.lr=1e-5"]) == 0
    plan = capsys.readouterr().out
    assert f"data         {name}: " in plan
    assert shape in plan
    assert f"network      {network or 'small_cnn'}: " in plan
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--data", "nowhere"], "--data nowhere: no such file or folder"),
        (["--data", "one"], "--data one has no training and test images side by side"),
        (
            ["--data", "one/a/0.png"],
            "one split; write a space file with morel-search init my_space.yaml --data TRAIN --test TEST",
        ),
        (["--data", "one", "--test", "nowhere"], "--test nowhere: no such file or folder"),
        (["--data", "one", "--test", "one"], "is the folder of the training images"),
        (["--data", "one/a", "--test", "one"], "must have folders of at least two classes"),
        (["--data", "one", "--test", "two", "--network", "resnet50"], "did you mean torchvision/resnet50?"),
        (["--data", "one", "--test", "two", "--network", "torchvision/vgg11x"], "is not in torchvision"),
        (["--data", "one", "--test", "two", "--out", "other.yaml"], "--out names another one"),
        (["--network", "vit"], "--network needs --data"),
        (["--test", "two"], "--test needs --data"),
    ],
)
def test_mistakes(capsys: pytest.CaptureFixture[str], words: list[str], sentence: str) -> None:
    for name in ("one", "two"):
        image_folder(Path(name), {"a": 8, "b": 8}, [(16, 16)])
    assert main(["init", "mine.yaml", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not Path("mine.yaml").exists()


@pytest.mark.parametrize("train", ["true", "Null", ".5e3", ".inf", "1", "a b", "ä", "é'\"\\", "a: b #c"])
def test_the_file_names_every_printable_path(train: str) -> None:
    for name in (train, "no"):
        image_folder(Path(name), {"a": 8, "b": 8}, [(16, 16)])
    path = "a space's file.yaml"
    data = made("--data", train, "--test", "no", out=path).data
    assert (data.train, data.test) == (train, "no")
    command = f"morel-search run --space {shlex.quote(path)} --dry-run"
    assert command in Path(path).read_text(encoding="utf-8")


@pytest.mark.parametrize("train", ["a\x7fb", "a\x1b[31m", "a\u2028b", "a\x85b"])
def test_a_path_that_no_space_file_can_name_is_one_sentence(
    capsys: pytest.CaptureFixture[str], train: str
) -> None:
    for name in (train, "test"):
        image_folder(Path(name), {"a": 8, "b": 8}, [(16, 16)])
    assert main(["init", "mine.yaml", "--data", train, "--test", "test"]) == 2
    assert "has an unprintable character, so a space file cannot name it" in capsys.readouterr().err
    assert not Path("mine.yaml").exists()


@pytest.mark.parametrize("rare", ["a\x1bz", "\x7f", "a\u2028b", "\udcff", "# a: b"])
def test_a_hostile_class_name_stays_in_its_comment(rare: str) -> None:
    image_folder(Path("images/train"), {rare: 4, "common": 60}, [(16, 16)])
    image_folder(Path("images/test"), {rare: 4, "common": 4}, [(16, 16)])
    made("--data", "images")
    assert "is rare" in Path("mine.yaml").read_text(encoding="utf-8")


def test_a_file_that_exists_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.yaml").write_text("mine")
    assert main(["init", "mine.yaml", "--data", "images"]) == 2
    assert "mine.yaml exists already" in capsys.readouterr().err
    assert Path("mine.yaml").read_text() == "mine"
