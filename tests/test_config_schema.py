from __future__ import annotations

import dataclasses
import re
import sys
from pathlib import Path
from typing import Any, cast

import pytest
from config_files import changed, faults, least, load, searched, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from morel_search.config import ResourceSettings, SearchSettings, load_space
from morel_search.errors import SpaceError
from morel_search.training.data_settings import DATA_NAMES
from morel_search.training.names import ACCURACY_LOSSES, NETWORK_NAMES
from morel_search.training.settings import DataSettings, EvaluationSettings, TrainSettings

SECTIONS = {
    "data": DataSettings,
    "train": TrainSettings,
    "evaluation": EvaluationSettings,
    "search": SearchSettings,
    "resources": ResourceSettings,
}
NOR = "nor timm/NAME, torchvision/NAME or an import path package.module:name"
SIGNS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
LIMITED = [
    (section, field.name, sign, field.metadata[sign])
    for section, cls in SECTIONS.items()
    for field in dataclasses.fields(cls)
    for sign in ("ge", "gt", "le", "lt")
    if sign in field.metadata
]


@pytest.mark.parametrize(
    ("section", "values", "sentence"),
    [
        ("train", {"epochs": 0}, "train.epochs: must be >= 1, got 0"),
        ("train", {"epochs": "3"}, "train.epochs: must be a whole number, got the text '3'"),
        ("train", {"epochs": 3.0}, "train.epochs: must be a whole number, got 3.0"),
        ("train", {"epochs": True}, "train.epochs: must be a whole number, got true"),
        ("train", {"epochs": None}, "train.epochs: must be a whole number, got null"),
        ("train", {"lr": True}, "train.lr: must be a number, got true"),
        ("train", {"lr": "0.1"}, "train.lr: must be a number, got the text '0.1'"),
        ("train", {"lr": [0.1]}, "train.lr: must be a number, got a list"),
        ("train", {"lr": {"low": 1}}, "train.lr: must be a number, got a mapping"),
        ("train", {"lr": 0}, "train.lr: must be > 0, got 0"),
        ("train", {"momentum": 1}, "train.momentum: must be < 1, got 1"),
        ("train", {"temperature": 0}, "train.temperature: must be > 0, got 0"),
        ("train", {"epoch": 3}, "train.epoch: unknown key; did you mean epochs?"),
        (
            "train",
            {"schedule": "cosin"},
            "train.schedule: must be cosine, one_cycle, step or constant, got the text 'cosin'; did you "
            "mean cosine?",
        ),
        ("train", {"schedule_drops": 0.5}, "train.schedule_drops: must be a list, got 0.5"),
        (
            "train",
            {"schedule_drops": [0.5, "x"]},
            "train.schedule_drops[1]: must be a number, got the text 'x'",
        ),
        (
            "train",
            {"schedule_drops": [0.9, 0.5]},
            "train.schedule_drops: must be increasing fractions between 0 and 1, got [0.9, 0.5]",
        ),
        ("train", {"attention_heads": 3}, "train: attention_heads must divide embedding_dim, got 3 and 128"),
        ("train", [1], "train: must be a mapping of settings (name: value)"),
        ("data", {}, "data.name: must be given"),
        (
            "data",
            {"name": "digit"},
            f"data.name: must be {', '.join(DATA_NAMES)} or huggingface/OWNER/NAME, got the text 'digit'; "
            "did you mean digits?",
        ),
        (
            "data",
            {"name": "digits", "download": "no"},
            "data.download: must be true or false, got the text 'no'",
        ),
        ("data", {"name": "digits", "validation": 0}, "data.validation: must be > 0, got 0"),
        (
            "data",
            {"name": "digits", "validation": 1.5},
            "data.validation: must be a fraction below 1 or a whole number of images, got 1.5",
        ),
        (
            "data",
            {"name": "digits", "validation": 100, "limit": 100},
            "data.validation: must be below data.limit, which is 100, got 100: no image is left to train on",
        ),
        ("data", {"name": "digits", "folder": 3}, "data.folder: must be a text, got 3"),
        ("search", {"population": 1}, "search.population: must be >= 2, got 1"),
        (
            "search",
            {"population": 2, "crossover": "undx"},
            "search: population must be >= 3 for undx, which takes 3 parents, got 2",
        ),
        ("search", {"seed": 2**32}, "search.seed: must be <= 4294967295, got 4294967296"),
        ("resources", {"gpu": 1.5}, "resources: gpu must be a whole number, or a fraction below 1, got 1.5"),
        ("resources", {"cpu": 2.5}, "resources: cpu must be a whole number, or a fraction below 1, got 2.5"),
        ("resources", {"cpu": 0}, "resources.cpu: must be >= 0.01, got 0"),
        ("resources", {"cpu": 5e-324}, "resources.cpu: must be >= 0.01, got 5e-324"),
        ("resources", {"gpu": 0.001}, "resources: gpu must be 0, or at least 0.01, got 0.001"),
        (
            "network",
            {"name": "resnet81"},
            f"network.name: is neither one of {', '.join(NETWORK_NAMES)} {NOR}, got the text 'resnet81'; "
            f"did you mean resnet18?",
        ),
        (
            "network",
            {"name": "vit", "options": [1]},
            "network.options: must be a mapping (name: value), got a list",
        ),
        (
            "evaluation",
            {"step_size": "1/255", "step_ratio": 2},
            "evaluation.step_ratio: has no effect beside step_size; remove one of the two",
        ),
    ],
)
def test_one_fault_in_the_users_words(tmp_path: Path, section: str, values: Any, sentence: str) -> None:
    assert faults(tmp_path, changed(**{section: values})) == (sentence,)


def test_sections_that_are_absent_or_unknown(tmp_path: Path) -> None:
    content = least()
    content["paramters"] = content.pop("parameters")
    del content["data"]
    assert faults(tmp_path, content) == (
        "data: this section must be given",
        "parameters: this section must be given",
        "paramters: unknown section; did you mean parameters?",
    )


@pytest.mark.parametrize("name", ["parquet", "image_folder"])
def test_files_must_be_named(tmp_path: Path, name: str) -> None:
    found = faults(tmp_path, changed(data={"name": name}))
    assert [fault.partition(":")[0] for fault in found] == ["data.train", "data.test"]


def test_every_fault_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    content = changed(
        train={"epochs": 0, "lr": -1, "betta": 1}, search={"trials": 0}, evaluation={"epsilon": "8/0"}
    )
    with pytest.raises(SpaceError) as caught:
        load_space(write(tmp_path, content))
    lines = [int(line) for fault in caught.value.faults for line in re.findall(r"\(line (\d+)\)$", fault)]
    assert len(lines) == len(caught.value.faults)
    assert len(lines) == 5
    assert lines == sorted(lines)
    assert str(caught.value).splitlines()[0] == f"{tmp_path / 'space.yaml'}: 5 faults"


@pytest.mark.parametrize(("section", "name", "sign", "limit"), LIMITED)
def test_every_limit_of_the_settings_holds_at_the_door(
    tmp_path: Path, section: str, name: str, sign: str, limit: float
) -> None:
    outside = {"ge": limit - 1, "gt": limit, "le": limit + 1, "lt": limit}[sign]
    base = {"name": "digits"} if section == "data" else {}
    (fault,) = [
        fault
        for fault in faults(tmp_path, changed(**{section: {**base, name: outside}}))
        if fault.startswith(f"{section}.{name}: ")
    ]
    assert fault == f"{section}.{name}: must be {SIGNS[sign]} {limit}, got {outside}"


numbers = st.one_of(st.integers(-3, 300), st.floats(-2, 300), st.sampled_from([0.0, 1.0, -0.0, 0.5, 1e-12]))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(
        [
            f.name
            for f in dataclasses.fields(TrainSettings)
            if "choices" not in f.metadata
            and f.metadata.keys() & {"ge", "gt"}
            and f.name not in ("epsilon", "step_size")
        ]
    ),
    numbers,
)
def test_the_door_agrees_with_the_settings(tmp_path: Path, name: str, value: float) -> None:
    """The space file and the settings class accept the same values; only the space file checks types."""
    default = getattr(TrainSettings(), name)
    whole = isinstance(default, int)
    try:
        TrainSettings(**cast(Any, {name: value}))
        fits = not (whole and isinstance(value, float))
    except ValueError:
        fits = False
    try:
        space = load(
            tmp_path,
            changed(
                train={name: value},
                parameters={"optimizer": {"type": "categorical", "choices": ["sgd", "adamw"]}},
            ),
        )
    except SpaceError:
        assert not fits or (name in ("k_robust", "k_accuracy") and value == 0)
    else:
        assert fits
        assert getattr(space.train, name) == value


def test_import_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_objectives.py").write_text(
        "def swap(): ...\nnumber = 3\nclass Kind:\n    @staticmethod\n    def inner(): ...\n"
    )
    (tmp_path / "my_broken.py").write_text("raise RuntimeError('two\\nlines')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("my_objectives:swap", "my_objectives:Kind.inner"):
        assert (
            load(tmp_path, changed(train={"accuracy_loss": name}, network={"name": name})).network.name
            == name
        )
    wrong = {
        "my_objectives:swop": "cannot be imported: my_objectives has no swop; did you mean swap?",
        "my_objectives:number": "cannot be called",
        "my_absent:swap": "cannot be imported: there is no module my_absent",
        "my_broken:swap": "cannot be imported: RuntimeError: two lines",
        "my objectives:swap": "is not an import path of the form package.module:name",
        ":": "is not an import path of the form package.module:name",
        "..os:system": "is not an import path of the form package.module:name",
    }
    for name, sentence in wrong.items():
        content = changed(train={"accuracy_loss": name}, network={"name": name}, controls=[])
        assert faults(tmp_path, content) == tuple(
            f"{place}: {sentence}, got the text {name!r}" for place in ("network.name", "train.accuracy_loss")
        )
    sys.modules.pop("my_objectives")


def test_an_unknown_objective_suggests_the_nearest(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, changed(train={"accuracy_loss": "tardes"}))
    assert fault.startswith(
        f"train.accuracy_loss: is neither one of {', '.join(ACCURACY_LOSSES)} nor an import path"
    )
    assert fault.endswith("did you mean trades?")


def test_whole_numbers_are_fine_for_numbers(tmp_path: Path) -> None:
    space = load(tmp_path, changed(train={"lr": 1, "beta": 3}, resources={"cpu": 2, "gpu": 0.25}))
    assert (space.train.lr, space.train.beta, space.resources.cpu) == (1.0, 3.0, 2.0)
    assert all(isinstance(value, float) for value in (space.train.lr, space.train.beta, space.resources.cpu))


MAGNITUDE = "must be 0, or between 1e-30 and 1e+30 in magnitude"


@pytest.mark.parametrize("value", ["1e400", "1e300", "1e300/1e-300", "-1e31", 1.7e308, 1e-31, 5e-324])
@pytest.mark.parametrize(
    ("section", "name"),
    [("train", "epsilon"), ("train", "lr"), ("evaluation", "step_size"), ("data", "validation")],
)
def test_a_number_that_no_training_can_compute_with_is_refused(
    tmp_path: Path, section: str, name: str, value: Any
) -> None:
    if isinstance(value, str) and name in ("lr", "validation"):
        value = 1e31
    given = {"name": "digits", name: value} if section == "data" else {"norm": "l2", name: value}
    (fault,) = faults(tmp_path, changed(**{section: given}))
    assert fault.startswith(f"{section}.{name}: {MAGNITUDE}, got ")


@pytest.mark.parametrize("bounds", [(0.0, 1.7e308), (-1.7e308, 1.7e308), (5e-324, 1.0)])
def test_a_range_that_no_training_can_compute_with_is_refused(
    tmp_path: Path, bounds: tuple[float, float]
) -> None:
    low, high = bounds
    entry = {"type": "float", "low": low, "high": high}
    assert all(MAGNITUDE in fault for fault in faults(tmp_path, searched(reference_robust=entry)))


@pytest.mark.parametrize("bound", [">= 1e400", "<= 1e-400"])
def test_a_bound_that_no_number_can_have_is_refused(tmp_path: Path, bound: str) -> None:
    (fault,) = faults(tmp_path, changed(constraints={"seconds": bound}))
    assert fault == f"constraints.seconds: {MAGNITUDE}"


def test_a_message_lists_a_limited_number_of_faults(tmp_path: Path) -> None:
    with pytest.raises(SpaceError) as caught:
        load_space(write(tmp_path, changed(train={f"unknown_{number}": 1 for number in range(3000)})))
    assert len(caught.value.faults) == 3000
    *_, last_fault, rest = str(caught.value).splitlines()
    assert "unknown_29" in last_fault
    assert rest.strip() == "and 2970 more; correct these first"
