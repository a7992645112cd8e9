"""A search does not use the test split: with wrong test labels it proposes, trains and chooses the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from image_files import encoded

from morel_search.results.folder import RunFolder
from morel_search.training.datasets.loading import load_development, load_test
from morel_search.training.settings import DataSettings

ROOT = Path(__file__).parents[1]
TINY = (
    *("train.epochs=3", "search.population=3", "evaluation.steps=3", "evaluation.every=1"),
    *("controls=[trades]", "network.options.width=4", "early_stopping.min_peers=3"),
    *("resources.concurrent=1", "verify.images=20", "verify.replicates=1", "data.name=parquet"),
)


def write_digits(folder: Path, *, poisoned: bool) -> None:
    digits = DataSettings(name="digits", limit=400, validation=0.25)
    train, test = load_development(digits).train, load_test(digits)
    wrong = (test.labels + 1) % 10 if poisoned else test.labels
    for name, images, labels in (("train", train.images, train.labels), ("test", test.images, wrong)):
        rows = {"img": [encoded(one.permute(1, 2, 0).numpy()) for one in images], "label": labels.tolist()}
        pd.DataFrame(rows).to_parquet(folder / f"{name}.parquet")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_poisoned_test_labels_change_nothing_but_the_test_figures(tmp_path: Path) -> None:
    runs = []
    for name, poisoned in (("honest", False), ("poisoned", True)):
        folder = tmp_path / name
        folder.mkdir()
        write_digits(folder, poisoned=poisoned)
        settings = (*TINY, f"data.train={folder}/train.parquet", f"data.test={folder}/test.parquet")
        words = ["--space", "search_spaces/digits.yaml", "--trials", "6", "--name", name]
        words += ["--results", str(tmp_path / "results")]
        words += [word for setting in settings for word in ("--set", setting)]
        result = subprocess.run(
            [sys.executable, "-m", "morel_search.run", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        runs.append(RunFolder(tmp_path / "results" / name))
    honest, poisoned = runs
    for file in ("trials", "epochs", "front", "replicates"):
        first, second = (pd.read_csv(getattr(run, file)) for run in runs)
        blind = [column for column in first.columns if not column.startswith("test_") and column != "seconds"]
        pd.testing.assert_frame_equal(second[blind], first[blind], check_exact=True)
    assert (honest.read_trials()["state"] == "PRUNED").any(), "early stopping stopped a trial"
    before, after = (run.read_front()["test_clean_accuracy"].mean() for run in runs)
    assert after < 0.3 < before
    assert pd.read_csv(poisoned.verified)["clean_accuracy"].max() < 0.3
