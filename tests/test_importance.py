"""Importances of trials whose objectives are known functions of the parameters."""

from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest

from morel_search.analysis.importance import MOST_TRIALS, OBJECTIVES, importance

PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "epsilon",
        "type": "float",
        "low": "1/255",
        "high": "16/255",
        "log": False,
        "step": "1/255",
        "when": {},
    },
    {"name": "alpha", "type": "float", "low": 0.001, "high": 10.0, "log": True, "step": None, "when": {}},
    {"name": "loss", "type": "categorical", "choices": ["trades", "mart", "pgd"], "when": {}},
    {"name": "steps", "type": "int", "low": 1, "high": 10, "log": False, "step": None, "when": {}},
    {
        "name": "theta",
        "type": "float",
        "low": 0.0,
        "high": 1.0,
        "log": False,
        "step": None,
        "when": {"loss": ["mart"]},
    },
]


def made(count: int = 120, seed: int = 1) -> pd.DataFrame:
    """Make trials whose clean accuracy depends only on alpha, and their robust accuracy only on epsilon."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        loss = str(rng.choice(["trades", "mart", "pgd"]))
        epsilon, alpha = int(rng.integers(1, 17)) / 255, 10 ** rng.uniform(-3, 1)
        theta = float(rng.uniform(0, 1)) if loss == "mart" else math.nan
        rows.append(
            {
                "number": number, "state": "COMPLETE", "origin": "search",
                "clean_accuracy": 0.9 + 0.05 * math.sin(math.log10(alpha)), "robust_accuracy": 8 * epsilon,
                "param_epsilon": epsilon, "param_alpha": alpha, "param_loss": loss,
                "param_steps": int(rng.integers(1, 11)), "param_theta": theta,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def shares(table: pd.DataFrame, objective: str) -> dict[str, float]:
    return table[table["objective"] == objective].set_index("parameter")["importance"].to_dict()


def test_the_one_parameter_that_matters_is_found_for_each_objective() -> None:
    table = importance(made(), PARAMETERS)
    assert table["importance"].between(0, 1).all()
    clean, robust = shares(table, "clean_accuracy"), shares(table, "robust_accuracy")
    assert clean["alpha"] > 0.9
    assert robust["epsilon"] > 0.9
    assert max(value for name, value in clean.items() if name not in ("alpha", "theta")) < 0.05
    assert max(value for name, value in robust.items() if name not in ("epsilon", "theta")) < 0.05


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_it_is_what_optuna_says_of_the_same_trials() -> None:
    trials = made(60).drop(columns="param_theta")
    study = optuna.create_study(directions=["maximize", "maximize"])
    space = {
        "epsilon": optuna.distributions.FloatDistribution(1 / 255, 16 / 255),
        "alpha": optuna.distributions.FloatDistribution(0.001, 10, log=True),
        "loss": optuna.distributions.CategoricalDistribution(("trades", "mart", "pgd")),
        "steps": optuna.distributions.IntDistribution(1, 10),
    }
    for row in trials.to_dict("records"):
        params = {name: row[f"param_{name}"] for name in space}
        study.add_trial(
            optuna.create_trial(
                params=params, distributions=space, values=[row["clean_accuracy"], row["robust_accuracy"]]
            )
        )
    evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=32, seed=0)
    theirs = optuna.importance.get_param_importances(
        study, evaluator=evaluator, target=lambda trial: trial.values[0], normalize=False
    )
    ours = shares(importance(trials, PARAMETERS[:4]), "clean_accuracy")
    assert ours == pytest.approx(theirs, rel=1e-9)


def test_a_conditional_parameter_is_judged_where_it_is_active() -> None:
    trials = made()
    active = trials["param_theta"].notna()
    trials.loc[active, "robust_accuracy"] = trials.loc[active, "param_theta"]
    table = importance(trials, PARAMETERS).set_index(["parameter", "objective"])
    assert table.loc[("theta", "robust_accuracy"), "trials"] == active.sum()
    assert table.loc[("alpha", "robust_accuracy"), "trials"] == len(trials)
    assert table.loc[("theta", "robust_accuracy"), "importance"] > 0.9
    assert table.loc[("theta", "clean_accuracy"), "importance"] < 0.1


def test_the_same_table_gives_the_same_figures() -> None:
    pd.testing.assert_frame_equal(importance(made(40), PARAMETERS), importance(made(40), PARAMETERS))


def test_controls_failures_and_unknown_values_do_not_count() -> None:
    trials = made(30)
    worse = trials.head(3).assign(clean_accuracy=0.0, robust_accuracy=0.0)
    extra = [
        worse.assign(origin="control"),
        worse.assign(state="FAIL"),
        worse.assign(clean_accuracy=math.nan),
        worse.assign(param_epsilon=0.5),
        worse.assign(param_loss="none"),
    ]
    pd.testing.assert_frame_equal(
        importance(pd.concat([trials, *extra]), PARAMETERS), importance(trials, PARAMETERS)
    )


def test_an_objective_or_a_parameter_that_never_changes_is_worth_nothing() -> None:
    table = importance(made(40).assign(robust_accuracy=0.5, param_steps=3), PARAMETERS)
    assert set(shares(table, "robust_accuracy").values()) == {0.0}
    assert shares(table, "clean_accuracy")["steps"] == 0.0


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_trials_give_no_figure(count: int) -> None:
    table = importance(made(5).head(count), PARAMETERS)
    assert table["importance"].isna().all()
    assert list(table["objective"].unique()) == list(OBJECTIVES)


def test_of_many_trials_some_are_used_and_nothing_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    optuna.logging.enable_propagation()
    try:
        with caplog.at_level(logging.INFO):
            table = importance(made(MOST_TRIALS + 60).drop(columns="param_theta"), PARAMETERS[:4])
    finally:
        optuna.logging.disable_propagation()
    assert set(table["trials"]) == {MOST_TRIALS}
    assert not caplog.records
