"""The study as the run folder's tables; made again from the study at any time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fractions import Fraction
from typing import Any

import pandas as pd
from optuna.trial import FrozenTrial

from morel_search.config import Space
from morel_search.results import EPOCH_COLUMNS, trial_columns
from morel_search.search.distributions import decode
from morel_search.search.record import StudyRecord, outcome_of, plan_of

__all__ = ["epochs_table", "trials_table"]


def trials_table(record: StudyRecord, space: Space, tested: Mapping[int, tuple[float, float]] | None = None) -> pd.DataFrame:
    """One row a finished trial, see the run folder's ``trials.csv``.

    Args:
        record: The study.
        space: Its space.
        tested: Number to (clean, robust) accuracy on the test split, for the trials that were tested.
    """
    rows = [_row(trial, space, (tested or {}).get(trial.number)) for trial in record.trials() if trial.state.is_finished()]
    return pd.DataFrame(rows, columns=trial_columns([parameter.name for parameter in space.parameters]))


def epochs_table(trials: Iterable[FrozenTrial]) -> pd.DataFrame:
    """One row an epoch of a finished trial, see the run folder's ``epochs.csv``."""
    rows = [{"number": trial.number, **epoch} for trial in trials for epoch in outcome_of(trial).history]
    return pd.DataFrame(rows, columns=list(EPOCH_COLUMNS))


def _row(trial: FrozenTrial, space: Space, tested: tuple[float, float] | None) -> dict[str, Any]:
    plan, outcome = plan_of(trial), outcome_of(trial)
    values, last, test = outcome.values or (None, None), outcome.last_values or (None, None), tested or (None, None)
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
        "seconds": outcome.seconds,
        "seed": plan.seed,
        "failure": outcome.failure,
    }


def _parameters(trial: FrozenTrial, space: Space) -> dict[str, Any]:
    """What the trial was trained with, of the searched parameters; those whose condition does not hold are left out."""
    plan = plan_of(trial)
    if plan.origin != "control":
        return decode(space, trial.params)
    control = next(one for one in space.controls if one.name == plan.name)
    settings = space.control_settings(control)
    return space.active({parameter.name: getattr(settings, parameter.name) for parameter in space.parameters})


def _cell(value: Any) -> Any:
    return float(value) if isinstance(value, Fraction) else value
