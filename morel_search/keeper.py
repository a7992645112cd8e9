"""Keeping the run folder true to the study while a search runs, and completing it at the end."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from morel_search.config import Space
from morel_search.results import FORMAT, RunFolder, front_columns
from morel_search.search.job import MODEL_FILE, STATE_FILE
from morel_search.search.points import dominates

if TYPE_CHECKING:
    import pandas as pd

    from morel_search.search.conductor import Conductor
    from morel_search.search.record import StudyRecord

__all__ = ["Keeper"]

SECONDS_BETWEEN_TABLES = 10


class Keeper:
    """Keeps the run folder up to date while trials finish, and completes it at the end."""

    def __init__(self, space: Space, run: RunFolder, record: StudyRecord, conductor: Conductor) -> None:
        self._space, self._run, self._record, self._conductor = space, run, record, conductor
        self._written = datetime.min.replace(tzinfo=UTC)
        self._dropped: set[int] = set()

    def finished(self, number: int) -> None:
        """After each trial: the tables (every ten seconds at most), and no files that nothing needs any more."""
        (self._run.checkpoints / str(number) / STATE_FILE).unlink(missing_ok=True)
        self._drop_models()
        if (datetime.now(UTC) - self._written).total_seconds() > SECONDS_BETWEEN_TABLES:
            self._write_tables()
            self._written = datetime.now(UTC)

    def finish(self, status: str, *, test: bool) -> None:
        """At the end: every table and the front's networks, their scores on the test split, the settings.

        What the search found is written before the test split is opened, which may go wrong.
        """
        self._write_tables()
        self._keep_models()
        if test:
            self._test()
            self._write_tables()
        self._forget_checkpoints()
        settings = self._run.read_settings()
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        self._run.write_json(self._run.settings, {**settings, "status": status, "finished": finished})

    def _trials(self) -> pd.DataFrame:
        from morel_search.search.tables import trials_table

        return trials_table(self._record, self._space, self._record.tested())

    def _write_tables(self) -> None:
        from morel_search.search.tables import epochs_table

        self._run.write_table(self._run.trials, self._trials())
        self._run.write_table(self._run.epochs, epochs_table(self._record.trials()))
        self._run.write_table(self._run.front, self._front())

    def _front(self) -> pd.DataFrame:
        from morel_search.analysis.front import front_mask

        trials = self._trials()
        complete = trials[trials["state"] == "COMPLETE"].astype({"clean_accuracy": float, "robust_accuracy": float})
        members = complete[front_mask(complete[["clean_accuracy", "robust_accuracy"]].to_numpy(dtype=float))]
        columns = front_columns([parameter.name for parameter in self._space.parameters])
        return members.sort_values(["clean_accuracy", "number"])[columns]

    def _test(self) -> None:
        """Score what was never scored: the members of the front and the controls."""
        from morel_search.search.scoring import score_on_test

        trials = self._trials()
        controls = trials[(trials["origin"] == "control") & (trials["state"] == "COMPLETE")]
        wanted = {int(number) for number in [*self._front()["number"], *controls["number"]]} - set(self._record.tested())
        models = {number: self._run.checkpoints / str(number) / MODEL_FILE for number in sorted(wanted)}
        models = {number: path for number, path in models.items() if path.exists()}
        if models:
            self._record.set_tested({**self._record.tested(), **score_on_test(self._space, models)})

    def _keep_models(self) -> None:
        """``front/`` holds the members' networks, and no others."""
        members = {int(number) for number in self._front()["number"]}
        for number in members:
            source = self._run.checkpoints / str(number) / MODEL_FILE
            if source.exists():
                self._run.write_bytes(self._run.front_models / str(number) / MODEL_FILE, source.read_bytes())
                self._run.write_json(self._run.front_models / str(number) / "settings.json", self._member_settings(number))
        if self._run.front_models.is_dir():
            for folder in self._run.front_models.iterdir():
                if folder.name not in map(str, members):
                    shutil.rmtree(folder, ignore_errors=True)

    def _member_settings(self, number: int) -> dict[str, Any]:
        """What trains this network again by itself."""
        from morel_search.search.record import plan_of

        trial = self._record.trials()[number]
        train = self._conductor.train_settings(trial)
        described = self._space.describe()
        return {
            "format": FORMAT,
            "number": number,
            "seed": plan_of(trial).seed,
            "train": asdict(train),
            **{section: described[section] for section in ("data", "network", "evaluation")},
            "point": self._space.search.point,
        }

    def _drop_models(self) -> None:
        """Remove the networks that are beaten for good; the controls keep theirs."""
        points, settled = self._conductor.points, self._dropped | self._conductor.controls
        for number, values in points.items():
            if number not in settled and any(dominates(one, values) for one in points.values()):
                (self._run.checkpoints / str(number) / MODEL_FILE).unlink(missing_ok=True)
                self._dropped.add(number)

    def _forget_checkpoints(self) -> None:
        """Remove what is left of finished trials; waiting ones keep their state, the front and the controls their networks."""
        self._drop_models()
        for trial in self._record.trials():
            if trial.state.is_finished():
                folder = self._run.checkpoints / str(trial.number)
                (folder / STATE_FILE).unlink(missing_ok=True)
                if not trial.values:
                    (folder / MODEL_FILE).unlink(missing_ok=True)
                with suppress(OSError):
                    folder.rmdir()
