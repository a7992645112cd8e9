"""The study on disk: the one truth about what was tried and what came out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from morel_search._format import without_passwords
from morel_search.errors import RunFolderError
from morel_search.results.renamed import current_space
from morel_search.search.optuna_private import (
    constraint_attributes,
    schema_mismatch,
    study_id_of,
    trial_id_of,
)
from morel_search.search.optuna_rows import OptunaRowWriter
from morel_search.search.outcome import Outcome
from morel_search.search.pareto import Member
from morel_search.search.trial import TrialPlan

__all__ = ["TrialStore"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

DIRECTIONS = [StudyDirection.MAXIMIZE, StudyDirection.MAXIMIZE]
METRICS = ["clean_accuracy", "robust_accuracy"]
FORMAT = 1
"""Format of what this project stores in a study; raised when an older version could not read it."""


def _explained(method: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """What the database cannot write becomes one sentence: a full or read-only disk, a lock that somebody holds, a lost server."""

    @wraps(method)
    def explained(*arguments: Arguments.args, **named: Arguments.kwargs) -> Result:
        try:
            return method(*arguments, **named)
        except (SQLAlchemyError, StorageInternalError) as error:
            cause = getattr(error.__cause__ or error, "orig", None) or error
            reason = without_passwords(str(cause).splitlines()[0])
            raise RunFolderError(f"the study cannot be written: {reason}") from error

    return explained


class TrialStore:
    """An Optuna study in a database, written by one driver.

    A trial is written once when it is planned, whole, and once when it is over; what happens between lives in
    the trial's checkpoint. So a crash leaves whole trials, some of them RUNNING, which
    :meth:`requeue_running` hands out again.

    Args:
        url: Database, as Optuna's RDBStorage takes it.
        name: The study's name.

    Raises:
        RunFolderError: The database cannot be opened or is not a study.
    """

    def __init__(self, url: str, name: str) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        place = without_passwords(url)
        try:
            self._check_schema(url)
            self._storage = RDBStorage(
                url, engine_kwargs={"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None
            )
            self._study = optuna.create_study(
                study_name=name, storage=self._storage, directions=DIRECTIONS, load_if_exists=True
            )
        except (SQLAlchemyError, StorageInternalError, RuntimeError, ValueError) as error:
            reason = without_passwords(str(error).splitlines()[0])
            raise RunFolderError(f"the study at {place} cannot be opened: {reason}") from error
        if len(self._study.directions) != len(DIRECTIONS):
            raise RunFolderError(
                f"the study {name!r} at {place} has {len(self._study.directions)} objectives, not clean "
                f"and robust accuracy"
            )
        written = self._study.user_attrs.get("format", 1)  # studies of earlier versions have no number
        if written > FORMAT:
            raise RunFolderError(
                f"the study {name!r} at {place} was written by a newer morel_search (format {written}; this version "
                f"reads up to {FORMAT}); install that version"
            )
        self._rows = OptunaRowWriter(self._storage, study_id_of(self._study))
        self._ids: dict[int, int] = {trial.number: trial_id_of(trial) for trial in self.trials()}

    @staticmethod
    def _check_schema(url: str) -> None:
        """Refuse a database of another Optuna before Optuna itself opens it, which may write to it."""
        file = Path(url.removeprefix("sqlite:///"))
        if url.startswith("sqlite") and not (file.is_file() and file.stat().st_size):
            return
        if mismatch := schema_mismatch(url):
            raise RunFolderError(f"the study at {without_passwords(url)} cannot be opened: {mismatch}")

    @classmethod
    def of_file(cls, path: Path, name: str) -> TrialStore:
        """The study in an SQLite file."""
        return cls(f"sqlite:///{path.absolute()}", name)

    def identity(self) -> dict[str, Any] | None:
        """What the search must not change, as it was when the study began; None for a new study."""
        text = self._study.user_attrs.get("identity")
        return current_space(json.loads(text)) if text else None

    @_explained
    def set_identity(self, identity: Mapping[str, Any]) -> None:
        """Keep what the search must not change."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._study.set_metric_names(METRICS)
        self._study.set_user_attr("format", FORMAT)
        self._study.set_user_attr("identity", json.dumps(identity))

    def tested(self) -> dict[Member, tuple[float, float]]:
        """Trial and epoch to clean and robust accuracy on the test split, of what was tested."""
        stored = json.loads(self._study.user_attrs.get("tested", "[]"))
        return {
            (int(number), int(epoch)): (float(clean), float(robust))
            for number, epoch, clean, robust in stored
        }

    @_explained
    def set_tested(self, scores: Mapping[Member, tuple[float, float]]) -> None:
        """Keep accuracies on the test split."""
        self._study.set_user_attr(
            "tested", json.dumps([[*member, *score] for member, score in sorted(scores.items())])
        )

    def spent(self) -> tuple[float, dict[int, float]]:
        """Seconds of the search, and of the trainings that were under way, by number, as they were noted last."""
        stored = json.loads(self._study.user_attrs.get("spent", "[0, {}]"))
        return float(stored[0]), {int(number): float(seconds) for number, seconds in stored[1].items()}

    @_explained
    def set_spent(self, seconds: float, running: Mapping[int, float]) -> None:
        """Note what :meth:`spent` says."""
        self._study.set_user_attr("spent", json.dumps([seconds, running]))

    def trials(self) -> list[FrozenTrial]:
        """Every trial, by number."""
        return self._study.get_trials(deepcopy=False)

    @_explained
    def plan(
        self,
        plan: TrialPlan,
        params: Mapping[str, Any],
        space: Mapping[str, BaseDistribution],
        *,
        running: bool,
    ) -> int:
        """Write a new trial and return its number; not running means that it waits."""
        number = len(self._ids)
        state = TrialState.RUNNING if running else TrialState.WAITING
        self._ids[number] = self._rows.create(
            number, state, params, space, {"plan": asdict(plan)}, self._ids.get(number - 1)
        )
        return number

    @_explained
    def start(self, number: int) -> None:
        """A waiting trial runs now."""
        self._storage.set_trial_state_values(self._ids[number], TrialState.RUNNING)

    @_explained
    def finish(self, number: int, outcome: Outcome) -> None:
        """A running trial is over: COMPLETE with its values, PRUNED with its rung as attributes, or FAIL with its reason."""
        attributes = {"outcome": asdict(outcome)}
        constraints = constraint_attributes(outcome.violations)  # what Optuna's trial.set_constraint writes
        self._rows.finish(self._ids[number], outcome.state, outcome.values, attributes, constraints)

    @_explained
    def requeue_running(self) -> list[FrozenTrial]:
        """Make every RUNNING trial wait, and return all that wait. Only the driver that holds the run folder's lock may call this."""
        for trial in self._study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._storage.set_trial_state_values(trial_id_of(trial), TrialState.WAITING)
        return self._study.get_trials(deepcopy=False, states=(TrialState.WAITING,))

    def close(self) -> None:
        """Let go of the database."""
        self._storage.remove_session()
        self._storage.engine.dispose()
