from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from config_files import changed, faults, least, load, searched

FILE = {
    **searched(
        alpha={"type": "float", "low": 1, "high": 2},
        accuracy_loss={"type": "categorical", "choices": ["mart", "loat"]},
    ),
    "train": {"epochs": 5},
    "controls": {"mart": None, "mine": {"beta": 2}},
}


def test_values_are_laid_over_the_file(tmp_path: Path) -> None:
    overrides = (
        "train.epochs=3",
        "train.epochs=4",
        "evaluation.epsilon=8/255",
        "search.trials=30",
        "network.options.width=8",
        "network.options.deep={a: [1, 2]}",
        "parameters.alpha.high=5",
        "parameters.beta={type: float, low: 1, high: 8}",
        "parameters.beta.when.accuracy_loss=[loat]",
        "controls.mine.beta=3",
        "controls.none=",
        "train.step_size=null",
        "data.folder=a=b",
    )
    space = load(tmp_path, FILE, overrides)
    assert space.overrides == overrides
    assert space.train.epochs == 4
    assert space.evaluation.epsilon == Fraction(8, 255)
    assert space.search.trials == 30
    assert space.network.options == {"width": 8, "deep": {"a": [1, 2]}}
    assert {p.name: p.high for p in space.parameters if p.kind == "float"} == {"alpha": 5.0, "beta": 8.0}
    assert next(p for p in space.parameters if p.name == "beta").when == {"accuracy_loss": ("loat",)}
    assert [control.name for control in space.controls] == ["mart", "mine", "none"]
    assert space.controls[1].overrides["beta"] == 3.0
    assert space.data.folder == "a=b"


def test_an_override_is_the_same_as_the_line_in_the_file(tmp_path: Path) -> None:
    within = load(tmp_path, changed(train={"epochs": 3, "lr": 0.25}, search={"seed": 7}))
    over = load(tmp_path, changed(train={"epochs": 9}), ["train.epochs=3", "train.lr=0.25", "search.seed=7"])
    assert over.describe() == within.describe()


def test_a_parameter_can_be_taken_out_of_the_search(tmp_path: Path) -> None:
    space = load(tmp_path, FILE, ["parameters.alpha=null", "train.alpha=0.5"])
    assert [parameter.name for parameter in space.parameters] == ["accuracy_loss"]
    assert space.train.alpha == 0.5


def test_a_whole_section(tmp_path: Path) -> None:
    space = load(tmp_path, FILE, ["controls=[trades]", "train={epochs: 2, lr: 0.5}"])
    assert [control.name for control in space.controls] == ["trades"]
    assert (space.train.epochs, space.train.lr) == (2, 0.5)


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("train.epocs=3", "--set train.epocs=3: there is no setting 'epocs'; did you mean epochs?"),
        ("trian.epochs=3", "--set trian.epochs=3: there is no section 'trian'; did you mean train?"),
        ("train.epochs", "--set 'train.epochs': write section.setting=value, such as train.epochs=3"),
        ("=3", "--set '=3': write section.setting=value, such as train.epochs=3"),
        (
            "train..epochs=3",
            "--set 'train..epochs=3': write section.setting=value, such as train.epochs=3",
        ),
        ("train.epochs.x=3", "--set train.epochs.x=3: epochs has no settings inside it"),
        (
            "parameters.alhpa.high=3",
            "--set parameters.alhpa.high=3: 'alhpa' is not a setting of train; did you mean alpha?",
        ),
        (
            "parameters.temperature.high=3",
            "--set parameters.temperature.high=3: temperature is not among the parameters of the file; "
            "known: alpha, accuracy_loss",
        ),
        (
            "parameters.alpha.hihg=3",
            "--set parameters.alpha.hihg=3: there is no setting 'hihg'; did you mean high?",
        ),
        ("parameters.alpha.high.x=3", "--set parameters.alpha.high.x=3: high has no settings inside it"),
        ("controls.mine.bta=3", "--set controls.mine.bta=3: there is no setting 'bta'; did you mean beta?"),
        (
            "train.epochs=[1",
            "--set train.epochs=[1: the value is not YAML: ",
        ),
        (
            "train.epochs=!!python/name:os.system",
            "--set train.epochs=!!python/name:os.system: the value is not YAML: "
            "the tag 'tag:yaml.org,2002:python/name:os.system' is not allowed; write plain values",
        ),
        ("train.epochs=0", "train.epochs: must be >= 1, got 0 (--set)"),
        ("train.epochs='3'", "train.epochs: must be a whole number, got the text '3' (--set)"),
        ("train.lr=.inf", "train.lr: must be a finite number, got the text '.inf' (--set)"),
        ("train={epochs: 1, epochs: 2}", "train.epochs: this key is given twice (--set)"),
        ("data=", "data.name: must be given (--set)"),
        ("search.trials", "--set 'search.trials': write section.setting=value, such as train.epochs=3"),
    ],
)
def test_what_cannot_be_set(tmp_path: Path, override: str, sentence: str) -> None:
    (fault,) = faults(tmp_path, FILE, [override])
    if override.endswith("[1"):
        assert fault.startswith(sentence)
    else:
        assert fault == sentence


def test_into_something_that_is_no_mapping(tmp_path: Path) -> None:
    content: dict[str, Any] = {**FILE, "controls": ["mart"]}
    assert faults(tmp_path, content, ["controls.mart.beta=3"]) == (
        "--set controls.mart.beta=3: controls is not a mapping in the file",
    )


def test_faults_of_file_and_overrides_come_together(tmp_path: Path) -> None:
    found = faults(tmp_path, {**FILE, "train": {"epochs": 0}}, ["train.lr=-1", "foo=1"])
    assert [fault.partition(":")[0] for fault in found] == ["--set foo=1", "train.lr", "train.epochs"]


def test_a_constraint_is_set_by_an_override(tmp_path: Path) -> None:
    (constraint,) = load(tmp_path, least(), ["constraints.clean_accuracy='>= 0.8'"]).constraints
    assert str(constraint) == "clean_accuracy >= 0.8"
    (fault,) = faults(tmp_path, least(), ["constraints.clean_acuracy='>= 0.8'"])
    assert fault.endswith("there is no setting 'clean_acuracy'; did you mean clean_accuracy?")
