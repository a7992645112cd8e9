"""Importances of trials whose accuracies are known functions of the parameters, and marks of stability."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_folders import make_run
from scipy.stats import spearmanr

from morel_search.analysis import importance as importance_module
from morel_search.analysis.importance import BEST, FEWEST_TRIALS, TARGETS, _cells, compare, importance
from morel_search.analysis.parameters import read_parameters
from morel_search.analysis.ped_anova import best_trials, importances
from morel_search.analysis.report.sections.importance import importance_section
from morel_search.analysis.run_data import read_run_data
from morel_search.results.folder import open_run_folder

DESCRIBED: list[dict[str, Any]] = [
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
PARAMETERS = read_parameters(DESCRIBED)


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
                "violation": 0.0, "epoch": 10, "epochs": 10,
                "clean_accuracy": 0.9 + 0.05 * math.sin(math.log10(alpha)),
                "robust_accuracy": 8 * epsilon,
                "param_epsilon": epsilon, "param_alpha": alpha, "param_loss": loss,
                "param_steps": int(rng.integers(1, 11)), "param_theta": theta,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def of_target(table: pd.DataFrame, target: str) -> pd.DataFrame:
    return table[table["target"] == target].set_index("parameter")


def noise(count: int, seed: int) -> pd.DataFrame:
    """Make trials whose accuracies have nothing to do with the parameters."""
    rng = np.random.default_rng(seed)
    return made(count, seed).assign(
        clean_accuracy=rng.uniform(size=count), robust_accuracy=rng.uniform(size=count)
    )


def curves(trials: pd.DataFrame, lengths: list[int], **accuracies: Any) -> pd.DataFrame:
    """Make the epochs of trials: each trains for a number of epochs, with the accuracies of its row."""
    rows = trials.loc[trials.index.repeat(lengths), ["number", "clean_accuracy", "robust_accuracy"]]
    return rows.assign(epoch=rows.groupby("number").cumcount() + 1, **accuracies)


@pytest.mark.parametrize("seed", range(3))
def test_the_one_parameter_that_matters_is_first_and_stable(seed: int) -> None:
    table = importance(made(80, seed), PARAMETERS)
    for target, name in (("clean_accuracy", "alpha"), ("robust_accuracy", "epsilon")):
        rows = of_target(table, target)
        assert rows.index[0] == name
        assert rows["stable"].tolist() == [True] + [False] * (len(rows) - 1)
        assert rows.loc[name, "first"] == rows.loc[name, "kept"] > 0.9
        assert rows.loc[name, "importance"] > 0.4 > 0.2 > rows["importance"].iloc[1]


def test_what_moves_trials_along_the_front_only_is_of_no_importance_for_it() -> None:
    trials = made(80, 4)
    position = (trials["param_epsilon"] * 255 - 1) / 15
    depth = np.log10(trials["param_alpha"]).to_numpy() / 4
    trials = trials.assign(clean_accuracy=1 - position + depth, robust_accuracy=position + depth)
    table = importance(trials, PARAMETERS)
    front = of_target(table, "front")
    assert front.index[0] == "alpha"
    assert front["stable"].to_dict() == {name: name == "alpha" for name in front.index}


@pytest.mark.parametrize("count", [12, 40, 80])
def test_in_noise_nothing_is_stable(count: int) -> None:
    tables = [importance(noise(count, seed), PARAMETERS) for seed in range(8)]
    assert sum(table["stable"].sum() for table in tables) <= 1
    assert all(len(table) for table in tables)


def test_of_two_parameters_without_effect_the_first_is_seldom_stable() -> None:
    """One of two is first in most samples of noise; that its bar exceeds chance is required as well."""
    two = [parameter for parameter in PARAMETERS if parameter.name in ("alpha", "steps")]
    tables = [importance(noise(80, seed), two) for seed in range(17)]
    kept = sum((table["kept"] >= 0.8).sum() for table in tables)
    stable = sum(table["stable"].sum() for table in tables)
    assert stable <= 3 < 8 <= kept


def test_shuffled_accuracies_lose_the_mark() -> None:
    trials = made(80, 2)
    order = np.random.default_rng(5).permutation(80)
    shuffled = trials.assign(
        **{column: trials[column].to_numpy()[order] for column in ("clean_accuracy", "robust_accuracy")}
    )
    assert importance(trials, PARAMETERS)["stable"].sum() >= 2
    assert not importance(shuffled, PARAMETERS)["stable"].any()


def test_of_two_equal_parameters_none_is_stable() -> None:
    trials = made(120, 6)
    steps = trials["param_steps"] / 10
    trials = trials.assign(robust_accuracy=np.maximum(steps, trials["param_epsilon"] * 255 / 16))
    rows = of_target(importance(trials, PARAMETERS), "robust_accuracy")
    assert set(rows.index[:2]) == {"epsilon", "steps"}
    assert 0.05 < rows["first"].iloc[0] < 0.95


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_the_order_of_parameters_and_monotone_scales_do_not_matter(random: Any) -> None:
    trials, parameters = made(40, 7), list(PARAMETERS)
    random.shuffle(parameters)
    stretched = trials.assign(robust_accuracy=trials["robust_accuracy"] ** 3)
    expected = importance(trials, PARAMETERS).sort_values(["target", "parameter"], ignore_index=True)
    other = importance(stretched, parameters).sort_values(["target", "parameter"], ignore_index=True)
    columns = ["parameter", "target", "importance", "low", "high", "trials", "best"]
    pd.testing.assert_frame_equal(other[columns], expected[columns])


def test_intervals_and_fractions_are_in_their_bounds() -> None:
    for table in (importance(made(30), PARAMETERS), importance(noise(11, 1), PARAMETERS)):
        fractions = table[["importance", "low", "high", "chance", "kept", "first"]]
        assert ((fractions >= 0) & (fractions <= 1)).all(axis=None)
        assert (table["low"] <= table["importance"]).all()
        assert (table["importance"] <= table["high"]).all()
        for target in TARGETS:
            rows = of_target(table, target)
            assert rows["rank"].tolist() == list(range(1, len(rows) + 1))
            assert rows["first"].sum() == pytest.approx(1)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_it_is_near_what_optuna_says_of_evenly_drawn_trials() -> None:
    trials = made(200)
    study = optuna.create_study(directions=["maximize", "maximize"])
    space: dict[str, optuna.distributions.BaseDistribution] = {
        "epsilon": optuna.distributions.IntDistribution(1, 16),
        "alpha": optuna.distributions.FloatDistribution(0.001, 10, log=True),
        "loss": optuna.distributions.CategoricalDistribution(("trades", "mart", "pgd")),
        "steps": optuna.distributions.IntDistribution(1, 10),
        "theta": optuna.distributions.FloatDistribution(0, 1),
    }
    for row in trials.to_dict("records"):
        params = {name: row[f"param_{name}"] for name in space}
        params["epsilon"] = round(params["epsilon"] * 255)
        params = {name: value for name, value in params.items() if value == value}
        used = {name: space[name] for name in params}
        values = [row["clean_accuracy"], row["robust_accuracy"]]
        study.add_trial(optuna.create_trial(params=params, distributions=used, values=values))
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=0.25)
    table = importance(trials, PARAMETERS)
    for index, target in enumerate(TARGETS[:2]):
        theirs = evaluator.evaluate(study, target=lambda trial, index=index: -trial.values[index])
        rows = of_target(table, target)
        share = rows["best"].iloc[0] / len(trials)
        expected = {name: min(1, value / share / (1 - share)) for name, value in theirs.items()}
        assert rows["importance"].to_dict() == pytest.approx(expected, abs=0.15)
        assert rows.index[0] == max(expected, key=lambda name: expected[name])


def test_a_conditional_parameter_is_assessed_where_it_is_active() -> None:
    trials = made(150)
    active = trials["param_theta"].notna()
    trials.loc[active, "robust_accuracy"] = trials.loc[active, "param_theta"]
    rows = of_target(importance(trials, PARAMETERS), "robust_accuracy")
    assert rows.loc["theta", "trials"] == active.sum() < rows.loc["alpha", "trials"] == len(trials)
    assert rows.index[0] == "theta"
    assert rows.loc["theta", "stable"]


def test_with_one_bandwidth_chance_is_not_first_in_a_search_of_the_digits() -> None:
    """Optuna's two bandwidths put beta first, which has no rank correlation with robust accuracy.

    The table holds the trials of a search of ``search_spaces/digits.yaml`` at its first rung.
    """
    run_data = read_run_data(open_run_folder(Path(__file__).parents[1] / "results" / "example"))
    rows = pd.read_csv(Path(__file__).parent / "digits_search.csv")
    robust = rows["robust_accuracy"].to_numpy(dtype=float)
    correlations = {
        name: spearmanr(rows[f"param_{name}"].astype(float), robust, nan_policy="omit").statistic
        for name in ("beta", "epsilon")
    }
    assert correlations == pytest.approx({"beta": 0.0, "epsilon": 0.64}, abs=0.01)
    weights = np.vstack([np.ones(len(rows)), 1 - np.eye(len(rows))])  # all trials, then all but one
    best = [best_trials(robust, weights, BEST)]
    first = {}
    for same in (True, False):
        by_name = {
            parameter.name: importances(_cells(rows, parameter), weights, best, same_bandwidth=same)[0]
            for parameter in run_data.parameters
        }
        order = np.argmax(list(by_name.values()), axis=0)
        first[same] = [list(by_name)[index] for index in order]
    assert set(first[True]) == {"epsilon"}
    assert first[False][0] == "beta"


def test_a_quarter_shows_what_matters_more_often_than_a_tenth(monkeypatch: pytest.MonkeyPatch) -> None:
    """80 of the 360 recorded trainings at epoch 3; epsilon decides their robust accuracy."""
    root = Path(__file__).parents[1] / "benchmarks"
    recorded = pd.read_csv(root / "curves.csv", dtype=str)
    described: list[dict[str, Any]] = [
        {"name": "epsilon", "type": "int", "low": 1, "high": 6, "when": {}},
        {"name": "k_robust", "type": "int", "low": 0, "high": 3, "when": {}},
    ]
    described += [
        {"name": name, "type": "categorical", "choices": sorted(set(recorded[name])), "when": {}}
        for name in ("accuracy_loss", "lr")
    ]
    parameters = read_parameters(described)
    rows = recorded[[parameter.name for parameter in parameters]].add_prefix("param_")
    for kind in ("clean", "robust"):
        at_epoch_3 = recorded[kind].str.split().str[2].astype(float)
        rows[f"{kind}_accuracy"] = at_epoch_3 / recorded["images"].astype(float)
    rows = rows.dropna()
    exceeds = {}
    for share in (0.25, 0.1):
        monkeypatch.setattr(importance_module, "BEST", share)
        draws = [importance(rows.sample(80, random_state=seed), parameters) for seed in range(40)]
        found = [of_target(table, "robust_accuracy").loc["epsilon"] for table in draws]
        exceeds[share] = np.mean([row["importance"] > row["chance"] for row in found])
    assert exceeds == pytest.approx({0.25: 0.7, 0.1: 0.45}, abs=0.05)


def test_the_same_table_gives_the_same_figures() -> None:
    pd.testing.assert_frame_equal(importance(made(40), PARAMETERS), importance(made(40), PARAMETERS))


def test_a_target_without_differences_has_no_importances() -> None:
    table = importance(made(40).assign(robust_accuracy=0.5), PARAMETERS)
    rows = of_target(table, "robust_accuracy")
    assert set(rows["importance"]) == {0.0}
    assert not rows["stable"].any()


def test_parameters_with_one_value_or_few_active_trials_are_left_out() -> None:
    trials = made(40).assign(param_steps=3)
    trials.loc[trials["param_theta"].notna().cumsum() >= FEWEST_TRIALS, "param_theta"] = math.nan
    table = importance(trials, PARAMETERS)
    assert set(table["parameter"]) == {"epsilon", "alpha", "loss"}


@pytest.mark.parametrize("count", [0, 1, FEWEST_TRIALS - 1])
def test_too_few_trials_give_no_rows(count: int) -> None:
    table = importance(made(20).head(count), PARAMETERS)
    assert table.empty
    assert {"parameter", "target", "importance", "stable"} <= set(table.columns)


# the trials that are compared


def test_every_trial_that_reached_the_first_rung_is_compared_there() -> None:
    trials = made(8)
    trials["state"] = ["COMPLETE", "COMPLETE", "PRUNED", "PRUNED", "FAIL", "FAIL", "PRUNED", "COMPLETE"]
    lengths = [12, 12, 4, 8, 6, 3, 4, 3]  # the last one trains for 3 epochs by its own setting
    epochs = curves(trials, lengths)
    epochs["robust_accuracy"] = epochs["number"] / 10 + epochs["epoch"] / 1000
    compared = compare(trials, epochs, (4, 8), "last", PARAMETERS)
    assert compared.epoch == 4
    assert compared.rows["number"].tolist() == [0, 1, 2, 3, 4, 6]
    assert compared.rows["robust_accuracy"].tolist() == pytest.approx(
        [number / 10 + 0.004 for number in (0, 1, 2, 3, 4, 6)]
    )


def test_without_rungs_or_epochs_the_results_of_complete_trials_are_compared() -> None:
    trials = made(6)
    trials["state"] = ["COMPLETE", "PRUNED", "COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    trials.loc[2, "clean_accuracy"] = math.nan
    epochs = curves(made(6), [5] * 6, robust_accuracy=0.0)
    for given_epochs, rungs in ((epochs, ()), (epochs.head(0), (2,))):
        compared = compare(trials, given_epochs, rungs, "best_sum", PARAMETERS)
        assert compared.epoch is None
        assert compared.rows["number"].tolist() == [0, 4, 5]
        assert compared.rows["robust_accuracy"].tolist() == trials["robust_accuracy"][[0, 4, 5]].tolist()


def test_controls_and_values_outside_the_space_are_not_compared() -> None:
    trials = made(8)
    trials.loc[0, "origin"] = "control"
    trials.loc[1, "origin"] = "enqueued"
    trials.loc[2, "param_epsilon"] = 0.5
    trials.loc[3, "param_loss"] = "none"
    trials.loc[4, "param_alpha"] = 0.0
    compared = compare(trials, curves(trials, [9] * 8), (3, 9), "last", PARAMETERS)
    assert compared.rows["number"].tolist() == [1, 5, 6, 7]


def test_an_epoch_without_an_evaluation_is_not_compared() -> None:
    trials = made(4)
    epochs = curves(trials, [9] * 4)
    epochs.loc[(epochs["number"] == 2) & (epochs["epoch"] <= 3), "robust_accuracy"] = math.nan
    assert compare(trials, epochs, (3,), "last", PARAMETERS).rows["number"].tolist() == [0, 1, 3]


# the section of the report


def test_the_section_says_which_trials_at_which_epoch(tmp_path: Any) -> None:
    run_data = read_run_data(make_run(tmp_path, trials=60, pruned=35, failures=2, rungs=(4, 8)))
    section = importance_section(run_data)
    assert section is not None
    assert "59 searched trials reached epoch 4, the first rung of early stopping" in section.html
    assert "(23 complete, 35 stopped early, 1 failed later)" in section.html
    assert set(section.figures) == {f"importance-{target}" for target in TARGETS}
    bars = section.figures["importance-robust_accuracy"]["data"][0]
    assert bars["y"][-1] == "epsilon"
    assert bars["marker"]["pattern"]["shape"][-1] == ""
    assert set(bars["marker"]["pattern"]["shape"][:-1]) == {"/"}
    assert any(label.startswith("beta (") for label in bars["y"])
    assert "epsilon matters most: it is first in" in section.html


def test_a_run_of_noise_is_said_to_settle_nothing(tmp_path: Any) -> None:
    run = make_run(tmp_path, trials=40, failures=0)
    trials, rng = run.read_trials(), np.random.default_rng(0)
    for column in ("clean_accuracy", "robust_accuracy"):
        trials[column] = rng.uniform(size=len(trials))
    run.write_table(run.trials, trials)
    section = importance_section(read_run_data(run))
    assert section is not None
    assert section.html.count("These trials do not settle the order") == 3
    assert "The accuracies are the results of all 40 finished trials of the search." in section.html


@pytest.mark.parametrize(
    ("rungs", "words"),
    [((), "9 searched trials finished"), ((4, 8), "9 searched trials reached epoch 4")],
)
def test_too_few_trials_are_said_to_be_too_few(tmp_path: Any, rungs: tuple[int, ...], words: str) -> None:
    run = make_run(tmp_path, trials=9, failures=0, rungs=rungs)
    section = importance_section(read_run_data(run))
    assert section is not None
    assert not section.figures
    assert f"Too few trials: {words}" in section.html
    assert "the importance needs at least 10" in section.html
