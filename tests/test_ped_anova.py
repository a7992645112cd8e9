"""PED-ANOVA for many weightings: Optuna's own evaluator, repeated trials, ties, and numbers of cells."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from morel_search.analysis.ped_anova import (
    Cells,
    best_trials,
    categorical_cells,
    importances,
    numeric_cells,
)

SPACE: dict[str, BaseDistribution] = {
    "plain": FloatDistribution(0, 1),
    "log": FloatDistribution(1e-3, 10, log=True),
    "whole": IntDistribution(1, 10),
    "many": IntDistribution(1, 300),
    "even": IntDistribution(2, 20, step=2),
    "powers": IntDistribution(16, 512, log=True),
    "grid": FloatDistribution(0.0, 1.0, step=0.05),
    "choice": CategoricalDistribution(("x", "y", "z")),
    "under_x": FloatDistribution(0, 1),
    "never": FloatDistribution(0, 1),
    "fixed": FloatDistribution(0, 1),
}


def drawn(count: int, seed: int) -> tuple[list[dict[str, Any]], list[float]]:
    """Draw trials whose value depends on two parameters, one of them conditional, with ties."""
    rng = np.random.default_rng(seed)
    trials, values = [], []
    for _ in range(count):
        params = {
            "plain": rng.uniform(), "log": 10 ** rng.uniform(-3, 1), "whole": int(rng.integers(1, 11)),
            "many": int(rng.integers(1, 301)), "even": 2 * int(rng.integers(1, 11)),
            "powers": int(rng.integers(16, 513)), "grid": round(int(rng.integers(0, 21)) * 0.05, 2),
            "choice": str(rng.choice(["x", "y", "z"])), "fixed": 0.7,
        }  # fmt: skip
        if params["choice"] == "x":
            params["under_x"] = rng.uniform()
        trials.append(params)
        values.append(round(params["plain"] + params.get("under_x", 0.3) + rng.normal() * 0.1, 1))
    return trials, values


def cells_of(name: str, trials: list[dict[str, Any]]) -> Cells:
    given, distribution = [params.get(name) for params in trials], SPACE[name]
    if isinstance(distribution, CategoricalDistribution):
        indices = [None if value is None else distribution.choices.index(value) for value in given]
        return categorical_cells(indices, len(distribution.choices))
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    return numeric_cells(
        given, distribution.low, distribution.high, log=distribution.log, step=distribution.step
    )


def by_optuna(trials: list[dict[str, Any]], values: list[float], quantile: float) -> Mapping[str, float]:
    study = optuna.create_study(direction="maximize")
    study.add_trials(
        [
            optuna.create_trial(
                params=params, distributions={name: SPACE[name] for name in params}, value=value
            )
            for params, value in zip(trials, values, strict=True)
        ]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
        return evaluator.evaluate(study)


@pytest.mark.parametrize("quantile", [0.1, 0.25])
@pytest.mark.parametrize("count", [2, 3, 4, 5, 12, 80, 200])
def test_the_result_is_that_of_optuna(count: int, quantile: float) -> None:
    trials, values = drawn(count, seed=count)
    theirs = by_optuna(trials, values, quantile)
    weights = np.ones((1, count))
    best = best_trials(np.array(values), weights, quantile)
    share = best.sum() / count
    for name, expected in theirs.items():
        ours = (
            importances(cells_of(name, trials), weights, [best], same_bandwidth=False)[0][0]
            * share
            * (1 - share)
        )
        assert ours == pytest.approx(expected, rel=1e-9), name
    assert importances(cells_of("never", trials), weights, [best])[0][0] == 0


def test_a_weight_is_a_repeated_trial() -> None:
    trials, values = drawn(40, seed=3)
    weights = np.random.default_rng(0).multinomial(40, np.full(40, 1 / 40), size=3).astype(float)
    best = best_trials(np.array(values), weights, 0.25)
    for row in range(3):
        repeated = np.repeat(np.arange(40), weights[row].astype(int))
        again = [trials[index] for index in repeated]
        expected = by_optuna(again, [values[index] for index in repeated], 0.25)
        share = weights[row][best[row]].sum() / 40
        for name, value in expected.items():
            ours = (
                importances(cells_of(name, trials), weights, [best], same_bandwidth=False)[0][row]
                * share
                * (1 - share)
            )
            assert ours == pytest.approx(value, rel=1e-9), name


def test_the_best_are_counted_with_their_weights_and_ties() -> None:
    scores = np.array([5.0, 4.0, 4.0, 3.0, 2.0, 1.0, 0.0, -1.0])
    weights = np.array([[1.0] * 8, [0, 1, 0, 3, 1, 1, 1, 1], [8, 0, 0, 0, 0, 0, 0, 0]])
    best = best_trials(scores, weights, 0.25)
    assert [np.flatnonzero(row).tolist() for row in best] == [[0, 1, 2], [0, 1, 2, 3], [0]]


def test_with_clusters_a_fair_sample_of_the_trials_shows_nothing() -> None:
    cells = Cells(np.array([*[20] * 9, *[22] * 24, *[23] * 23, 0, 12, 35, 49]), 50)
    best = np.zeros((1, 60), dtype=bool)
    best[0, ::4] = True
    assert importances(cells, np.ones((1, 60)), [best])[0][0] < 0.1
    assert importances(cells, np.ones((1, 60)), [best], same_bandwidth=False)[0][0] > 1


def test_nothing_is_decided_where_all_trials_are_among_the_best() -> None:
    trials, _ = drawn(20, seed=1)
    weights = np.ones((1, 20))
    best = best_trials(np.full(20, 0.5), weights, 0.25)
    assert best.all()
    assert importances(cells_of("plain", trials), weights, [best])[0][0] == 0


@pytest.mark.parametrize(
    ("low", "high", "log", "step", "count"),
    [
        (0.0, 1.0, False, None, 50),
        (1, 10, False, 1, 10),
        (1, 300, False, 1, 50),
        (0.05, 0.3, False, 0.05, 6),
        (16, 512, True, 1, 10),
        (3, 3, False, 1, 1),
    ],
)
def test_numbers_of_cells(low: float, high: float, log: bool, step: float | None, count: int) -> None:
    cells = numeric_cells([low, None, high], low, high, log=log, step=step)
    assert cells.count == count
    assert cells.index.tolist() == [0, -1, count - 1]


def test_values_outside_a_range_by_rounding_are_at_its_ends() -> None:
    cells = numeric_cells([1e-3 - 1e-19, 10 + 1e-12], 1e-3, 10, log=True, step=None)
    assert cells.index.tolist() == [0, 49]
    assert not math.isnan(importances(cells, np.ones((1, 2)), [np.array([[True, False]])])[0][0])
