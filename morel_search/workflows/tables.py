"""The run folder's tables, computed from the study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from operator import attrgetter
from typing import cast

import pandas as pd
from optuna.trial import FrozenTrial

from morel_search.config import Space
from morel_search.results.tables import EPOCH_COLUMNS, front_columns, trial_columns
from morel_search.search.distributions import decode
from morel_search.search.outcome import read_outcome
from morel_search.search.pareto import Member
from morel_search.search.study import TrialStore
from morel_search.search.trial import read_plan

__all__ = ["epochs_table", "front_table", "trials_table"]

_ACCURACIES, _TEST = ("clean_accuracy", "robust_accuracy"), ("test_clean_accuracy", "test_robust_accuracy")
Tested = Mapping[Member, tuple[float, float]]
"""Trial and epoch to (clean, robust) accuracy on the test split."""

_EPOCH = attrgetter(*EPOCH_COLUMNS[1:])
"""The fields of an :class:`~morel_search.training.selection.EpochResult`, in the order of ``epochs.csv``."""

Cell = str | int | float | None


def trials_table(record: TrialStore, space: Space, tested: Tested | None = None) -> pd.DataFrame:
    """Return ``trials.csv``: one row for each finished trial.

    Args:
        record: The study.
        space: The run's space.
        tested: Accuracies on the test split of the networks that were scored there.
    """
    rows = [_row(trial, space, tested or {}) for trial in record.trials() if trial.state.is_finished()]
    return pd.DataFrame(rows, columns=trial_columns([parameter.name for parameter in space.parameters]))


def epochs_table(trials: Iterable[FrozenTrial]) -> pd.DataFrame:
    """Return ``epochs.csv``: one row for each epoch of each finished trial."""
    rows = [(trial.number, *_EPOCH(epoch)) for trial in trials for epoch in read_outcome(trial).history]
    return pd.DataFrame(rows, columns=list(EPOCH_COLUMNS))


def front_table(
    record: TrialStore, space: Space, front: Iterable[Member], tested: Tested | None = None
) -> pd.DataFrame:
    """Return ``front.csv``: one row for each member of the front, in the order of clean accuracy.

    Args:
        record: The study.
        space: The run's space.
        front: Trials and epochs.
        tested: As for :func:`trials_table`.
    """
    trials, rows = record.trials(), []
    for number, epoch in front:
        clean, robust = next(
            (clean, robust)
            for point_epoch, clean, robust in read_outcome(trials[number]).points
            if point_epoch == epoch
        )
        test = (tested or {}).get((number, epoch), (None, None))
        row = {
            **_row(trials[number], space, {}),
            "epoch": epoch,
            **dict(zip(_ACCURACIES, (clean, robust), strict=True)),
            **dict(zip(_TEST, test, strict=True)),
        }
        rows.append(((clean, number, epoch), row))
    rows.sort(key=lambda keyed: keyed[0])
    cells = [row for _, row in rows]
    return pd.DataFrame(cells, columns=front_columns([parameter.name for parameter in space.parameters]))


def _row(trial: FrozenTrial, space: Space, tested: Tested) -> dict[str, Cell]:
    plan, outcome = read_plan(trial), read_outcome(trial)
    values, last = outcome.values or (None, None), outcome.last_values or (None, None)
    test = (None, None) if outcome.epoch is None else tested.get((trial.number, outcome.epoch), (None, None))
    return {
        "number": trial.number,
        "state": trial.state.name,
        "origin": plan.origin,
        "name": plan.name,
        "epochs": len(outcome.history),
        "epoch": outcome.epoch,
        "clean_accuracy": values[0],
        "robust_accuracy": values[1],
        "last_clean_accuracy": last[0],
        "last_robust_accuracy": last[1],
        "test_clean_accuracy": test[0],
        "test_robust_accuracy": test[1],
        **{f"param_{name}": _cell(value) for name, value in _parameters(trial, space).items()},
        "rung": outcome.rung,
        "spared": outcome.exempt_at,
        "violation": None if outcome.values is None else outcome.violation,
        "seconds": outcome.seconds,
        "seed": plan.seed,
        "failure": outcome.failure,
    }


def _parameters(trial: FrozenTrial, space: Space) -> Mapping[str, object]:
    """Return a trial's values of the searched parameters whose condition is satisfied."""
    plan = read_plan(trial)
    if plan.origin != "control":
        return decode(space, trial.params)
    control = next(control for control in space.controls if control.name == plan.name)
    settings = space.control_trial(control)
    return space.active({parameter.name: settings.value(parameter.name) for parameter in space.parameters})


def _cell(value: object) -> Cell:
    return value if value is None or isinstance(value, (str, int)) else float(cast("float | Fraction", value))
