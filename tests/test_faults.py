"""benchmarks/faults.py: a fault that loses something is seen, and a short campaign loses nothing."""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import faults

    return faults


@pytest.fixture
def search(faults: Any, tmp_path: Path) -> Any:
    """Return a search of two trials that has finished."""
    made = faults.Search(tmp_path / "results", 0)
    made.run.mkdir(parents=True)
    with closing(sqlite3.connect(made.study)) as study:
        study.execute("CREATE TABLE trials (number, state, datetime_start, datetime_complete, trial_id)")
        study.executemany("INSERT INTO trials VALUES (?, 'COMPLETE', '', '', ?)", [(0, 1), (1, 2)])
        study.execute("CREATE TABLE trial_values (trial_id, objective, value, value_type)")
        study.execute("CREATE TABLE trial_params (trial_id, param_name, param_value, distribution_json)")
        study.execute("CREATE TABLE trial_user_attributes (trial_id, key, value_json)")
        study.execute("INSERT INTO trial_values VALUES (1, 0, 0.5, 'FINITE')")
        study.commit()
    (made.run / "trials.csv").write_text("number,state,test_x\n0,COMPLETE,\n1,COMPLETE,\n")
    epochs = "".join(f"{number},{epoch}\n" for number in (0, 1) for epoch in (1, 2, 3))
    (made.run / "epochs.csv").write_text(f"number,epoch\n{epochs}")
    (made.run / "report.html").touch()
    (made.run / "settings.json").write_text(json.dumps({"status": "finished"}))
    return made


def counted(faults: Any, search: Any, change: Any, *, torn: bool = False) -> int:
    before, rows, found = search.snapshot(), search.rows(), dict.fromkeys(faults.COUNTS, 0)
    change()
    faults._compare(before, before, rows, search, found, [], torn=torn)
    return int(found["lost"])


def execute(search: Any, statement: str) -> None:
    with closing(sqlite3.connect(search.study)) as study:
        study.execute(statement)
        study.commit()


@pytest.mark.parametrize(
    ("statement", "lost"),
    [
        ("UPDATE trial_values SET value = 0.6", 1),
        ("UPDATE trials SET state = 'WAITING' WHERE number = 1", 1),
        ("DELETE FROM trials", 2),
        ("INSERT INTO trials VALUES (2, 'RUNNING', '', '', 3)", 0),
    ],
)
def test_a_changed_trial_is_counted(faults: Any, search: Any, statement: str, lost: int) -> None:
    assert counted(faults, search, lambda: execute(search, statement)) == lost


def test_a_changed_row_is_counted_but_not_a_score_on_the_test_split(faults: Any, search: Any) -> None:
    table = search.run / "trials.csv"
    text = table.read_text()
    assert counted(faults, search, lambda: table.write_text(text.replace("COMPLETE,\n", "COMPLETE,1\n"))) == 0
    assert counted(faults, search, lambda: table.write_text(text.replace("1,COMPLETE", "1,FAIL"))) == 1
    assert counted(faults, search, lambda: table.write_text(text[:30]), torn=True) == 0


def test_what_is_wrong_at_the_end_is_listed(faults: Any, search: Any) -> None:
    assert faults._problems(search) == []
    epochs = search.run / "epochs.csv"
    epochs.write_text(epochs.read_text().replace("0,3\n", "0,2\n"))
    execute(search, "INSERT INTO trials VALUES (3, 'RUNNING', '', '', 3)")
    (search.run / "report.html").unlink()
    assert faults._problems(search) == [
        "trial 3 is RUNNING",
        "the trials are [0, 1, 3]",
        "trial 3 is not in trials.csv",
        "the epochs of trial 0 are [1, 2, 2]",
        "no report, or the status is finished",
    ]


def test_the_table_sums_the_kinds(faults: Any) -> None:
    zero = dict.fromkeys(faults.COUNTS, 0)
    records = [
        {"kind": "SIGTERM", "seconds": 1.0, **zero},
        {"kind": "SIGTERM", "seconds": 4.0, **zero, "lost": 2},
        {"kind": "(end)", "seconds": 0.0, **zero},
    ]
    assert faults.table(records).splitlines()[2:] == [
        "| SIGTERM | 2 | 2 | 0 | 0 | 0 | 0 | 2.5 |",
        "| (searches that ran to their end) | 1 | 0 | 0 | 0 | 0 | 0 |  |",
    ]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_short_campaign_loses_nothing(tmp_path: Path) -> None:
    import subprocess

    """Processes that are killed are in test_kills.py; here, one that goes on and a file that is lost."""
    kinds = ["worker killed", "study deleted"]  # one of each with this seed
    words = [sys.executable, str(BENCHMARKS / "faults.py"), "--faults", "2", "--seed", "2", "--kinds", *kinds]
    ended = subprocess.run(
        [*words, "--records", str(tmp_path / "faults.jsonl")],
        env={**os.environ, "PYTHONPATH": str(BENCHMARKS.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
