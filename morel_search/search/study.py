"""The study on disk: the one truth about what was tried and what came out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import asdict, dataclass, field, fields, replace
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
from morel_search.results.renamed import RENAMED_ORIGINS, current_space
from morel_search.search.optuna_private import (
    constraint_attributes,
    schema_mismatch,
    study_id_of,
    trial_id_of,
)
from morel_search.search.optuna_rows import OptunaRowWriter
from morel_search.search.pareto import Member

__all__ = ["Outcome", "TrialPlan", "TrialStore"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

DIRECTIONS = [StudyDirection.MAXIMIZE, StudyDirection.MAXIMIZE]
METRICS = ["clean_accuracy", "robust_accuracy"]
FIRST_FIELDS = {"values", "epoch", "last_values", "history", "seconds", "failure"}
"""Fields of an outcome that every version of morel_search has written; the others came later and have defaults."""

FORMAT = 1
"""Format of what this project stores in a study; raised when an older version could not read it."""

HOPELESS = ("out of memory", "diverged")
"""How the reasons begin that a configuration shares with its neighbours."""


@dataclass(frozen=True, slots=True)
class TrialPlan:
    """What a trial is to do.

    Attributes:
        origin: ``search``, ``control``, ``enqueued`` (given by ``search.start_from``) or ``replicate``.
        name: The control's name, else empty.
        seed: Seed of the training.
        in_space: Whether the trial lies in the search space, and so can be a parent.
    """

    origin: str
    name: str
    seed: int
    in_space: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a trial gave: the point that counts, the last epoch, every epoch, or why there is none.

    Attributes:
        values: Clean and robust accuracy of the epoch that counts; None where the trial failed or was stopped
            early.
        epoch: That epoch.
        points: (epoch, clean, robust) of all epochs that count, the one above first; of a trial stopped
            early, those at its rung.
        last_values: Accuracies of the last epoch that was evaluated.
        history: Each epoch's result.
        seconds: What the training took.
        rung: The highest rung that the trial reached, in epochs.
        stopped: Whether it was stopped there.
        exempt_at: The rung where it would have been stopped if it did not belong to those that run through.
        violations: Name of a constraint to by how much it is broken (0 or less: not).
        elapsed: Seconds that the search had taken by then, those of earlier starts counted.
        failure: Why there is nothing, where the trial failed.
    """

    values: tuple[float, float] | None = None
    epoch: int | None = None
    points: tuple[tuple[int, float, float], ...] = ()
    last_values: tuple[float, float] | None = None
    history: tuple[Mapping[str, Any], ...] = ()
    seconds: float = 0.0
    rung: int | None = None
    stopped: bool = False
    exempt_at: int | None = None
    violations: Mapping[str, float] = field(default_factory=dict)
    elapsed: float = 0.0
    failure: str = ""

    @property
    def state(self) -> TrialState:
        """COMPLETE with its values, PRUNED where it was stopped early, else FAIL."""
        if self.failure:
            return TrialState.FAIL
        return TrialState.PRUNED if self.stopped else TrialState.COMPLETE

    @property
    def violation(self) -> float:
        """Sum of the broken constraints; 0 where all hold."""
        return sum(value for value in self.violations.values() if value > 0)

    @property
    def deterministic_failure(self) -> bool:
        """Whether it failed for a reason that similar configurations share."""
        return self.failure.startswith(HOPELESS)


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


def read_plan(trial: FrozenTrial) -> TrialPlan:
    """Return the plan that a trial was written with.

    Raises:
        RunFolderError: The trial was not written by this project, or by a newer version of it.
    """
    stored = trial.user_attrs.get("plan")
    names = {one.name for one in fields(TrialPlan)}
    if not isinstance(stored, dict) or not names <= stored.keys():
        raise RunFolderError(f"trial {trial.number} of the study was not written by morel_search")
    _refuse_newer(trial, stored.keys() - names)
    plan = TrialPlan(**stored)
    return replace(plan, origin=RENAMED_ORIGINS.get(plan.origin, plan.origin))


def read_outcome(trial: FrozenTrial) -> Outcome:
    """Return the outcome that a finished trial was written with; an empty one where there is none.

    Raises:
        RunFolderError: The outcome was not written by this project, or by a newer version of it.
    """
    raw = trial.user_attrs.get("outcome")
    if raw is None:
        return Outcome()
    names = {one.name for one in fields(Outcome)}
    if not isinstance(raw, dict):
        raise RunFolderError(f"trial {trial.number} of the study was not written by morel_search")
    stored = dict(raw)
    spared = stored.pop("spared", None)  # the name of exempt_at in studies of earlier versions
    stored.setdefault("exempt_at", spared)
    if not stored.keys() >= FIRST_FIELDS:
        raise RunFolderError(f"trial {trial.number} of the study was not written by morel_search")
    _refuse_newer(trial, stored.keys() - names)
    for name in ("values", "last_values"):
        stored[name] = _pair(stored.get(name))
    stored["points"] = tuple(
        (int(epoch), float(clean), float(robust)) for epoch, clean, robust in stored.get("points", ())
    )
    stored["history"] = tuple(stored.get("history", ()))
    return Outcome(**stored)


def _refuse_newer(trial: FrozenTrial, unknown: Set[str]) -> None:
    """Raise RunFolderError if a trial has fields that this version does not know."""
    if unknown:
        raise RunFolderError(
            f"trial {trial.number} of the study was written by a newer morel_search: this version does not know "
            f"{', '.join(sorted(unknown))}; install that version"
        )


def _pair(values: Sequence[float] | None) -> tuple[float, float] | None:
    return None if values is None else (float(values[0]), float(values[1]))
