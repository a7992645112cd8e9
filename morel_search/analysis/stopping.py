"""What early stopping saved, what it may have cost, and whether the values at a rung say anything about those at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from morel_search._format import number_of
from morel_search.analysis.run_data import POINT
from morel_search.analysis.statistics import spearman

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "FEWEST_TRIALS",
    "GUESSING",
    "Regret",
    "RungCorrelation",
    "StoppingCosts",
    "regret",
    "regret_sentence",
    "rung_correlations",
    "saving_sentence",
    "stopping_costs",
    "stopping_warnings",
    "values_at",
]

FEWEST_TRIALS = 5
"""Below so many trainings a correlation of ranks says nothing."""

GUESSING = 0.5
"""Below this correlation a rung says too little about the end to stop a training there. A rule of thumb."""

_ORDER = {"last": ["epoch"], "best_robust": ["robust_accuracy", "clean_accuracy", "epoch"]}
_BEST_SUM = ["sum", "robust_accuracy", "epoch"]


@dataclass(frozen=True, slots=True)
class RungCorrelation:
    """How well the order of trainings at a rung agrees with that at their ends.

    Attributes:
        rung: The rung, in epochs.
        trials: Trainings that were compared: those that ran to an end beyond the rung and were evaluated up to it.
        clean: Spearman's rank correlation of the clean accuracies; None for fewer than :data:`FEWEST_TRIALS` trainings, or where one
            side never changes.
        robust: That of the robust accuracies.
    """

    rung: int
    trials: int
    clean: float | None
    robust: float | None


@dataclass(frozen=True, slots=True)
class StoppingCosts:
    """What was trained, and what would have been without stopping.

    Attributes:
        started: Trainings that ended, in whatever way.
        trained: Epochs that they trained.
        full: Epochs that they would have trained if none had been stopped; one that failed would have failed then too.
        stopped: How many were stopped at each rung, by rung; 0 stands for one that is not known.
    """

    started: int
    trained: int
    full: int
    stopped: Mapping[int, int]

    @property
    def ended(self) -> int:
        """Trainings that were stopped early."""
        return sum(self.stopped.values())

    @property
    def saved(self) -> float:
        """The share of the epochs that was saved, from 0 to 1."""
        return 1 - self.trained / self.full if self.full else 0.0


@dataclass(frozen=True, slots=True)
class Regret:
    """What became of the trainings that would have been stopped and ran on.

    Attributes:
        spared: How many ran to their end.
        on_front: How many of them are on the front.
    """

    spared: int
    on_front: int


def values_at(epochs: pd.DataFrame, rung: int, rule: str) -> pd.DataFrame:
    """Find what each training stood for at a rung: of the epochs evaluated up to it, the one that the rule chooses.

    Args:
        epochs: Rows of ``epochs.csv``.
        rung: In epochs.
        rule: ``search.select_epoch``; ``front`` stands for the epoch with the highest sum, as ``best_sum`` does.

    Returns:
        Clean and robust accuracy, by number; no row for a training that was not evaluated by then.
    """
    rows = epochs[epochs["epoch"] <= rung].dropna(subset=POINT)
    rows = rows.assign(sum=rows["robust_accuracy"] + rows["clean_accuracy"])
    rows = rows.sort_values(_ORDER.get(rule, _BEST_SUM), kind="stable")
    return rows.drop_duplicates("number", keep="last").set_index("number")[POINT]


def rung_correlations(
    trials: pd.DataFrame, epochs: pd.DataFrame, rungs: Iterable[int], rule: str
) -> list[RungCorrelation]:
    """Compare, rung by rung, what COMPLETE trials had there with what they had in the end.

    A training that ended at or before a rung is not counted there: it would be compared with itself.

    Args:
        trials: Rows of ``trials.csv``.
        epochs: Rows of ``epochs.csv``.
        rungs: In epochs.
        rule: ``search.select_epoch``.
    """
    complete = trials[trials["state"] == "COMPLETE"].dropna(subset=POINT)
    ends = complete.set_index("number")[POINT]
    lengths = epochs.groupby("number")["epoch"].max()
    found = []
    for rung in rungs:
        there = values_at(epochs, rung, rule)
        beyond = lengths.index[lengths > rung]
        numbers = there.index.intersection(ends.index).intersection(beyond)
        clean, robust = (
            spearman(
                there.loc[numbers, column].to_numpy(dtype=float),
                ends.loc[numbers, column].to_numpy(dtype=float),
                FEWEST_TRIALS,
            )
            for column in POINT
        )
        found.append(RungCorrelation(rung, len(numbers), clean, robust))
    return found


def stopping_costs(trials: pd.DataFrame, settings: Mapping[str, Any]) -> StoppingCosts:
    """Count the epochs with and without stopping.

    Args:
        trials: Rows of ``trials.csv``.
        settings: ``settings.json``; a stopped training would have taken its ``param_epochs``, or else ``train.epochs``.
    """
    space = settings.get("space")
    train = space.get("train") if isinstance(space, Mapping) else None
    usual = number_of(train.get("epochs")) if isinstance(train, Mapping) else None
    trained = trials["epochs"].fillna(0).astype(int)
    stopped = trials["state"] == "PRUNED"
    whole = (
        trials["param_epochs"].map(number_of).astype(float) if "param_epochs" in trials else trained * np.nan
    )
    whole = whole.fillna(0.0 if usual is None else usual)
    missed = (whole - trained)[stopped].clip(lower=0).sum()
    at = Counter(trials["rung"][stopped].fillna(0).astype(int).tolist())
    return StoppingCosts(
        len(trials), int(trained.sum()), int(trained.sum() + missed), dict(sorted(at.items()))
    )


def regret(trials: pd.DataFrame, members: Collection[int]) -> Regret:
    """Count the trainings that would have been stopped and ran to their end, and those of them that reached the front.

    Args:
        trials: Rows of ``trials.csv``.
        members: Numbers of the trials on the front.
    """
    spared = trials[(trials["state"] == "COMPLETE") & trials["spared"].notna()]["number"]
    return Regret(len(spared), int(spared.isin(list(members)).sum()))


def saving_sentence(costs: StoppingCosts, unit: str = "%") -> str:
    """Say in one sentence, without a full stop, what stopping saved; empty where nothing was stopped."""
    if not costs.ended:
        return ""
    trainings = f"{costs.ended} of {costs.started} training{'' if costs.started == 1 else 's'}"
    return f"early stopping ended {trainings} and saved {100 * costs.saved:.0f}{unit} of their epochs"


def regret_sentence(found: Regret) -> str:
    """Say what became of the trainings that ran on; empty where there are none."""
    if not found.spared:
        return ""
    many = "training" if found.spared == 1 else "trainings"
    return f"Of {found.spared} {many} that would have been stopped and ran on, {found.on_front or 'none'} reached the front."


def stopping_warnings(correlations: Sequence[RungCorrelation]) -> list[str]:
    """Say at which rungs stopping is guessing, a sentence each, and what to do about it."""
    said = []
    for one in correlations:
        weak = [
            (name, value)
            for name, value in (("clean", one.clean), ("robust", one.robust))
            if value is not None and value < GUESSING
        ]
        if weak:
            which = " and ".join(f"{name} accuracy ({value:.2f})" for name, value in weak)
            said.append(
                f"Stopping at epoch {one.rung} is guessing: in {one.trials} trainings the ranks there and at the end hardly agree in "
                f"{which}, where 1 would be full agreement; raise early_stopping.grace above {one.rung}, or switch early_stopping off."
            )
    return said
