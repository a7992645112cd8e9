"""What a training's epochs amount to."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from morel_search.config import Constraint
from morel_search.search.early_stopping import RungProgress
from morel_search.search.population import TO_THE_END
from morel_search.search.proposer import Told
from morel_search.search.study import Outcome
from morel_search.training.selection import EpochResult, chosen_epoch, chosen_epochs

__all__ = ["outcome_of", "population_entry", "violations_of"]

Points = tuple[tuple[int, float, float], ...]
Violations = Callable[[Mapping[str, float]], Mapping[str, float]]


def outcome_of(
    history: Sequence[Mapping[str, Any]],
    failure: str,
    select_epoch: str,
    *,
    progress: RungProgress | None = None,
    violations: Violations = lambda measured: {},
    elapsed: float = 0.0,
) -> Outcome:
    """What a training's epochs amount to: the accuracies of the epochs that count, or the reason why there are none.

    Args:
        history: Each epoch's :class:`EpochResult` as a mapping.
        failure: The reason, where the training failed.
        select_epoch: The rule for the epochs that count.
        progress: What early stopping did with it.
        violations: What was measured to the constraints and by how much they are broken.
        elapsed: Seconds that the search has taken.
    """
    progress = progress or RungProgress()
    results = [EpochResult(**result) for result in history]
    compared = [
        result
        for result in results
        if not progress.stopped or progress.rung is None or result.epoch <= progress.rung
    ]
    chosen = chosen_epochs(compared, select_epoch)
    points: Points = tuple(
        (result.epoch, float(result.clean_accuracy or 0), float(result.robust_accuracy or 0))
        for result in chosen
    )
    if not failure and not points:
        failure = "the training reported no accuracy"
    if not failure and not all(math.isfinite(value) for one in points for value in one):
        failure = f"the accuracies are not finite: {points[0][1:]}"
    whole = not failure and not progress.stopped
    seconds = sum(result.seconds for result in results)
    broken: Mapping[str, float] = {}
    if not failure:
        points, broken = _within(
            points, lambda clean, robust: violations({**_measured(clean, robust), "seconds": seconds})
        )
    return Outcome(
        values=points[0][1:] if whole else None,
        epoch=points[0][0] if whole else None,
        points=points if not failure else (),
        last_values=None if failure else _values(chosen_epoch(results, "last")),
        history=tuple(dict(result) for result in history),
        seconds=seconds,
        rung=progress.rung,
        stopped=progress.stopped and not failure,
        exempt_at=progress.exempt_at,
        violations=dict(broken),
        elapsed=elapsed,
        failure=failure.encode("utf-8", "backslashreplace").decode(),  # a lone surrogate cannot be stored
    )


def population_entry(outcome: Outcome) -> Told:
    """What the proposer is told of a trial that is over."""
    return Told(
        points=tuple((clean, robust) for _, clean, robust in outcome.points),
        rung=float(outcome.rung) if outcome.stopped and outcome.rung is not None else TO_THE_END,
        violations=outcome.violations,
        deterministic_failure=outcome.deterministic_failure,
    )


def violations_of(constraints: Sequence[Constraint], values: Mapping[str, Any]) -> dict[str, float]:
    """By how much each constraint is broken.

    Args:
        constraints: The constraints.
        values: What was measured and set, by name; what is missing or None breaks nothing.
    """
    return {str(constraint): constraint.violation(values.get(constraint.name)) for constraint in constraints}


def _measured(clean: float, robust: float) -> dict[str, float]:
    return {"clean_accuracy": clean, "robust_accuracy": robust}


def _within(
    points: Points, violations: Callable[[float, float], Mapping[str, float]]
) -> tuple[Points, Mapping[str, float]]:
    """Of several epochs that count, those that break the constraints least.

    And what the first of them breaks.
    """
    broken = [violations(clean, robust) for _, clean, robust in points]
    sums = [sum(value for value in one.values() if value > 0) for one in broken]
    least = min(sums)
    return tuple(point for point, total in zip(points, sums, strict=True) if total == least), broken[
        sums.index(least)
    ]


def _values(result: EpochResult | None) -> tuple[float, float] | None:
    if result is None or result.clean_accuracy is None or result.robust_accuracy is None:
        return None
    return result.clean_accuracy, result.robust_accuracy
