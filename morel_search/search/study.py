"""The study on disk: an Optuna study with the plans and outcomes of all trials."""

from __future__ import annotations

import json
import sqlite3
import warnings
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from morel_search._format import without_passwords
from morel_search.config.describe import without_unused
from morel_search.errors import RunFolderError
from morel_search.results.renamed import current_space
from morel_search.search.distributions import Params
from morel_search.search.optuna_private import (
    constraint_attributes,
    schema_mismatch,
    study_id_of,
    trial_id_of,
)
from morel_search.search.optuna_rows import OptunaRowWriter
from morel_search.search.outcome import Outcome
from morel_search.search.pareto import Member
from morel_search.search.study_errors import guarded, reason_of
from morel_search.search.study_file import StudyFile, is_full, wait_while_locked
from morel_search.search.trial import TrialPlan

__all__ = ["TrialStore"]

DIRECTIONS = [StudyDirection.MAXIMIZE, StudyDirection.MAXIMIZE]
METRICS = ["clean_accuracy", "robust_accuracy"]
FORMAT = 1
"""Format of this project's attributes in a study; raised when older versions cannot read them."""


class TrialStore:
    """An Optuna study in a database, written by one driver process.

    A trial is written completely when it is planned, and once more when it ends; the state in between is in
    the trial's checkpoint. After a crash, all trials in the study are therefore complete records; some are
    still RUNNING, and :meth:`requeue_running` makes them wait again.

    Args:
        url: Database, as Optuna's RDBStorage takes it; for an SQLite file, see :meth:`of_file`.
        name: Name of the study.
        file: The SQLite file, for the URL ``sqlite://``.
        create: Whether a study that does not exist is created; never in a file that has other studies.

    Attributes:
        place: The database, for messages.

    Raises:
        RunFolderError: The database cannot be opened, is not a study, or was written by a newer version.
    """

    def __init__(self, url: str, name: str, *, file: StudyFile | None = None, create: bool = True) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._file, self._closed = file, False
        self.place = place = str(file.path) if file else without_passwords(url)
        try:
            self._study = wait_while_locked(lambda: self._open(url, name, create=create), place)
            known = wait_while_locked(lambda: self._study.get_trials(deepcopy=False), place)
            # Studies of earlier versions have no number.
            written = int(self._study.user_attrs.get("format", 1))
        except KeyError as error:
            others = optuna.get_all_study_names(self._storage)
            if name in others:
                raise RunFolderError(
                    f"the study at {place} cannot be opened: it has no {error} where one is required"
                ) from error
            listed = ", ".join(map(repr, others))
            raise RunFolderError(
                f"{place} does not have the study {name!r} of this run"
                f"{f', but {listed}' if listed else ''}; put the right file back"
            ) from error
        except ImportError as error:  # the driver of the database
            missing = error.name or str(error)
            raise RunFolderError(
                f"the study at {place} cannot be opened: the Python package {missing} is not installed"
            ) from error
        except (
            *(SQLAlchemyError, StorageInternalError, RuntimeError, sqlite3.Error),
            *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
        ) as error:
            reason = reason_of(error.__cause__ or error)
            raise RunFolderError(f"the study at {place} cannot be opened: {reason}") from error
        if len(self._study.directions) != len(DIRECTIONS):
            raise RunFolderError(
                f"the study {name!r} at {place} has {len(self._study.directions)} objectives, not clean "
                f"and robust accuracy"
            )
        if written > FORMAT:
            raise RunFolderError(
                f"the study {name!r} at {place} was written by a newer morel_search (format {written}; this "
                f"version reads up to {FORMAT}); install that version"
            )
        self._rows = OptunaRowWriter(self._storage, study_id_of(self._study))
        self._ids: dict[int, int] = {trial.number: trial_id_of(trial) for trial in known}
        if file is not None:
            try:
                file.begin_writing()
            except (sqlite3.Error, OSError) as error:
                raise RunFolderError(
                    f"the study at {place} cannot be opened for writing: {reason_of(error)}"
                ) from error

    def _open(self, url: str, name: str, *, create: bool) -> optuna.Study:
        """Open the database and the study; refuse a damaged file and one of another version of Optuna."""
        options: Mapping[str, object] = self._file.engine_options if self._file else {}
        if self._file is None or self._file.has_content:  # Optuna may write when it opens a database
            if self._file is not None:
                self._file.check()
            shown = self._file.url if self._file else without_passwords(url)
            if mismatch := schema_mismatch(url, shown, options):
                raise RunFolderError(f"the study at {self.place} cannot be opened: {mismatch}")
        self._storage = RDBStorage(url, engine_kwargs=dict(options))
        if not create or (self._file is not None and optuna.get_all_study_names(self._storage)):
            return optuna.load_study(study_name=name, storage=self._storage)
        return optuna.create_study(
            study_name=name, storage=self._storage, directions=DIRECTIONS, load_if_exists=True
        )

    @classmethod
    def of_file(cls, path: Path, name: str, *, create: bool = True) -> TrialStore:
        """Open the study in an SQLite file."""
        return cls("sqlite://", name, file=StudyFile(path), create=create)

    def keep_file(self) -> None:
        """Write the study's file again if another program has deleted it."""
        if self._file is not None:
            self._file.keep(self._storage.engine)

    def committed(self) -> None:
        """Have a write-ahead log copied to the study's file."""
        if self._file is not None:
            self._file.committed()

    @guarded("read")
    def identity(self) -> Mapping[str, object] | None:
        """Return the settings that a resumed search must not change; None for a new study."""
        text = self._study.user_attrs.get("identity")
        return without_unused(current_space(json.loads(text))) if text else None

    @guarded("written")
    def set_identity(self, identity: Mapping[str, object]) -> None:
        """Write the settings that a resumed search must not change, and the format of the study."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._study.set_metric_names(METRICS)
        self._study.set_user_attr("format", FORMAT)
        self._study.set_user_attr("identity", json.dumps(identity))

    @guarded("read")
    def tested(self) -> dict[Member, tuple[float, float]]:
        """Return the accuracies on the test split: trial and epoch to (clean, robust) accuracy."""
        stored = json.loads(self._study.user_attrs.get("tested", "[]"))
        return {
            (int(number), int(epoch)): (float(clean), float(robust))
            for number, epoch, clean, robust in stored
        }

    @guarded("written")
    def set_tested(self, scores: Mapping[Member, tuple[float, float]]) -> None:
        """Write the accuracies on the test split, which :meth:`tested` returns."""
        self._study.set_user_attr(
            "tested", json.dumps([[*member, *score] for member, score in sorted(scores.items())])
        )

    @guarded("read")
    def spent(self) -> tuple[float, dict[int, float]]:
        """Return the time that was noted last.

        Returns:
            Seconds of the search, and the number of each unfinished trial to the seconds of its training.
        """
        stored = json.loads(self._study.user_attrs.get("spent", "[0, {}]"))
        return float(stored[0]), {int(number): float(seconds) for number, seconds in stored[1].items()}

    @guarded("written")
    def set_spent(self, seconds: float, unfinished: Mapping[int, float]) -> None:
        """Write the time that :meth:`spent` returns."""
        self._study.set_user_attr("spent", json.dumps([seconds, dict(unfinished)]))

    @guarded("read")
    def trials(self) -> list[FrozenTrial]:
        """Return all trials in the order of their numbers."""
        return self._study.get_trials(deepcopy=False)

    @guarded("written")
    def plan(
        self, plan: TrialPlan, params: Params, space: Mapping[str, BaseDistribution], *, running: bool
    ) -> int:
        """Write a new trial.

        Args:
            plan: Origin and random seed.
            params: Optuna's values.
            space: Distribution of each parameter.
            running: Whether the trial is RUNNING, else it is WAITING.

        Returns:
            The trial's number.
        """
        number = len(self._ids)
        state = TrialState.RUNNING if running else TrialState.WAITING
        self._ids[number] = self._rows.create(
            number, state, params, space, {"plan": asdict(plan)}, self._ids.get(number - 1)
        )
        return number

    @guarded("written")
    def start(self, number: int) -> None:
        """Make a WAITING trial RUNNING."""
        self._storage.set_trial_state_values(self._ids[number], TrialState.RUNNING)

    @guarded("written")
    def finish(self, number: int, outcome: Outcome) -> None:
        """Write the outcome of a RUNNING trial; it becomes COMPLETE, PRUNED or FAIL."""
        attributes = {"outcome": outcome.to_dict()}
        constraints = constraint_attributes(
            outcome.violations
        )  # as Optuna's trial.set_constraint writes them
        self._rows.finish(self._ids[number], outcome.state, outcome.values, attributes, constraints)

    @guarded("written")
    def requeue(self, number: int) -> None:
        """Make a RUNNING trial WAITING."""
        self._storage.set_trial_state_values(self._ids[number], TrialState.WAITING)

    def requeue_running(self) -> None:
        """Make every RUNNING trial WAITING, also on a full disk.

        Only the process that holds the lock of the run folder may call this.
        """
        try:
            self._requeue_running()
        except RunFolderError as error:
            if self._file is None or not is_full(error.__cause__):
                raise
            self._file.free_reserve()
            self._requeue_running()

    @guarded("written")
    def _requeue_running(self) -> None:
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._storage.set_trial_state_values(trial_id_of(trial), TrialState.WAITING)

    def close(self) -> None:
        """Close the database; closing it again does nothing.

        Raises:
            RunFolderError: Its file was deleted during the search, and cannot be written again.
        """
        if self._closed:
            return
        try:
            self._keep()
        finally:
            self._closed = True
            self._storage.remove_session()
            self._storage.engine.dispose()
            if self._file is not None:
                self._file.end_writing()

    @guarded("written")
    def _keep(self) -> None:
        """Do nothing: what is around every method keeps the file."""
