"""The importance of each parameter for both accuracies and for the front, and whether its rank is stable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from morel_search.analysis.parameters import SearchedParameter
from morel_search.analysis.ped_anova import Cells, best_trials, categorical_cells, importances, numeric_cells
from morel_search.analysis.stopping import values_at
from morel_search.results.tables import ACCURACIES

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BEST", "FEWEST_TRIALS", "KEPT", "RESAMPLES", "TARGETS", "ComparedTrials", "compare", "importance"]

TARGETS = (*ACCURACIES, "front")

BEST = 0.25
"""Fraction of the trials that are among the best. Optuna's default is 0.1. On 80 of the recorded trainings
(``benchmarks/curves.csv``, at epoch 3, 40 draws), the importance of the training epsilon for robust accuracy
exceeds chance in 70 % of the draws with 0.25, and in 45 % with 0.1. A test computes both."""

FEWEST_TRIALS = 10
"""Fewest trials for which an importance is computed: the best are then three. A rule of thumb."""

RESAMPLES = 100
"""Number of bootstrap samples, and of shuffles for the level of chance."""

KEPT = 0.8
"""Fraction of the bootstrap samples in which a stable parameter has its rank. A rule of thumb."""

CHANCE = 0.95
"""Fraction of the shuffles whose largest importance is below the level of chance."""

SEED = 0


@dataclass(frozen=True, slots=True)
class ComparedTrials:
    """Trials whose accuracies belong to the same epoch.

    Attributes:
        rows: Rows of ``trials.csv``; both accuracies are those of :attr:`epoch`.
        epoch: The epoch, which is the first rung of early stopping; None for the result of a whole training.
    """

    rows: pd.DataFrame
    epoch: int | None


class _Importance(NamedTuple):
    """A row of the result."""

    parameter: str
    target: str
    importance: float
    low: float
    high: float
    chance: float
    rank: int
    kept: float
    first: float
    stable: bool
    trials: int
    best: int


def compare(
    trials: pd.DataFrame,
    epochs: pd.DataFrame,
    rungs: Sequence[int],
    rule: str,
    parameters: Sequence[SearchedParameter],
) -> ComparedTrials:
    """Select the trials from which importances are computed, with accuracies of a common epoch.

    With early stopping these are all trials that reached the first rung: complete ones, stopped ones, and
    those that failed later. A trial that was stopped and one that was not are then judged by the same
    measurement. Without early stopping, or without epochs, they are the complete trials. Controls and trials
    outside the space are left out, because the search did not draw them from it.

    Args:
        trials: Rows of ``trials.csv``.
        epochs: Rows of ``epochs.csv``.
        rungs: The rungs of early stopping, in epochs.
        rule: The epoch selection rule.
        parameters: The parameters of the space.
    """
    rows = trials[(trials["origin"] != "control") & _inside(trials, parameters)]
    if len(rungs) and len(epochs):
        rung = min(rungs)
        reached = epochs.groupby("number")["epoch"].max()
        at_rung = values_at(epochs, rung, rule)
        at_rung = at_rung[at_rung.index.isin(reached.index[reached >= rung])]
        numbers = rows["number"].astype(int)
        rows = rows.assign(**{column: numbers.map(at_rung[column]) for column in ACCURACIES})
        return ComparedTrials(rows[_finite(rows)].reset_index(drop=True), rung)
    rows = rows[rows["state"] == "COMPLETE"]
    return ComparedTrials(rows[_finite(rows)].reset_index(drop=True), None)


def importance(rows: pd.DataFrame, parameters: Sequence[SearchedParameter]) -> pd.DataFrame:
    """Compute the importance of each parameter for being among the best trials, by PED-ANOVA.

    For clean and for robust accuracy, the best trials are the quarter with the highest accuracy; for the
    front, the quarter in the first non-dominated fronts. Trials that equal the last of them are among them.
    The importance is the fraction of the variance of being among the best that a parameter explains alone
    (:mod:`morel_search.analysis.ped_anova`). A conditional parameter is assessed among the trials in which it
    is active, and weighted by how many of the best they are.

    Bootstrap samples of the trials give an interval of each importance, and the fraction of samples in which
    the parameter has the same rank. With the best trials drawn by chance, 95 % of the largest importances are
    below the level of chance. A rank is stable when at least 80 % of the samples agree with it and the
    importance exceeds chance. The result is deterministic.

    Args:
        rows: Trials with accuracies of a common epoch, see :func:`compare`.
        parameters: The parameters of the space.

    Returns:
        One row per parameter and target (``clean_accuracy``, ``robust_accuracy``, ``front``), by rank:
        ``importance``, the ends ``low`` and ``high`` of its 95 % interval, ``chance``, ``rank`` (1 is first),
        ``kept`` and ``first`` (fractions of the samples in which the parameter has this rank, and is first),
        ``stable``, ``trials`` (in which it is active) and ``best`` (number of best trials). Parameters with
        fewer than 10 active trials, and those with one value, are left out.
    """
    import pandas as pd

    results: list[_Importance] = []
    count = len(rows)
    cells = {parameter.name: _cells(rows, parameter) for parameter in parameters}
    cells = {name: grid for name, grid in cells.items() if _varies(grid)}
    if cells and count >= FEWEST_TRIALS:
        rng = np.random.default_rng(SEED)
        samples = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
        weights = np.vstack([np.ones((1, count)), samples])
        shuffles = rng.permuted(np.tile(np.arange(count), (RESAMPLES, 1)), axis=1)
        best = [best_trials(scores, weights, BEST) for scores in _scores(rows)]
        shuffled = [chosen[0][shuffles] for chosen in best]
        measured = np.array([importances(grid, weights, best) for grid in cells.values()])
        by_chance = np.array([importances(grid, np.ones((1, count)), shuffled) for grid in cells.values()])
        active = [int((grid.index >= 0).sum()) for grid in cells.values()]
        for index, target in enumerate(TARGETS):
            level = float(np.quantile(by_chance[:, index].max(axis=0), CHANCE))
            number = int(best[index][0].sum())
            results += _ranked(list(cells), target, measured[:, index], level, active, number)
    return pd.DataFrame(results, columns=list(_Importance._fields))


def _ranked(
    names: Sequence[str],
    target: str,
    measured: NDArray[np.float64],
    chance: float,
    trials: Sequence[int],
    best: int,
) -> list[_Importance]:
    """Return the rows of one target, by rank.

    Args:
        names: The parameters.
        target: The target.
        measured: Importances of shape (parameters, 1 + samples); the first column is that of all trials.
        chance: The level of chance.
        trials: Number of trials in which each parameter is active.
        best: Number of the best trials.
    """
    values, samples = measured[:, 0], measured[:, 1:]
    order = np.argsort(-values, kind="stable")
    ranks = np.argsort(np.argsort(-samples, axis=0, kind="stable"), axis=0)
    low, high = np.minimum(np.quantile(samples, (0.025, 0.975), axis=1), 1.0)
    rows = []
    for rank, index in enumerate(order):
        kept, first = float((ranks[index] == rank).mean()), float((ranks[index] == 0).mean())
        value = min(1.0, float(values[index]))  # the densities of few trials can give more than all variance
        rows.append(
            _Importance(
                parameter=names[index],
                target=target,
                importance=value,
                low=min(value, float(low[index])),
                high=max(value, float(high[index])),
                chance=min(1.0, chance),
                rank=rank + 1,
                kept=kept,
                first=first,
                stable=kept >= KEPT and float(values[index]) > chance,
                trials=trials[index],
                best=best,
            )
        )
    return rows


def _scores(rows: pd.DataFrame) -> list[NDArray[np.float64]]:
    """Return the score of each trial for each target; higher is better."""
    import moocore

    points = rows[list(ACCURACIES)].to_numpy(dtype=float)
    return [points[:, 0], points[:, 1], -np.asarray(moocore.pareto_rank(points, maximise=True), dtype=float)]


def _finite(rows: pd.DataFrame) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(rows[list(ACCURACIES)].astype(float)).all(axis=1))


def _inside(trials: pd.DataFrame, parameters: Sequence[SearchedParameter]) -> NDArray[np.bool_]:
    """Return which trials are inside the space."""
    inside = np.ones(len(trials), dtype=bool)
    for parameter in parameters:
        if parameter.column in trials:
            inside &= [
                parameter.value(cell) is None or parameter.position(cell) is not None
                for cell in trials[parameter.column]
            ]
    return inside


def _cells(rows: pd.DataFrame, parameter: SearchedParameter) -> Cells:
    column: Sequence[object] = (
        rows[parameter.column].tolist() if parameter.column in rows else [None] * len(rows)
    )
    values = [parameter.value(cell) for cell in column]
    if parameter.kind == "categorical":
        indices = [parameter.choices.index(value) if isinstance(value, str) else None for value in values]
        return categorical_cells(indices, len(parameter.choices))
    numbers = [None if value is None else float(value) for value in values]
    return numeric_cells(numbers, parameter.low, parameter.high, log=parameter.log, step=parameter.step)


def _varies(grid: Cells) -> bool:
    active = grid.index[grid.index >= 0]
    return len(active) >= FEWEST_TRIALS and len(np.unique(active)) > 1
