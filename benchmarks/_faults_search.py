"""A tiny search of benchmarks/faults.py: its command, its processes, and what its folder holds."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["ROOT", "Search", "Snapshot"]

ROOT = Path(__file__).parents[1]
TRIALS, EPOCHS = 8, 3
MARKS = {"worker": "ray::ImplicitFunc", "raylet": "raylet/raylet ", "gcs": "gcs/gcs_server "}
"""A text in the command line of each process of Ray."""

FINISHED = ("COMPLETE", "PRUNED", "FAIL")
TINY = (
    *(f"train.epochs={EPOCHS}", "data.limit=400", "search.population=3", "evaluation.steps=2"),
    *("evaluation.final_steps=3", "evaluation.every=1", "network.options.width=4", "verify.enabled=false"),
    *("resources.concurrent=1", "train.loat_late_from=3", "search.max_epoch_minutes=0.5"),
)
VARIANTS = (
    ("search.select_epoch=best_sum", "early_stopping.min_peers=2", "controls=[trades]"),
    ("search.select_epoch=front", "early_stopping.enabled=false", "controls=[]"),
    ("search.select_epoch=last", "early_stopping.min_peers=2", "constraints.clean_accuracy='>= 0.2'"),
    ("search.select_epoch=best_robust", "early_stopping.min_peers=2", "controls=[trades]"),
)
"""Settings that are used in turn."""


@dataclass(frozen=True)
class Snapshot:
    """The state of a study.

    Attributes:
        finished: Everything that is stored about each finished trial.
        states: State of each trial, by its number.
    """

    finished: dict[int, str] = field(default_factory=dict)
    states: dict[int, str] = field(default_factory=dict)


class Search:
    """A search in a folder, which is started several times.

    Args:
        results: The folder of the run's folder.
        number: Its number, which selects its settings and is its random seed.
    """

    def __init__(self, results: Path, number: int) -> None:
        self.results, self.run, self.log = results, results / "run", results.with_name("log")
        self._number = number
        self.process: subprocess.Popen[bytes] | None = None
        self._from = 0

    @property
    def study(self) -> Path:
        """The file of the study."""
        return self.run / "study.db"

    @property
    def runs(self) -> bool:
        """Whether the latest start still runs."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> subprocess.Popen[bytes]:
        """Start the search, or continue it."""
        self.log.touch()
        self._from = self.log.stat().st_size
        self.process = self.command(self.log)
        return self.process

    def command(self, log: Path) -> subprocess.Popen[bytes]:
        """Start the command of the search, with ``--resume`` if there is a run folder."""
        words = [sys.executable, "-m", "morel_search.run", "--space", "search_spaces/digits.yaml"]
        words += ["--results", str(self.results), "--name", "run", "--trials", str(TRIALS)]
        words += ["--seed", str(self._number)]
        for setting in (*TINY, *VARIANTS[self._number % len(VARIANTS)]):
            words += ["--set", setting]
        words += ["--resume"] if (self.run / "settings.json").exists() else []
        with log.open("ab") as output:
            return subprocess.Popen(
                words,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
            )

    def output(self) -> str:
        """Return what the latest start has printed."""
        with self.log.open("rb") as file:
            file.seek(self._from)
            return file.read().decode(errors="replace")

    def wait(self, seconds: float) -> int | None:
        """Return the exit code; None, after everything was killed, if the process has not ended in time."""
        assert self.process is not None
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        self.kill_all()
        return code

    def processes(self, mark: str = "") -> list[int]:
        """Return the processes of the latest start whose command line has a text."""
        assert self.process is not None
        return [number for number, line in _session(self.process.pid) if mark in line]

    def kill(self, target: str, number: signal.Signals = signal.SIGKILL) -> bool:
        """Send a signal to the driver or to processes of Ray; return whether there was one."""
        assert self.process is not None
        found = [self.process.pid] if target == "driver" else self.processes(MARKS[target])
        for process in found:
            with suppress(ProcessLookupError):
                os.kill(process, number)
        return bool(found)

    def kill_all(self) -> None:
        """Kill what is left of the latest start."""
        assert self.process is not None
        for process in self.processes():
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        self.process.wait(60)

    def snapshot(self) -> Snapshot:
        """Read the study."""
        if not self.study.exists():
            return Snapshot()
        query = "SELECT number, state, datetime_start, datetime_complete, trial_id FROM trials"
        try:
            with closing(sqlite3.connect(f"file:{self.study}?mode=ro", uri=True, timeout=30)) as study:
                rows = study.execute(query).fetchall()
                states = {row[0]: row[1] for row in rows}
                finished = {
                    row[0]: json.dumps([row, _stored(study, row[4])]) for row in rows if row[1] in FINISHED
                }
        except sqlite3.OperationalError as error:
            if "no such table" in str(error):  # seen while Optuna makes the file
                return Snapshot()
            raise
        return Snapshot(finished, states)

    def rows(self) -> dict[int, dict[str, Any]]:
        """Return the rows of ``trials.csv`` by number, without the scores on the test split."""
        path = self.run / "trials.csv"
        if not path.exists():
            return {}
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        table = table[[name for name in table.columns if not name.startswith("test_")]]
        return {int(row["number"]): row for row in table.to_dict("records")}

    def status(self) -> str:
        """Return the status in ``settings.json``."""
        return str(json.loads((self.run / "settings.json").read_text())["status"])

    @property
    def finished(self) -> bool:
        """Whether the run has the status of a finished search."""
        return (self.run / "settings.json").exists() and self.status() == "finished"

    def wait_for(self, ready: Any, seconds: float = 180) -> bool:
        """Wait until a function returns true; return False if the search ends before, or the time is over."""
        assert self.process is not None
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            if ready():
                return True
            time.sleep(0.05)
        return False


def _stored(study: sqlite3.Connection, trial: int) -> list[Any]:
    tables = {
        "trial_values": "objective, value, value_type",
        "trial_params": "param_name, param_value, distribution_json",
        "trial_user_attributes": "key, value_json",
    }
    return [
        sorted(study.execute(f"SELECT {columns} FROM {table} WHERE trial_id = ?", (trial,)).fetchall())
        for table, columns in tables.items()
    ]


def _session(leader: int) -> Iterator[tuple[int, str]]:
    """Return the processes of a session, with their command lines."""
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            state, *rest = (folder / "stat").read_text().rpartition(")")[2].split()
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if int(rest[2]) == leader and state != "Z":
            yield int(folder.name), line
