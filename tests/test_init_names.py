"""``morel-search init NAME`` for data sets by name: a space file from what they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_hub import NAME, Hub, hub, parquet, table
from test_torchvision_files import write
from test_torchvision_sets import write as write_arrays

from morel_search.__main__ import main
from morel_search.config import Space, load_space
from morel_search.workflows import preflight

__all__ = ["hub"]


def made(*words: str) -> Space:
    assert main(["init", *words]) == 0
    space = load_space(Path("mine.yaml" if "--out" in words else f"{words[0].rpartition('/')[2]}.yaml"))
    assert not [warning for warning in space.warnings if "validation" not in warning]
    assert preflight.inspect(space).classes > 1
    return space


def test_a_data_set_of_the_hub(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    commit = hub.commit(parquet(train=90, test=50))
    space = made(NAME)
    out, err = capsys.readouterr()
    assert out.startswith("90 training images and 50 test images, 2 classes, in colour, 8 x 8 pixels\n")
    assert commit in err
    assert (space.data.name, space.data.train, space.data.image_size) == (NAME, None, None)
    assert space.data.commit is None  # the search takes the newest, and notes it
    mean = float(np.mean(range(90))) / 255
    assert space.network.options["mean"] == pytest.approx([mean] * 3, abs=2e-3)


def test_a_subset_of_the_hub(hub: Hub, capsys: pytest.CaptureFixture[str]) -> None:
    entries = "".join(
        f"- {{config_name: {name}, data_files: [{{split: train, path: {name}-a.parquet}}, "
        f"{{split: test, path: {name}-b.parquet}}]}}\n"
        for name in ("few", "many")
    )
    files = {
        f"{name}-{part}.parquet": table("train", count)
        for name, count in (("few", 60), ("many", 90))
        for part in "ab"
    }
    hub.commit({"README.md": f"---\nconfigs:\n{entries}---\n".encode(), **files})
    assert main(["init", NAME]) == 2
    message = capsys.readouterr().err
    assert "few" in message
    assert "many" in message
    assert not Path("pictures.yaml").exists()
    space = made(NAME, "--subset", "few", "--out", "mine.yaml", "--network", "small_cnn")
    assert (space.data.subset, space.network.name) == ("few", "small_cnn")


@pytest.mark.parametrize("name", ["mnist", "emnist", "stl10"])
def test_arrays(name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    write_arrays(name, Path("data"), monkeypatch)
    space = made(name)
    assert (space.data.name, space.data.folder) == (name, "data")
    assert space.data.image_size == (64 if name == "stl10" else None)


@pytest.mark.parametrize("name", ["imagenette", "food101", "eurosat", "oxford_iiit_pet"])
def test_files_of_several_sizes(
    name: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(name, Path("data"), monkeypatch)
    space = made(name)
    assert space.data.image_size == (None if name == "eurosat" else 64)
    assert "in colour, 64 x 64 pixels" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["digits", "--subset", "a"], "--subset needs the name of a data set"),
        (["huggingface/mnist"], "did you mean huggingface/OWNER/NAME?"),
        (["mnist", "--test", "a"], "--test needs --data"),
        (["a.yaml", "--data", "b", "--subset", "c"], "--subset needs the name of a data set, not --data"),
        (["digits", "--network", "vit"], "--network needs --data or the name of a data set"),
    ],
)
def test_mistakes(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
