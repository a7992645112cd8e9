"""The comparison with the last epoch, on tables with known numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_folders import make_run

from morel_search.analysis.report.page import write_report
from morel_search.analysis.report.sections.learning_curves import last_epoch_words
from morel_search.analysis.run_data import read_run_data


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([0.0, 0.0], ["each network of the front has the accuracies of the last epoch of its training"]),
        (
            [0.08, 0.0],
            [
                "for 1 of {n} networks an earlier epoch was selected",
                "network {first} would lose the most, 8.0 points",
            ],
        ),
        (
            [-0.04, -0.06],
            [
                "for 2 of {n} networks",
                "more robust validation accuracy (",
                ", not beyond chance) on average.",
            ],
        ),
    ],
)
def test_words(tmp_path: Path, losses: list[float], words: list[str]) -> None:
    run = make_run(tmp_path)
    trials, front = run.read_trials(), read_run_data(run).front
    for part in ("clean", "robust"):
        trials[f"last_{part}_accuracy"] = trials[f"{part}_accuracy"]
    for number, loss in zip(front["number"], losses, strict=False):
        trials.loc[trials["number"] == number, "last_robust_accuracy"] -= loss
    run.write_table(run.trials, trials)
    comparison = last_epoch_words(read_run_data(run))
    for part in words:
        assert part.format(n=len(front), first=front["number"].iloc[0]) in comparison
    assert comparison.split(".")[0] in write_report(run).read_text(encoding="utf-8").replace("&#x27;", "'")


def test_nothing_is_said_where_it_is_not_known(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    trials = run.read_trials()
    trials["last_robust_accuracy"] = float("nan")
    run.write_table(run.trials, trials)
    assert last_epoch_words(read_run_data(run)) == ""
