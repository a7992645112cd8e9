from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from morel_search.config.constraints import MEASURED
from morel_search.config.controls import BUILT_IN
from morel_search.config.fields import document, field_table
from morel_search.config.sections import SECTIONS


@pytest.mark.parametrize("section", SECTIONS)
def test_every_field_stands_in_its_table(section: str) -> None:
    rows = [row.split(" | ") for row in field_table(section).splitlines()[2:]]
    settings = SECTIONS[section]
    if settings is not None:
        expected = {field.name: field.metadata["doc"] for field in dataclasses.fields(settings)}
        assert {row[0].strip("| `"): row[-1].removesuffix(" |") for row in rows} == expected
    elif section == "controls":
        assert [row[0].strip("| `") for row in rows] == list(BUILT_IN)
    elif section == "constraints":
        assert [row[0].strip("| `") for row in rows][:-1] == list(MEASURED)
    elif section == "rivals":
        assert [row[0].strip("| ") for row in rows] == ["text", "text", "mapping"]
    else:
        assert [row[0].strip("| `") for row in rows] == [
            "type",
            "low",
            "high",
            "log",
            "step",
            "choices",
            "when",
        ]


def test_some_rows_in_full() -> None:
    train = field_table("train")
    assert "| `temperature` | number > 0 | `0.1` | temperature tau of the contrastive loss |" in train
    epsilon = "radius of the training attack, in units of the pixel range [0, 1]"
    assert f"| `epsilon` | rational >= 0 | `8/255` | {epsilon} |" in train
    assert "| `step_size` | rational >= 0, or null | `null` |" in train
    assert "| `schedule_drops` | list | `[0.75, 0.9]` |" in train


def test_the_module_prints_them() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "morel_search.config"], capture_output=True, text=True, check=True
    )
    assert done.stdout == document()
    assert [line for line in done.stdout.splitlines() if line.startswith("### ")] == [
        f"### `{name}`" for name in SECTIONS
    ]
