"""Keeping the run folder true to the study while a search runs, and completing it at the end."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morel_search.cluster.trainable import STATE_FILE, model_file
from morel_search.config import Space
from morel_search.results.folder import RunFolder
from morel_search.results.settings import FORMAT
from morel_search.search.pareto import Member
from morel_search.training.settings import FLOAT32, Compute

if TYPE_CHECKING:
    from morel_search.search.controller import FinishedTrial, SearchController
    from morel_search.search.study import TrialStore

__all__ = ["RunArtifacts"]

SECONDS_BETWEEN_TABLES = 10
SHARE_FOR_TABLES = 0.02
"""The tables of a long search take long to write; this share of the driver's time may go there."""


class RunArtifacts:
    """Keeps the run folder up to date while trials finish, and completes it at the end."""

    def __init__(
        self,
        space: Space,
        run: RunFolder,
        record: TrialStore,
        controller: SearchController,
        compute: Compute = FLOAT32,
    ) -> None:
        self._space, self._run, self._record, self._controller, self._compute = (
            space,
            run,
            record,
            controller,
            compute,
        )
        self._next_tables = 0.0

    def finished(self, trial: FinishedTrial) -> None:
        """After each trial: no files that nothing needs any more, and now and then the tables."""
        number = trial.assignment.number
        (self._run.checkpoints / str(number) / STATE_FILE).unlink(missing_ok=True)
        self._drop_models(number)
        for beaten in {one for one, _ in trial.beaten}:
            self._drop_models(beaten)
        began = time.monotonic()
        if began >= self._next_tables:
            self._write_tables()
            took = time.monotonic() - began
            self._next_tables = time.monotonic() + max(SECONDS_BETWEEN_TABLES, took / SHARE_FOR_TABLES)

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
        self._run.write_settings(replace(settings, status=status, finished=finished))

    def lost(self) -> list[int]:
        """Trials on the front whose network is nowhere: their checkpoints were removed after they had finished."""
        return sorted(
            {
                number
                for number, epoch in self._controller.front
                if not (self._folder((number, epoch)) / "model.pt").exists()
            }
        )

    def _folder(self, member: Member) -> Path:
        number, epoch = member
        return self._run.front_models / (
            f"{number}-{epoch}" if self._space.search.select_epoch == "front" else str(number)
        )

    def _write_tables(self) -> None:
        from morel_search.workflows.tables import epochs_table, front_table, trials_table

        tested = self._record.tested()
        self._run.write_table(self._run.trials, trials_table(self._record, self._space, tested))
        self._run.write_table(self._run.epochs, epochs_table(self._record.trials()))
        self._run.write_table(
            self._run.front, front_table(self._record, self._space, self._controller.front, tested)
        )

    def _test(self) -> None:
        """Score what was never scored: the members of the front and the controls."""
        from morel_search.cluster.test_scores import score_on_test

        tested = self._record.tested()
        models = {member: self._model(member) for member in sorted(self._wanted()) if member not in tested}
        models = {member: path for member, path in models.items() if path.exists()}
        if models:
            self._record.set_tested({**tested, **score_on_test(self._space, models, self._compute)})

    def _wanted(self) -> set[Member]:
        """The members of the front, and the epochs that the controls stand for."""
        from morel_search.search.study import read_outcome

        trials = self._record.trials()
        outcomes = {number: read_outcome(trials[number]) for number in self._controller.controls}
        return {
            *self._controller.front,
            *((number, one.epoch) for number, one in outcomes.items() if one.epoch is not None),
        }

    def _model(self, member: Member) -> Path:
        number, epoch = member
        return self._run.checkpoints / str(number) / model_file(epoch, self._space.search.select_epoch)

    def _keep_models(self) -> None:
        """``front/`` and ``controls/`` hold the networks of the front and of the controls, and no others."""
        front = set(self._controller.front)
        self._keep(self._run.front_models, front)
        self._keep(self._run.control_models, self._wanted() - front)

    def _keep(self, place: Path, members: set[Member]) -> None:
        folders = {place / self._folder(member).name: member for member in members}
        for folder, member in folders.items():
            source = self._model(member)
            if source.exists():
                self._run.write_bytes(folder / "model.pt", source.read_bytes())
                self._run.write_json(folder / "settings.json", self._member_settings(member))
        if place.is_dir():
            for folder in place.iterdir():
                if folder not in folders:
                    shutil.rmtree(folder, ignore_errors=True)

    def _member_settings(self, member: Member) -> dict[str, Any]:
        """What trains this network again by itself."""
        from morel_search.search.study import read_plan

        number, epoch = member
        trial = self._record.trials()[number]
        train = self._controller.train_settings(trial)
        described = self._space.describe()
        return {
            "format": FORMAT,
            "number": number,
            "epoch": epoch,
            "seed": read_plan(trial).seed,
            "train": asdict(train),
            **{section: described[section] for section in ("data", "network", "evaluation")},
            "select_epoch": self._space.search.select_epoch,
        }

    def _drop_models(self, number: int) -> None:
        """Remove a finished trial's networks that are not on the front; the controls keep theirs."""
        if number in self._controller.controls:
            return
        kept = {
            model_file(epoch, self._space.search.select_epoch)
            for one, epoch in self._controller.front
            if one == number
        }
        for path in (self._run.checkpoints / str(number)).glob("model*.pt"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def _forget_checkpoints(self) -> None:
        """Remove what is left of finished trials; waiting ones keep their state, the front and the controls their networks."""
        for trial in self._record.trials():
            if trial.state.is_finished():
                folder = self._run.checkpoints / str(trial.number)
                for path in (folder / STATE_FILE, *folder.glob("*.tmp")):
                    path.unlink(missing_ok=True)
                self._drop_models(trial.number)
                with suppress(OSError):
                    folder.rmdir()
