"""The plan says how a search proposes its trials, and how early stopping treats them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from config_files import changed, load

from morel_search.run import main
from morel_search.search.successive_halving import rungs_of
from morel_search.workflows.plan import _generations, _least_share, _stopping

DIGITS = Path(__file__).parents[1] / "search_spaces" / "digits.yaml"


@pytest.mark.parametrize(
    ("search", "text"),
    [
        ({"trials": 80}, "the first 20 by tpe, then population 20 (about 3.0 generations)"),
        ({"trials": 1000}, "the first 20 by tpe, then population 20 (about 49.0 generations)"),
        (
            {"trials": 80, "children": 1},
            "the first 32 by tpe, then population 20 (about 2.4 generations)",
        ),
        ({"trials": 30}, "the first 20 by tpe, then population 20 (about 0.5 generations)"),
        ({"trials": 10}, "the first 10 by tpe, then population 20 (about 0.0 generations)"),
        (
            {"trials": 80, "warmup": "sobol"},
            "the first 20 by sobol, then population 20 (about 3.0 generations)",
        ),
        ({"trials": 80, "sampler": "tpe"}, "the first 20 at random"),
        ({"trials": 80, "sampler": "random"}, ""),
    ],
)
def test_the_plan_says_how_trials_are_proposed(tmp_path: Path, search: dict[str, Any], text: str) -> None:
    assert _generations(load(tmp_path, changed(search=search)).search) == (f", {text}" if text else "")


@pytest.mark.parametrize(
    ("stopping", "epochs", "text", "least"),
    [
        ({}, 27, "the best 60% of the trials continue after 3 and 9 epochs", 3 + 0.6 * 6 + 0.36 * 18),
        ({"rungs": 1}, 9, "the best 60% of the trials continue after 1 epoch", 1 + 0.6 * 8),
        (
            {"keep": "1/3", "grace": 1, "rungs": None},
            27,
            "the best 33% of the trials continue after 1, 3, 9 epochs",
            1 + 2 / 3 + 6 / 9 + 18 / 27,
        ),
        ({"keep": None, "eta": 4}, 27, "the best 25% of the trials continue after 3 and 12 epochs", None),
        ({"enabled": False}, 27, "none: every trial is trained for all epochs", 27),
    ],
)
def test_the_plan_says_what_early_stopping_does(
    tmp_path: Path, stopping: dict[str, Any], epochs: int, text: str, least: float | None
) -> None:
    space = load(tmp_path, changed(train={"epochs": epochs}, early_stopping={"run_through": 0, **stopping}))
    assert _stopping(space, rungs_of(space)).startswith(text)
    if least is not None:
        assert _least_share(space, rungs_of(space)) == pytest.approx(least / epochs)


def test_a_plan_whose_measured_training_diverges_is_printed_with_a_warning(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--space", str(DIGITS), "--dry-run", "--set", "data.limit=200", "--set", "train.lr=1e25"]
    assert main(words) == 0
    out, error = capsys.readouterr()
    assert "warning: with the settings of train, a training of 3 batches diverged in epoch 1" in error
    assert "cost         about " in out
