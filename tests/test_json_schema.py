"""The JSON Schema of a space file: what it accepts and refuses, against the check that reads the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from config_files import SHIPPED, changed, faults, least, load, searched
from ruamel.yaml import YAML

from morel_search.__main__ import main
from morel_search.config.json_schema import json_schema, schema_text

jsonschema = pytest.importorskip("jsonschema")
SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)


def problems(content: Any) -> list[str]:
    return [error.message for error in VALIDATOR.iter_errors(content)]


def test_it_is_a_schema_and_the_file_is_that_of_the_settings(capsys: pytest.CaptureFixture[str]) -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert json.loads(schema_text()) == SCHEMA
    file = SHIPPED[0].parent / "space.schema.json"
    assert file.read_text(encoding="utf-8") == schema_text(), "run python scripts/update_docs.py"
    assert main(["schema"]) == 0
    assert capsys.readouterr().out == schema_text()


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_spaces_are_valid(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# yaml-language-server: $schema=space.schema.json\n")
    assert problems(YAML(typ="safe", pure=True).load(text)) == []


FLOAT = {"type": "float", "low": 0, "high": 1}


@pytest.mark.parametrize(
    "content",
    [
        least(),
        changed(train=None, search={}, controls=None, constraints=None),
        changed(network={"name": "torchvision/resnet18", "options": {"zero_init_residual": True}}),
        changed(network={"name": "torch.nn:Linear"}),
        changed(train={"schedule_drops": [0.5, 0.75], "step_size": None, "epsilon": "8/255"}),
        changed(train={"accuracy_loss": "torch.nn.functional:cross_entropy"}),
        changed(constraints={"clean_accuracy": ">= 0.8", "epsilon": "<= 8/255"}),
        changed(controls={"trades": None, "mine": {"accuracy_loss": "pgd", "epsilon": "4/255"}}),
        changed(controls=["trades", {"mine": {"lr": 0.1}}]),
        changed(early_stopping={"keep": None}),
        changed(search={"start_from": [{"k_robust": 0.5}]}),
        searched(epsilon={"type": "float", "low": 0, "high": "12/255", "step": "1/255"}),
        searched(epsilon={"type": "categorical", "choices": ["1/255", "8/255"]}),
        searched(batch_size={"type": "int", "low": 16, "high": 64, "log": True}),
        searched(
            accuracy_loss={"type": "categorical", "choices": ["trades", "loat"]},
            beta={**FLOAT, "when": {"accuracy_loss": "trades", "epsilon": {"low": "1/255"}}},
            loat_theta={**FLOAT, "when": {"accuracy_loss": ["loat"]}},
        ),
        searched(
            **{
                "network.options.width": {"type": "int", "low": 8, "high": 32, "step": 8},
                "network.options.pooling": {"type": "categorical", "choices": ["flatten", "global"]},
                "network.options.dropout": {**FLOAT, "when": {"network.options.width": {"low": 16}}},
                "data.augmentation": {"type": "categorical", "choices": ["none", "crop"]},
                "beta": {**FLOAT, "when": {"network.options.pooling": "global", "data.augmentation": "crop"}},
            }
        ),
    ],
)
def test_valid_spaces(tmp_path: Path, content: Any) -> None:
    load(tmp_path, content)
    assert problems(content) == []


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        {"data": {"name": "digits"}},
        changed(trian={}),
        changed(data={}),
        changed(data={"name": "digit"}),
        changed(data={"name": "digits", "folder": 3}),
        changed(network={"name": "resnet81"}),
        changed(network={"name": "timm/"}),
        changed(network={"name": "vit", "options": [1]}),
        changed(train=[1]),
        changed(train={"epochs": 0}),
        changed(train={"epochs": "3"}),
        changed(train={"epochs": True}),
        changed(train={"epochs": None}),
        changed(train={"lr": 0}),
        changed(train={"lr": "0.1"}),
        changed(train={"momentum": 1}),
        changed(train={"epoch": 3}),
        changed(train={"schedule": "cosin"}),
        changed(train={"schedule_drops": 0.5}),
        changed(train={"schedule_drops": [0.5, "x"]}),
        changed(train={"accuracy_loss": "my loss"}),
        changed(train={"epsilon": "8 of 255"}),
        changed(search={"population": 1}),
        changed(search={"start_from": 3}),
        changed(resources={"cpu": 0}),
        changed(parameters={}),
        changed(constraints={"clean_accuracy": 0.8}),
        changed(constraints={"accuracy": ">= 0.8"}),
        changed(controls="trades"),
        changed(controls=["tradse"]),
        changed(controls={"mine": {"epoch": 3}}),
        searched(k_robust={"low": 0, "high": 1}),
        searched(k_robust={"type": "float", "low": 0}),
        searched(k_robust={**FLOAT, "hihg": 2}),
        searched(k_robust={**FLOAT, "low": -1}),
        searched(k_robust={**FLOAT, "step": 0}),
        searched(k_robust={**FLOAT, "choices": [0, 1]}),
        searched(k_robust={**FLOAT, "when": {"accuracy_los": "pgd"}}),
        searched(k_robust={**FLOAT, "when": {"accuracy_loss": {"low": 1}}}),
        searched(k_robustt=FLOAT),
        searched(**{"network.options": FLOAT}),
        searched(**{"network.options.a-b": FLOAT}),
        searched(**{"network.name": {"type": "categorical", "choices": ["vit", "small_cnn"]}}),
        searched(**{"network.options.width": {"type": "categorical", "choices": [2, None]}}),
        searched(**{"network.options.width": {"type": "int", "low": "a", "high": 3}}),
        searched(**{"data.augmentation": {"type": "categorical", "choices": ["none", "crap"]}}),
        searched(**{"data.seed": {"type": "int", "low": 1, "high": 3}}),
        searched(k_robust={**FLOAT, "when": {"network.width": 2}}),
        searched(accuracy_loss={"type": "categorical", "choices": ["trades"]}),
        searched(accuracy_loss={"type": "categorical", "choices": ["trades", "tradse"]}),
        searched(accuracy_loss={"type": "int", "low": 1, "high": 2}),
        searched(batch_size={"type": "float", "low": 16, "high": 64}),
    ],
)
def test_mistakes_are_refused_here_and_there(tmp_path: Path, content: Any) -> None:
    assert faults(tmp_path, content)
    assert problems(content)


def test_old_names_are_accepted_and_marked() -> None:
    content = changed(search={"point": "front"})
    assert problems(content) == []
    keys: Any = SCHEMA["properties"]
    assert keys["search"]["properties"]["point"]["deprecated"] is True


def test_each_key_has_its_meaning_and_default() -> None:
    keys: Any = SCHEMA["properties"]
    epsilon = keys["train"]["properties"]["epsilon"]
    assert epsilon["default"] == "8/255"
    assert "radius" in epsilon["description"]
    assert keys["data"]["required"] == ["name"]
