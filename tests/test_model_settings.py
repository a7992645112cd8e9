"""The ``settings.json`` beside a network: kept to the key, checked when it is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from morel_search.errors import NetworkError
from morel_search.models.load import read_settings
from morel_search.models.sections import read_section
from morel_search.models.settings import ModelSettings
from morel_search.results.renamed import current_evaluation
from morel_search.training.settings import TrainSettings

ROBUST = Path(__file__).parent / "robust_network"
LEAST = {"format": 1, "network": {"name": "small_cnn"}}


def test_a_file_of_an_earlier_version_is_read() -> None:
    settings = read_settings(ROBUST)
    assert (settings.number, settings.epoch, settings.seed) == (0, 15, 0)
    assert settings.select_epoch == "best_sum"
    assert settings.image_shape == (1, 8, 8)
    assert settings.classes == tuple("0123456789")
    assert settings.train["epsilon"] == "1/5"
    assert settings.figures["test"]["images"] == 359
    assert settings.rungs is None
    assert settings.picked is None


def test_what_is_read_is_written_again() -> None:
    content = json.loads((ROBUST / "settings.json").read_text())
    content["select_epoch"] = content.pop("point")
    content["evaluation"] = current_evaluation(content["evaluation"])
    content |= {
        "rungs": [2, 4],
        "picked": {"why": "the knee", "figures": "verified"},
        "from_a_later_version": {"a": [1]},
    }
    content["figures"]["verified"] = {
        "clean_accuracy": 0.9,
        "robust_accuracy": None,
        "clean_interval": [0.8, 0.95],
        "robust_interval": [0.5, 0.6],
        "flags": "gradients vanish",
    }
    settings = ModelSettings.from_json(content)
    assert settings.unknown == {"from_a_later_version": {"a": [1]}}
    assert json.loads(json.dumps(settings.to_json())) == content
    assert ModelSettings.from_json(LEAST).to_json() == LEAST


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"seed": "7"}, "'seed' must be a whole number, got '7'"),
        ({"epoch": True}, "'epoch' must be a whole number, got True"),
        ({"train": [1]}, r"'train' must be an object, got \[1\]"),
        ({"device": 3}, "'device' must be a text, got 3"),
        ({"rungs": [1, "x"]}, "'rungs' must be a list of whole numbers"),
        ({"image_shape": [8, 8]}, r"'image_shape' must be three whole numbers, got \[8, 8\]"),
        ({"classes": "abc"}, "'classes' must be a list of texts"),
        (
            {"figures": {"test": {"clean_accuracy": "high"}}},
            "'figures.test.clean_accuracy' must be a number, got 'high'",
        ),
        (
            {"figures": {"test": {"clean_interval": [0.1]}}},
            "'figures.test.clean_interval' must be a list of two numbers",
        ),
        ({"figures": {"test": 0.9}}, r"'figures.test' must be an object, got 0\.9"),
        ({"picked": "the knee"}, "'picked' must be an object"),
        ({"versions": {"torch": 2}}, "'versions.torch' must be a text"),
        ({"format": "1"}, "'format' must be a whole number"),
        ({"format": None}, "has no whole number 'format'"),
        ({"format": 2}, "it has format 2, and this version reads formats up to 1"),
        ({"seed": "x" * 99}, r"got 'x{56}\.\.\.$"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, values: dict[str, Any], words: str) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({**LEAST, **values}))
    with pytest.raises(NetworkError, match=words) as caught:
        read_settings(tmp_path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("content", [[], "x", None, {}, {"format": 1}])
def test_other_json_is_no_settings(content: Any) -> None:
    with pytest.raises(NetworkError, match="is not the settings of a network"):
        ModelSettings.from_json(content)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"format": 1, "network": {"a": NaN}}', "NaN is not a number of JSON"),
        ('{"format": 1, "network": {"a": 1e400}}', "the number 1e400 is too large"),
        ('{"format": 1, "seed": ' + "9" * 5000 + "}", r"the number 9+\.\.\. is too large"),
        ('{"format": 1, "seed": 9223372036854775808}', "the number 9223372036854775808 is too large"),
        ("\udcff", "cannot be read"),
    ],
)
def test_json_that_no_file_of_the_project_holds(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "settings.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(NetworkError, match=rf"settings\.json cannot be read: .*{words}|{words}"):
        read_settings(tmp_path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epsilon": "1e999999999"}, "epsilon must be a number such as 8/255"),
        ({"epsilon": "8/0"}, "epsilon must be a number such as 8/255"),
        ({"epsilon": [1]}, "epsilon must be a number such as 8/255"),
        ({"epsilon": "1e300"}, "epsilon must be 0, or between 1e-30 and 1e"),
        ({"schedule_drops": [[0.5]]}, r"schedule_drops\[0\] must be of the type float"),
        ({"lr": 10**40}, "lr is too large"),
        ({"optimizer": ["sgd"]}, "optimizer must be one of sgd, adamw"),
    ],
)
def test_a_section_with_a_value_that_no_training_takes(values: dict[str, Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError), match=words):
        read_section(TrainSettings, values)
