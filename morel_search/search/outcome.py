"""The outcome of a trial: computed from the results of its epochs, and read from the study."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from fractions import Fraction

from optuna.trial import FrozenTrial, TrialState

from morel_search.config import Constraint, Space
from morel_search.config.searchable import TrialSettings
from morel_search.search.early_stopping import RungProgress
from morel_search.search.trial import check_stored
from morel_search.training.selection import EpochResult, chosen_epoch, chosen_epochs

__all__ = ["Outcome", "outcome_of", "read_outcome", "violations_of"]

Points = tuple[tuple[int, float, float], ...]
Violations = Callable[[Mapping[str, float]], Mapping[str, float]]

FIRST_FIELDS = {"values", "epoch", "last_values", "history", "seconds", "failure"}
"""Fields of an outcome that every version of morel_search has written; the others have defaults."""

EPOCH_FIELDS = {field.name for field in fields(EpochResult)}
FIRST_EPOCH_FIELDS = {field.name for field in fields(EpochResult) if field.default is MISSING}
"""Fields of the result of an epoch that every version of morel_search has written."""

DETERMINISTIC_FAILURES = ("out of memory", "diverged")
"""First words of the failure reasons that similar configurations share."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a finished trial.

    Attributes:
        values: Clean and robust accuracy of the selected epoch; None for a trial that failed or was stopped
            early.
        epoch: The selected epoch.
        points: (epoch, clean accuracy, robust accuracy) of all selected epochs, the one of ``values`` first,
            under the final attack; for a trial that was stopped early, those up to its rung, under the quick
            attack.
        last_values: Clean and robust accuracy of the last epoch that was evaluated, under the quick attack.
        history: The result of each epoch.
        seconds: Duration of the training.
        rung: The highest rung that the trial reached, in epochs.
        stopped: Whether the trial was stopped early at that rung.
        exempt_at: The rung at which the trial would have been stopped if it were not exempt from early
            stopping (``early_stopping.run_through``).
        violations: Name of a constraint to the amount by which it is violated (0 or less: satisfied).
        elapsed: Seconds that the search had taken when the trial ended, those of earlier starts included.
        failure: The reason, for a trial that failed.
    """

    values: tuple[float, float] | None = None
    epoch: int | None = None
    points: Points = ()
    last_values: tuple[float, float] | None = None
    history: tuple[EpochResult, ...] = ()
    seconds: float = 0.0
    rung: int | None = None
    stopped: bool = False
    exempt_at: int | None = None
    violations: Mapping[str, float] = field(default_factory=dict)
    elapsed: float = 0.0
    failure: str = ""

    @property
    def state(self) -> TrialState:
        """FAIL for a failure, PRUNED for a trial that was stopped early, else COMPLETE."""
        if self.failure:
            return TrialState.FAIL
        return TrialState.PRUNED if self.stopped else TrialState.COMPLETE

    @property
    def violation(self) -> float:
        """Sum of the amounts by which constraints are violated; 0 if all are satisfied."""
        return sum(value for value in self.violations.values() if value > 0)

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name, as the study stores them; :func:`read_outcome` reads them."""
        stored: dict[str, object] = {field.name: getattr(self, field.name) for field in fields(self)}
        stored["history"] = [result.to_dict() for result in self.history]
        stored["violations"] = dict(self.violations)
        return stored

    @property
    def deterministic_failure(self) -> bool:
        """Whether the trial failed for a reason that similar configurations share."""
        return self.failure.startswith(DETERMINISTIC_FAILURES)


def outcome_of(
    history: Sequence[EpochResult],
    failure: str,
    select_epoch: str,
    *,
    progress: RungProgress | None = None,
    violations: Violations = lambda measured: {},
    elapsed: float = 0.0,
) -> Outcome:
    """Compute the outcome of a training from the results of its epochs.

    A training without a finite accuracy is a failure.

    Args:
        history: The result of each epoch.
        failure: The reason if the training failed, else empty.
        select_epoch: Epoch selection rule, see :mod:`morel_search.training.selection`.
        progress: The rungs that the trial reached, and whether it was stopped.
        violations: Function from measured values (``clean_accuracy``, ``robust_accuracy``, ``seconds``) to
            the amount by which each constraint is violated.
        elapsed: Seconds that the search has taken.
    """
    progress = progress or RungProgress()
    compared = [
        result
        for result in history
        if not progress.stopped or progress.rung is None or result.epoch <= progress.rung
    ]
    points: Points = tuple(
        (result.epoch, float(result.clean_accuracy or 0), float(result.robust_accuracy or 0))
        for result in _selected(compared, select_epoch)
    )
    if not failure and not points:
        failure = "the training reported no accuracy"
    if not failure and not all(math.isfinite(value) for point in points for value in point):
        failure = f"the accuracies are not finite: {points[0][1:]}"
    to_the_end = not failure and not progress.stopped
    seconds = sum(result.seconds for result in history)
    violated: Mapping[str, float] = {}
    if not failure:
        points, violated = _least_violating(
            points,
            lambda clean, robust: violations(
                {"clean_accuracy": clean, "robust_accuracy": robust, "seconds": seconds}
            ),
        )
    return Outcome(
        values=points[0][1:] if to_the_end else None,
        epoch=points[0][0] if to_the_end else None,
        points=points if not failure else (),
        last_values=None if failure else _accuracies(chosen_epoch(history, "last")),
        history=tuple(history),
        seconds=seconds,
        rung=progress.rung,
        stopped=progress.stopped and not failure,
        exempt_at=progress.exempt_at,
        violations=dict(violated),
        elapsed=elapsed,
        failure=failure.encode("utf-8", "backslashreplace").decode(),  # a lone surrogate cannot be stored
    )


def _selected(history: Sequence[EpochResult], select_epoch: str) -> list[EpochResult]:
    """Return the selected epochs, with the robust accuracy under the final attack where it was run.

    Under the final attack, an epoch that the rule ``front`` selected may be dominated by another one.
    """
    selected = [
        replace(result, robust_accuracy=result.strongest_robust_accuracy)
        for result in chosen_epochs(history, select_epoch)
    ]
    return chosen_epochs(selected, select_epoch)


def read_outcome(trial: FrozenTrial) -> Outcome:
    """Return the outcome that a finished trial was written with; an empty one if there is none.

    Raises:
        RunFolderError: The outcome was not written by this project, or by a newer version of it.
    """
    stored = trial.user_attrs.get("outcome")
    if stored is None:
        return Outcome()
    known = {field.name for field in fields(Outcome)}
    values = dict(check_stored(trial, stored, required=FIRST_FIELDS, known={*known, "spared"}))
    spared = values.pop("spared", None)  # the name of exempt_at in studies of earlier versions
    values.setdefault("exempt_at", spared)
    for name in ("values", "last_values"):
        values[name] = _pair(values.get(name))
    values["points"] = tuple(
        (int(epoch), float(clean), float(robust)) for epoch, clean, robust in values.get("points", ())
    )
    values["history"] = tuple(
        EpochResult(**check_stored(trial, epoch, required=FIRST_EPOCH_FIELDS, known=EPOCH_FIELDS))
        for epoch in values["history"]
    )
    return Outcome(**values)


def violations_of(space: Space, settings: TrialSettings, measured: Mapping[str, float]) -> dict[str, float]:
    """Return the amount by which each constraint of a space is violated; 0 or less if it is satisfied.

    A constraint on a searched parameter that is inactive is satisfied.

    Args:
        space: The space.
        settings: Settings of the training.
        measured: ``clean_accuracy``, ``robust_accuracy`` and ``seconds`` of the training.
    """
    searched = {parameter.name for parameter in space.parameters}
    active = space.active({name: settings.value(name) for name in searched})

    def value(constraint: Constraint) -> float | Fraction | None:
        if constraint.measured:
            return measured.get(constraint.name)
        if constraint.name in searched and constraint.name not in active:
            return None
        setting: float | Fraction | None = getattr(settings.train, constraint.name)
        return setting

    return {str(constraint): constraint.violation(value(constraint)) for constraint in space.constraints}


def _least_violating(
    points: Points, violations: Callable[[float, float], Mapping[str, float]]
) -> tuple[Points, Mapping[str, float]]:
    """Return the points with the smallest sum of violations, and the violations of the first of them."""
    violated = [violations(clean, robust) for _, clean, robust in points]
    sums = [sum(value for value in amounts.values() if value > 0) for amounts in violated]
    least = min(sums)
    kept = tuple(point for point, total in zip(points, sums, strict=True) if total == least)
    return kept, violated[sums.index(least)]


def _accuracies(result: EpochResult | None) -> tuple[float, float] | None:
    if result is None or result.clean_accuracy is None or result.robust_accuracy is None:
        return None
    return result.clean_accuracy, result.robust_accuracy


def _pair(values: Sequence[float] | None) -> tuple[float, float] | None:
    return None if values is None else (float(values[0]), float(values[1]))
