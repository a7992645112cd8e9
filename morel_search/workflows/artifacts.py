"""The files of the run folder during a search and at its end.

Tables, weights, and checkpoints that are no longer needed.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search._cli import print_err
from morel_search.cluster.trainable import STATE_FILE, model_file
from morel_search.config import Space
from morel_search.config.describe import settings_json
from morel_search.results.deletion import delete_network
from morel_search.results.files import os_error_sentence
from morel_search.results.folder import RunFolder
from morel_search.results.names import is_member_name, member_name
from morel_search.results.reading import read_regular
from morel_search.results.settings import FORMAT
from morel_search.search.pareto import Member
from morel_search.training.compute_settings import FLOAT32, Compute

if TYPE_CHECKING:
    from morel_search.search.controller import FinishedTrial, SearchController
    from morel_search.search.study import TrialStore

__all__ = ["RunArtifacts"]

SECONDS_BETWEEN_TABLES = 10
"""Least time between two writings of the tables."""

SHARE_FOR_TABLES = 0.02
"""Largest share of the driver's time that is spent on the tables.

Those of a long search take long to write.
"""


class RunArtifacts:
    """The tables, weights and checkpoints of one run.

    Args:
        space: The run's space.
        run: The run's folder.
        record: The study.
        controller: The search.
        compute: The arithmetic of the scores on the test split.
    """

    def __init__(
        self,
        space: Space,
        run: RunFolder,
        record: TrialStore,
        controller: SearchController,
        compute: Compute = FLOAT32,
    ) -> None:
        self._space, self._run, self._record = space, run, record
        self._controller, self._compute = controller, compute
        self._next_tables = 0.0

    def finished(self, trial: FinishedTrial) -> None:
        """Delete files that a finished trial makes unnecessary; rewrite the tables at intervals."""
        number = trial.assignment.number
        (self._run.checkpoints / str(number) / STATE_FILE).unlink(missing_ok=True)
        self._delete_models(number)
        members = [member for member in self._controller.front if member[0] == number]
        if all(self._model(member).exists() for member in members):  # else their weights were lost
            for dominated in {dominated for dominated, _ in trial.dominated}:
                self._delete_models(dominated)
        began = time.monotonic()
        if began >= self._next_tables:
            self._write_tables()
            seconds = time.monotonic() - began
            self._next_tables = time.monotonic() + max(SECONDS_BETWEEN_TABLES, seconds / SHARE_FOR_TABLES)

    def finish(self, status: str, *, test: bool) -> None:
        """Write the tables, the networks of the front and the controls, and the settings.

        The tables and networks are written before the test split is read, so that an error there loses
        nothing.

        Args:
            status: ``finished``, ``stopped`` or ``failed``.
            test: Whether to score the front and the controls on the test split.
        """
        self._write_tables()
        self._copy_models()
        if test:
            self._test()
            self._write_tables()
        self._delete_checkpoints()
        settings = self._run.read_settings()
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        self._run.write_settings(replace(settings, status=status, finished=finished))

    def missing_networks(self) -> list[int]:
        """Return the trials on the front without weights, because their checkpoints were deleted by hand."""
        return sorted(
            {
                number
                for number, epoch in self._controller.front
                if not _weights(self._run.front_models / self._name((number, epoch))).exists()
            }
        )

    def _name(self, member: Member) -> str:
        return member_name(*member, several=self._space.search.select_epoch == "front")

    def _write_tables(self) -> None:
        from morel_search.workflows.tables import epochs_table, front_table, trials_table

        tested = self._record.tested()
        self._run.write_table(self._run.trials, trials_table(self._record, self._space, tested))
        self._run.write_table(self._run.epochs, epochs_table(self._record.trials()))
        self._run.write_table(
            self._run.front, front_table(self._record, self._space, self._controller.front, tested)
        )

    def _test(self) -> None:
        """Score the networks of the front and of the controls that have no test accuracies yet."""
        from morel_search.cluster.test_scores import score_on_test

        tested = self._record.tested()
        networks = {member: self._saved(member) for member in sorted(self._wanted() - tested.keys())}
        models = {member: path for member, path in networks.items() if path is not None}
        if models:
            self._record.set_tested({**tested, **score_on_test(self._space, models, self._compute)})

    def _wanted(self) -> set[Member]:
        """Return the members of the front, and the selected epochs of the controls."""
        from morel_search.search.outcome import read_outcome

        trials = self._record.trials()
        outcomes = {number: read_outcome(trials[number]) for number in self._controller.controls}
        controls = {
            (number, outcome.epoch) for number, outcome in outcomes.items() if outcome.epoch is not None
        }
        return {*self._controller.front, *controls}

    def _model(self, member: Member) -> Path:
        number, epoch = member
        return self._run.checkpoints / str(number) / model_file(epoch, self._space.search.select_epoch)

    def _saved(self, member: Member) -> Path | None:
        """Return the file with a network's weights: its checkpoint, else its copy of an earlier end."""
        name = self._name(member)
        copies = (self._run.front_models / name, self._run.control_models / name)
        files = [self._model(member), *map(_weights, copies)]
        return next((file for file in files if file.exists()), None)

    def _copy_models(self) -> None:
        """Copy the networks of the front to ``front/`` and those of the other controls to ``controls/``.

        Networks of an earlier end that are not among them are deleted afterwards, and only if all of them
        have weights.
        """
        front = set(self._controller.front)
        controls = self._wanted() - front
        folders = {self._run.front_models / self._name(member): member for member in front}
        folders |= {self._run.control_models / self._name(member): member for member in controls}
        for folder, member in folders.items():
            source = self._saved(member)
            if source is not None:
                if source != _weights(folder):
                    self._run.write_bytes(_weights(folder), _content(source))
                self._run.write_json(folder / "settings.json", self._member_settings(member))
        if all(_weights(folder).exists() for folder in folders):
            for target in (self._run.front_models, self._run.control_models):
                for folder in target.iterdir() if target.is_dir() else ():
                    own = is_member_name(folder.name) and folder not in folders
                    if own and (problem := delete_network(folder)):
                        print_err(f"warning: {problem}; its network is not on the front any more")

    def _member_settings(self, member: Member) -> dict[str, object]:
        """Return the settings with which this network can be trained again."""
        from morel_search.search.trial import assignment_of, read_plan

        number, epoch = member
        trial = self._record.trials()[number]
        assignment = assignment_of(self._space, number, read_plan(trial), trial.params)
        described = self._space.describe()
        return {
            "format": FORMAT,
            "number": number,
            "epoch": epoch,
            "seed": assignment.plan.seed,
            "train": asdict(assignment.train),
            "data": settings_json(asdict(assignment.settings.data)),
            "network": settings_json(asdict(assignment.settings.network)),
            "evaluation": described["evaluation"],
            "select_epoch": self._space.search.select_epoch,
        }

    def _delete_models(self, number: int) -> None:
        """Delete a finished trial's networks that are not on the front; those of controls are kept."""
        if number in self._controller.controls:
            return
        kept = {
            model_file(epoch, self._space.search.select_epoch)
            for member, epoch in self._controller.front
            if member == number
        }
        for path in (self._run.checkpoints / str(number)).glob("model*.pt"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def _delete_checkpoints(self) -> None:
        """Delete the checkpoints of finished trials; the networks of the front and the controls are kept."""
        complete = all(self._saved(member) is not None for member in self._controller.front)
        for trial in self._record.trials():
            if trial.state.is_finished():
                folder = self._run.checkpoints / str(trial.number)
                for path in (folder / STATE_FILE, *folder.glob("*.tmp")):
                    path.unlink(missing_ok=True)
                if complete:  # else a network of the front was lost, and the dominated ones are all there is
                    self._delete_models(trial.number)
                with suppress(OSError):
                    folder.rmdir()


def _weights(folder: Path) -> Path:
    return folder / "model.pt"


def _content(weights: Path) -> bytes:
    try:
        return read_regular(weights)
    except OSError as error:
        raise os_error_sentence("read", weights, error) from error
