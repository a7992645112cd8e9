"""Early stopping: saved epochs, members of the front that it may have cost, rank correlations at rungs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from morel_search._format import number_of, percent
from morel_search.analysis.run_data import POINT
from morel_search.analysis.statistics import spearman
from morel_search.results.settings import RunSettings

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
"""Fewest trials for which a rank correlation is computed."""

GUESSING = 0.5
"""Rank correlation below which a rung is too early to stop trials. A rule of thumb."""

_ORDER = {"last": ["epoch"], "best_robust": ["robust_accuracy", "clean_accuracy", "epoch"]}
_BEST_SUM = ["sum", "robust_accuracy", "epoch"]


@dataclass(frozen=True, slots=True)
class RungCorrelation:
    """Rank correlation between the accuracies at a rung and at the end.

    Attributes:
        rung: The rung, in epochs.
        trials: Number of trials that are compared: the complete trials that were trained beyond the rung and
            evaluated at or before it.
        clean: Spearman's correlation of the clean accuracies; None for fewer than :data:`FEWEST_TRIALS`
            trials, or when all accuracies of one side are equal.
        robust: The same for the robust accuracies.
    """

    rung: int
    trials: int
    clean: float | None
    robust: float | None


@dataclass(frozen=True, slots=True)
class StoppingCosts:
    """Epochs with and without early stopping.

    Attributes:
        started: Number of finished trials, in any state.
        trained: Number of epochs that they were trained.
        full: Number of epochs without early stopping; a failed trial would have failed at the same epoch.
        stopped: Number of trials that were stopped at each rung; the key 0 is for an unknown rung.
    """

    started: int
    trained: int
    full: int
    stopped: Mapping[int, int]

    @property
    def ended(self) -> int:
        """Number of trials that were stopped early."""
        return sum(self.stopped.values())

    @property
    def saved(self) -> float:
        """Fraction of the epochs that was saved, from 0 to 1."""
        return 1 - self.trained / self.full if self.full else 0.0


@dataclass(frozen=True, slots=True)
class Regret:
    """Trials that were exempt from early stopping and would have been stopped.

    Attributes:
        spared: Number of these trials that are complete.
        on_front: Number of these trials that are on the front.
    """

    spared: int
    on_front: int


def values_at(epochs: pd.DataFrame, rung: int, rule: str) -> pd.DataFrame:
    """Return the accuracies of each trial at a rung.

    They are those of the epoch that the epoch selection rule selects among the epochs up to the rung.

    Args:
        epochs: Rows of ``epochs.csv``.
        rung: The rung, in epochs.
        rule: The epoch selection rule; ``front`` is treated as ``best_sum``.

    Returns:
        Clean and robust accuracy, indexed by the number of the trial; without the trials that were not
        evaluated at or before the rung.
    """
    rows = epochs[epochs["epoch"] <= rung].dropna(subset=POINT)
    rows = rows.assign(sum=rows["robust_accuracy"] + rows["clean_accuracy"])
    rows = rows.sort_values(_ORDER.get(rule, _BEST_SUM), kind="stable")
    return rows.drop_duplicates("number", keep="last").set_index("number")[POINT]


def rung_correlations(
    trials: pd.DataFrame, epochs: pd.DataFrame, rungs: Iterable[int], rule: str
) -> list[RungCorrelation]:
    """Compute the rank correlation between the accuracies at each rung and at the end.

    Only COMPLETE trials are compared. A trial that ended at or before a rung is left out there, because it
    would be compared with itself.

    Args:
        trials: Rows of ``trials.csv``.
        epochs: Rows of ``epochs.csv``.
        rungs: The rungs, in epochs.
        rule: The epoch selection rule.
    """
    complete = trials[trials["state"] == "COMPLETE"].dropna(subset=POINT)
    at_end = complete.set_index("number")[POINT]
    lengths = epochs.groupby("number")["epoch"].max()
    correlations = []
    for rung in rungs:
        at_rung = values_at(epochs, rung, rule)
        beyond = lengths.index[lengths > rung]
        numbers = at_rung.index.intersection(at_end.index).intersection(beyond)
        clean, robust = (
            spearman(
                at_rung.loc[numbers, column].to_numpy(dtype=float),
                at_end.loc[numbers, column].to_numpy(dtype=float),
                FEWEST_TRIALS,
            )
            for column in POINT
        )
        correlations.append(RungCorrelation(rung, len(numbers), clean, robust))
    return correlations


def stopping_costs(trials: pd.DataFrame, settings: RunSettings) -> StoppingCosts:
    """Count the epochs with and without early stopping.

    Args:
        trials: Rows of ``trials.csv``.
        settings: The settings of the run. Without early stopping, a trial would have been trained for its
            ``param_epochs``, or for ``train.epochs`` when the epochs are not searched.
    """
    usual = settings.epochs
    trained = trials["epochs"].fillna(0).astype(int)
    stopped = trials["state"] == "PRUNED"
    full = (
        trials["param_epochs"].map(number_of).astype(float) if "param_epochs" in trials else trained * np.nan
    )
    full = full.fillna(0.0 if usual is None else usual)
    saved = (full - trained)[stopped].clip(lower=0).sum()
    by_rung = Counter(trials["rung"][stopped].fillna(0).astype(int).tolist())
    return StoppingCosts(
        started=len(trials),
        trained=int(trained.sum()),
        full=int(trained.sum() + saved),
        stopped=dict(sorted(by_rung.items())),
    )


def regret(trials: pd.DataFrame, members: Collection[int]) -> Regret:
    """Count the exempt trials that would have been stopped, and those of them that are on the front.

    Args:
        trials: Rows of ``trials.csv``.
        members: Numbers of the trials on the front.
    """
    spared = trials[(trials["state"] == "COMPLETE") & trials["spared"].notna()]["number"]
    return Regret(len(spared), int(spared.isin(list(members)).sum()))


def saving_sentence(costs: StoppingCosts) -> str:
    """Return what early stopping saved, without a full stop; empty when no trial was stopped."""
    if not costs.ended:
        return ""
    trainings = f"{costs.ended} of {costs.started} training{'' if costs.started == 1 else 's'}"
    return f"early stopping ended {trainings} and saved {percent(costs.saved, 0)} of their epochs"


def regret_sentence(counts: Regret) -> str:
    """Return a sentence on the exempt trials that would have been stopped; empty when there are none."""
    if not counts.spared:
        return ""
    trainings = "training" if counts.spared == 1 else "trainings"
    return (
        f"{counts.spared} {trainings} that early stopping would have ended ran to the end, as a sample: "
        f"{counts.on_front or 'none'} of them reached the front."
    )


def stopping_warnings(correlations: Sequence[RungCorrelation]) -> list[str]:
    """Return a warning for each rung with a rank correlation below :data:`GUESSING`."""
    warnings = []
    for correlation in correlations:
        accuracies = (("clean", correlation.clean), ("robust", correlation.robust))
        weak = [
            f"{name} accuracy ({value:.2f})"
            for name, value in accuracies
            if value is not None and value < GUESSING
        ]
        if weak:
            warnings.append(
                f"Stopping at epoch {correlation.rung} is guessing: in {correlation.trials} trainings, the "
                f"ranks at this epoch and at the end hardly agree in {' and '.join(weak)}, where 1 is full "
                f"agreement; raise early_stopping.grace above {correlation.rung}, or set "
                "early_stopping.enabled to false."
            )
    return warnings
