"""Real searches whose driver, worker or Ray is killed at random times, and then resumed.

``MOREL_SEARCH_KILLS`` sets how many instants are tried; CI tries a handful.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest
from optuna.trial import FrozenTrial, TrialState

ROOT = Path(__file__).parents[1]
KILLS = int(os.environ.get("MOREL_SEARCH_KILLS", "4"))
TRIALS, MANY, EPOCHS = 4 + 2 * KILLS, 500, 9
"""Trials of a search, trials of one that is always ended before its last, and epochs."""

SETTINGS = (
    *(f"train.epochs={EPOCHS}", "data.limit=600", "search.population=4", "evaluation.steps=3"),
    *("evaluation.final_steps=5", "controls=[trades]", "network.options.width=4"),
    *("early_stopping.min_peers=3", "resources.concurrent=1", "verify.enabled=false"),
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


def command(results: Path, trials: int, *more: str) -> list[str]:
    space = ["--space", "search_spaces/digits.yaml", "--results", str(results), "--name", "run"]
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    trained = ["--trials", str(trials - 1)]  # beside the control
    return [sys.executable, "-m", "morel_search.run", *space, *trained, *settings, *more]


def begin(results: Path, trials: int = TRIALS) -> subprocess.Popen[str]:
    resume = ["--resume"] if (results / "run" / "study.db").exists() else []
    output = (results / "log").open("a")
    return subprocess.Popen(
        command(results, trials, *resume),
        cwd=ROOT,
        stdout=output,
        stderr=output,
        text=True,
        start_new_session=True,
    )


def wait_until(process: subprocess.Popen[str], results: Path, *, finished: int) -> None:
    """Wait until this number of trials has finished; fail if the search ends before."""
    while len(snapshot(results)) < finished:
        assert process.poll() is None, (results / "log").read_text()
        time.sleep(0.1)


def trials_of(results: Path) -> list[FrozenTrial]:
    file = results / "run" / "study.db"
    if not file.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True, timeout=60)) as connection:
            if not connection.execute("select count(*) from studies").fetchone()[0]:
                return []
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):  # killed, or looked at, while Optuna makes the file
            return []
        raise
    return optuna.load_study(study_name="run", storage=f"sqlite:///{file}").get_trials(deepcopy=False)


def snapshot(results: Path) -> dict[int, tuple[Any, ...]]:
    """Return everything that is stored about finished trials."""
    finished = [trial for trial in trials_of(results) if trial.state.is_finished()]
    return {
        trial.number: (trial.state, trial.values, json.dumps(trial.user_attrs, sort_keys=True), trial.params)
        for trial in finished
    }


def tree(process: int) -> Iterator[tuple[int, str]]:
    """Every process of the session that a search began, with its command line."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            session = int((folder / "stat").read_text().rpartition(")")[2].split()[3])
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, ValueError, IndexError):
            continue
        if session == process:
            yield int(folder.name), line


def kill(process: subprocess.Popen[str], target: str) -> bool:
    """Kill -9 the driver, a process that trains, or Ray's own; whether there was such a process."""
    marks = {"worker": "ray::ImplicitFunc", "ray": "raylet"}
    if target == "driver":
        process.kill()
        return True
    found = [
        number for number, line in tree(process.pid) if marks[target] in line and "log_monitor" not in line
    ]
    for number in found:
        os.kill(number, signal.SIGKILL)
    return bool(found)


def kill_all(process: subprocess.Popen[str]) -> None:
    """Kill the processes that a killed driver's Ray leaves; they would end by themselves, but later."""
    for number, _ in tree(process.pid):
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait(60)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    results = tmp_path_factory.mktemp("undisturbed")
    process = begin(results)
    assert process.wait(900) == 0, (results / "log").read_text()
    return results


def comparable(results: Path) -> pd.DataFrame:
    return pd.read_csv(results / "run" / "trials.csv").drop(columns="seconds")


def test_killed_at_random_instants_and_resumed(undisturbed: Path, tmp_path: Path) -> None:
    """Finished trials do not change, and the result is that of an undisturbed run.

    After the death of a worker the search goes on by itself, and its driver dies later. The processes that a
    killed driver leaves are not killed.
    """
    random.seed(0)
    before: dict[int, tuple[Any, ...]] = {}
    hits = dict.fromkeys(("driver", "worker", "both", "ray"), 0)
    for attempt in range(KILLS):
        target = list(hits)[attempt % len(hits)]
        process = begin(tmp_path)
        began, until = time.monotonic(), random.uniform(3, 15) if target == "driver" else 0
        while time.monotonic() - began < until and process.poll() is None:
            time.sleep(0.05)
        if target != "driver":  # at a random instant after the first at which there is a worker
            while process.poll() is None and not any(
                "ray::ImplicitFunc" in line for _, line in tree(process.pid)
            ):
                time.sleep(0.1)
            time.sleep(random.uniform(0, 2))
        if process.poll() is not None:
            break
        known = len(snapshot(tmp_path))
        if target == "both":
            hits[target] += kill(process, "worker")
            kill(process, "driver")
        else:
            hits[target] += kill(process, target)
        if target == "worker" and hits[target]:
            wait_until(process, tmp_path, finished=known + 1)
        if target == "driver":
            process.wait(60)
            time.sleep(5)  # the orphaned workers notice that their driver is gone
        else:
            kill_all(process)
        after = snapshot(tmp_path)
        assert {number: after[number] for number in before} == before, "something finished has changed"
        before = after
    process = begin(tmp_path)
    assert process.wait(900) == 0, (tmp_path / "log").read_text()
    trials = trials_of(tmp_path)
    assert sum(hits.values()) >= 2, "the search was over before anything could be killed"
    print(f"hits: {hits}; {len(before)} of {len(trials)} trials were over before the last start")
    assert {number: one for number, one in snapshot(tmp_path).items() if number in before} == before
    assert [trial.number for trial in trials] == list(range(TRIALS))
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    for trial in trials:
        epochs = [result["epoch"] for result in trial.user_attrs["outcome"]["history"]]
        assert epochs == list(range(1, len(epochs) + 1))
        assert len(epochs) == EPOCHS or trial.state == TrialState.PRUNED
    pd.testing.assert_frame_equal(comparable(tmp_path), comparable(undisturbed), check_exact=True)
    assert not list((tmp_path / "run" / "ray" / "checkpoints").glob("*/state.pt"))


def test_a_deleted_ray_folder_and_a_torn_checkpoint_cost_epochs_and_nothing_else(
    undisturbed: Path, tmp_path: Path
) -> None:
    import shutil

    for damage in ("folder", "checkpoint"):
        process = begin(tmp_path)
        known = len(snapshot(tmp_path))
        while len(snapshot(tmp_path)) < known + 1 or not list(
            (tmp_path / "run" / "ray" / "checkpoints").glob("*/state.pt")
        ):
            assert process.poll() is None, (tmp_path / "log").read_text()
            time.sleep(0.05)
        kill_all(process)
        if damage == "folder":
            shutil.rmtree(tmp_path / "run" / "ray")
        for path in (tmp_path / "run" / "ray" / "checkpoints").glob("*/state.pt"):
            path.write_bytes(path.read_bytes()[:1000])
    process = begin(tmp_path)
    assert process.wait(900) == 0, (tmp_path / "log").read_text()
    front = set(pd.read_csv(tmp_path / "run" / "front.csv")["number"])
    lost = sorted(
        number for number in front if not (tmp_path / "run" / "front" / str(number) / "model.pt").exists()
    )
    warning = f"the weights of trials {', '.join(map(str, lost))} on the front are missing"
    assert (warning in (tmp_path / "log").read_text()) == bool(lost)
    columns = [column for column in comparable(undisturbed).columns if not column.startswith("test_")]
    pd.testing.assert_frame_equal(
        comparable(tmp_path)[columns], comparable(undisturbed)[columns], check_exact=True
    )


def test_a_lost_ray_ends_the_run_with_a_report_and_resume_continues(tmp_path: Path) -> None:
    """The raylet is killed, then the GCS server of the next start; the driver is not."""
    before: dict[int, tuple[Any, ...]] = {}
    for mark, name in (("raylet/raylet ", "raylet"), ("gcs/gcs_server ", "gcs_server")):
        process = begin(tmp_path, MANY)
        wait_until(process, tmp_path, finished=len(before) + 1)
        (number,) = (number for number, line in tree(process.pid) if mark in line)
        os.kill(number, signal.SIGKILL)
        assert process.wait(240) == 3, (tmp_path / "log").read_text()
        left = list(tree(process.pid))
        kill_all(process)
        after = snapshot(tmp_path)
        assert {number: after[number] for number in before} == before, "something finished has changed"
        assert "RUNNING" not in {trial.state.name for trial in trials_of(tmp_path)}
        last = (tmp_path / "log").read_text().splitlines()[-1]
        assert last == (
            f"morel_search: Ray was lost: its process {name} has died; {len(after)} of {MANY} trials have "
            "finished; the same command with --resume continues"
        )
        assert "Traceback" not in (tmp_path / "log").read_text()
        assert not [line for _, line in left if "ray::ImplicitFunc" in line]
        assert len(pd.read_csv(tmp_path / "run" / "trials.csv")) == len(after)
        (tmp_path / "run" / "report.html").unlink()
        before = after
    trials = len(trials_of(tmp_path)) + 1
    process = begin(tmp_path, trials)
    assert process.wait(900) == 0, (tmp_path / "log").read_text()
    assert {number: one for number, one in snapshot(tmp_path).items() if number in before} == before
    assert len(snapshot(tmp_path)) == trials


def test_a_second_signal_stops_at_once_and_a_second_driver_is_told_who_holds_the_run(tmp_path: Path) -> None:
    finished: dict[int, tuple[Any, ...]] = {}
    for number in (signal.SIGINT, signal.SIGTERM):
        process = begin(tmp_path, MANY)
        wait_until(process, tmp_path, finished=len(finished) + 1)
        if number == signal.SIGINT:
            words = command(tmp_path, MANY, "--resume")
            second = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
            assert second.returncode == 2, second.stderr
            assert str(process.pid) in second.stderr
            assert "Traceback" not in second.stderr
        process.send_signal(number)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        kill_all(process)
        after = snapshot(tmp_path)
        assert {one: after[one] for one in finished} == finished
        finished = after
    process = begin(tmp_path, len(trials_of(tmp_path)) + 1)
    assert process.wait(900) == 0, (tmp_path / "log").read_text()
    assert {one: snapshot(tmp_path)[one] for one in finished} == finished
