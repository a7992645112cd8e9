"""Early stopping, constraints and fronts of epochs: correlations, costs, front, page and terminal."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_folders import POINT, make_run
from scipy.stats import rankdata

from morel_search.analysis.front import dominates
from morel_search.analysis.headline import headline
from morel_search.analysis.report.constraints import bound_words, constraint_words
from morel_search.analysis.report.front_figure import front_figure
from morel_search.analysis.report.front_view import INFEASIBLE
from morel_search.analysis.report.head import key_figures
from morel_search.analysis.report.lead import sentences
from morel_search.analysis.report.page import write_report
from morel_search.analysis.report.sections.hypervolume import history_figure
from morel_search.analysis.report.sections.learning_curves import learning_figures
from morel_search.analysis.run_data import read_run_data
from morel_search.analysis.statistics import spearman
from morel_search.analysis.stopping import (
    FEWEST_TRIALS,
    Regret,
    RungCorrelation,
    StoppingCosts,
    regret,
    regret_sentence,
    rung_correlations,
    saving_sentence,
    stopping_costs,
    stopping_warnings,
    values_at,
)
from morel_search.results.folder import RunFolder, open_run_folder
from morel_search.results.settings import RunSettings
from morel_search.results.tables import EPOCH_COLUMNS
from morel_search.training.selection import EpochResult, chosen_epoch
from morel_search.workflows.terminal import front_text, stopping_text

EXAMPLE = Path(__file__).parents[1] / "results" / "example"
GRID = st.integers(0, 4).map(lambda value: value / 4)
RULES = st.sampled_from(["last", "best_robust", "best_sum", "front"])


def epochs_of(curves: dict[int, list[tuple[float | None, float | None]]]) -> pd.DataFrame:
    rows = [
        {"number": number, "epoch": epoch, "clean_accuracy": clean, "robust_accuracy": robust}
        for number, curve in curves.items()
        for epoch, (clean, robust) in enumerate(curve, 1)
    ]
    table = pd.DataFrame(rows, columns=list(EPOCH_COLUMNS))
    return table.astype(
        {"number": "Int64", "epoch": "Int64", "clean_accuracy": float, "robust_accuracy": float}
    )


def trials_of(rows: list[dict[str, Any]]) -> pd.DataFrame:
    known = {
        "state": "COMPLETE",
        "epochs": pd.NA,
        "rung": pd.NA,
        "spared": pd.NA,
        "clean_accuracy": math.nan,
        "robust_accuracy": math.nan,
    }
    table = pd.DataFrame([known | {"number": number} | row for number, row in enumerate(rows)])
    return table.astype({"number": "Int64", "epochs": "Int64", "rung": "Int64", "spared": "Int64"})


def visible(page: Path) -> str:
    whole = page.read_text(encoding="utf-8")
    whole = re.sub(r"<(script|style).*?</\1>", " ", whole, flags=re.DOTALL)
    return " ".join(re.sub(r"<[^>]*>", " ", whole).split())


# rung correlations


@given(
    st.lists(st.one_of(st.tuples(GRID, GRID), st.just((None, None))), min_size=1, max_size=8),
    st.integers(1, 9),
    RULES,
)
def test_the_value_at_a_rung_is_the_one_that_the_training_would_choose(
    curve: list[tuple[float | None, float | None]], rung: int, rule: str
) -> None:
    values = values_at(epochs_of({7: curve}), rung, rule)
    losses = dict.fromkeys(
        (
            "loss",
            "accuracy_loss",
            "robust_loss",
            "cosine_loss",
            "contrastive_loss",
            "lr",
            "train_accuracy",
            "seconds",
        ),
        0.0,
    )
    history = [
        EpochResult(epoch=e, clean_accuracy=c, robust_accuracy=r, **losses)
        for e, (c, r) in enumerate(curve, 1)
        if e <= rung
    ]
    truth = chosen_epoch(history, rule)
    assert values.to_numpy().tolist() == (
        [] if truth is None else [[truth.clean_accuracy, truth.robust_accuracy]]
    )
    assert list(values.index) == ([] if truth is None else [7])


@given(st.lists(st.tuples(GRID, GRID, GRID, GRID), min_size=FEWEST_TRIALS, max_size=12))
def test_the_correlation_is_that_of_the_averaged_ranks(rows: list[tuple[float, float, float, float]]) -> None:
    epochs = epochs_of(
        {number: [(clean, robust), (None, None)] for number, (clean, robust, _, _) in enumerate(rows)}
    )
    trials = trials_of([{"clean_accuracy": clean, "robust_accuracy": robust} for _, _, clean, robust in rows])
    (correlation,) = rung_correlations(trials, epochs, [1], "last")
    assert (correlation.rung, correlation.trials) == (1, len(rows))
    columns = np.array(rows).T
    pairs = ((correlation.clean, columns[0], columns[2]), (correlation.robust, columns[1], columns[3]))
    for value, at_rung, end in pairs:
        if len(set(at_rung)) == 1 or len(set(end)) == 1:
            assert value is None
        else:
            assert value == pytest.approx(np.corrcoef(rankdata(at_rung), rankdata(end))[0, 1], abs=1e-12)


def test_without_ties_it_is_the_school_formula() -> None:
    at_rung, end = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.3, 0.1, 0.2, 0.6, 0.4, 0.5]
    epochs = epochs_of({number: [(value, 1 - value)] * 3 for number, value in enumerate(at_rung)})
    trials = trials_of([{"clean_accuracy": value, "robust_accuracy": value} for value in end])
    differences = [4, 1, 1, 4, 1, 1]  # squares of the differences of the ranks
    rho = 1 - 6 * sum(differences) / (6 * (36 - 1))
    (correlation,) = rung_correlations(trials, epochs, [2], "best_sum")
    assert correlation.clean == pytest.approx(rho)
    assert correlation.robust == pytest.approx(-rho)


def test_only_trainings_that_ran_beyond_the_rung_to_their_end_are_compared() -> None:
    curve = [(0.1, 0.1), (0.2, 0.2), (0.3, 0.3)]
    curves = {number: [(x + number / 100, y) for x, y in curve] for number in range(8)}
    curves[5], curves[6], curves[7] = curves[5][:1], [(None, None)] * 3, curves[7][:2]
    rows: list[dict[str, Any]] = [
        {"clean_accuracy": 0.5 + number / 100, "robust_accuracy": 0.5} for number in range(8)
    ]
    rows[4] |= {"state": "PRUNED"}  # with values, which a stopped trial never has
    correlations = rung_correlations(trials_of(rows), epochs_of(curves), [1, 2], "best_sum")
    assert correlations == [
        RungCorrelation(1, 5, pytest.approx(1.0), None),
        RungCorrelation(2, 4, None, None),
    ]


def test_few_trainings_and_no_epochs_say_nothing() -> None:
    trials = trials_of(
        [{"clean_accuracy": n / 10, "robust_accuracy": n / 10} for n in range(FEWEST_TRIALS - 1)]
    )
    epochs = epochs_of({n: [(n / 10, n / 10)] * 2 for n in range(FEWEST_TRIALS - 1)})
    assert rung_correlations(trials, epochs, [1], "last") == [
        RungCorrelation(1, FEWEST_TRIALS - 1, None, None)
    ]
    assert rung_correlations(trials, epochs_of({}), [1], "last") == [RungCorrelation(1, 0, None, None)]
    assert rung_correlations(trials, epochs, [], "last") == []


@pytest.mark.parametrize(
    ("clean", "robust", "words"),
    [
        (0.5, 0.9, ""),
        (None, None, ""),
        (0.9, 0.49, "robust accuracy (0.49)"),
        (-0.2, 0.1, "clean accuracy (-0.20) and robust accuracy (0.10)"),
    ],
)
def test_a_rung_that_says_little_is_named(clean: float | None, robust: float | None, words: str) -> None:
    warnings = stopping_warnings([RungCorrelation(3, 20, 1.0, 1.0), RungCorrelation(9, 12, clean, robust)])
    assert len(warnings) == bool(words)
    assert all(
        word in warnings[0]
        for word in (words, "epoch 9", "12 trainings", "early_stopping.grace above 9", "guessing")
        if warnings
    )


@given(st.lists(st.tuples(GRID, GRID), max_size=8))
def test_a_rank_correlation_of_few_or_equal_values_is_none(rows: list[tuple[float, float]]) -> None:
    first, second = [x for x, _ in rows], [y for _, y in rows]
    value = spearman(first, second, 4)
    if len(rows) < 4 or len(set(first)) == 1 or len(set(second)) == 1:
        assert value is None
    else:
        assert value == pytest.approx(np.corrcoef(rankdata(first), rankdata(second))[0, 1], abs=1e-12)


@given(st.tuples(GRID, GRID), st.tuples(GRID, GRID))
def test_dominance_agrees_with_the_front_of_two_points(
    first: tuple[float, float], second: tuple[float, float]
) -> None:
    assert dominates(first, second) == (nondominated(np.array([first, second])).tolist() == [True, False])


# costs and regret


def test_the_costs_are_counted() -> None:
    rows: list[dict[str, Any]] = [
        {"epochs": 10},
        {"epochs": 3, "state": "FAIL", "rung": 1},
        {"epochs": 1, "state": "PRUNED", "rung": 1},
        {"epochs": 3, "state": "PRUNED", "rung": 3},
        {"epochs": 3, "state": "PRUNED", "rung": 3},
    ]
    settings = RunSettings(space={"train": {"epochs": 10}})
    costs = stopping_costs(trials_of(rows), settings)
    assert costs == StoppingCosts(started=5, trained=20, full=20 + 9 + 7 + 7, stopped={1: 1, 3: 2})
    assert costs.saved == pytest.approx(23 / 43)
    assert saving_sentence(costs) == "early stopping ended 3 of 5 trainings and saved 53% of their epochs"
    own = trials_of(rows).assign(param_epochs=[20.0, 5.0, math.nan, 6.0, 2.0])
    assert stopping_costs(own, settings).full == 20 + 9 + 3 + 0
    assert stopping_costs(trials_of(rows), RunSettings()).full == 20
    assert saving_sentence(stopping_costs(trials_of(rows[:2]), settings)) == ""
    assert stopping_costs(trials_of([{}])[:0], settings).saved == 0


def test_the_regret_is_counted() -> None:
    rows = [{"spared": 3}, {"spared": 1}, {"spared": 1, "state": "FAIL"}, {}]
    assert regret(trials_of(rows), {1, 2, 3}) == Regret(2, 1)
    ran = "that early stopping would have ended ran to the end, as a sample"
    assert regret_sentence(Regret(7, 2)) == f"7 trainings {ran}: 2 of them reached the front."
    assert regret_sentence(Regret(1, 0)) == f"1 training {ran}: none of them reached the front."
    assert regret_sentence(Regret(0, 0)) == ""


# the page and the terminal


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(tmp_path_factory.mktemp("results"), "stopped", trials=45, pruned=18, rungs=(2, 4))


def test_the_page_says_what_stopping_did(stopped: RunFolder) -> None:
    trials = stopped.read_trials()
    pruned = trials[trials["state"] == "PRUNED"]
    trained, full = int(trials["epochs"].sum()), int(trials["epochs"].sum() + (12 - pruned["epochs"]).sum())
    page = visible(write_report(stopped))
    share = f"{100 * (full - trained) / full:.0f}"
    assert (
        f"Early stopping ended 18 of 50 trainings and saved {share}% of their epochs: {trained} epochs were "
        f"trained instead of {full}." in page
    )
    assert re.search(
        r"\d trainings? that early stopping would have ended ran to the end, as a sample: (none|\d) of them "
        r"reached the front\.",
        page,
    )
    correlations = rung_correlations(trials, stopped.read_epochs(), [2, 4], "best_sum")
    for correlation in correlations:
        rung = correlation.rung
        reached, ended = int((trials["rung"] >= rung).sum()), int((pruned["rung"] == rung).sum())
        assert f" {rung} {reached} {ended} {correlation.clean:.2f} {correlation.robust:.2f} " in page
    assert stopping_text(stopped) == [
        f"early stopping ended 18 of 50 trainings and saved {share}% of their epochs",
        *stopping_warnings(correlations),
    ]


def test_a_rung_at_random_is_warned_of(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=40, rungs=(2,))
    epochs, rng = run.read_epochs(), np.random.default_rng(1)
    early = epochs["epoch"] <= 2
    for column in POINT:
        epochs.loc[early, column] = rng.uniform(0, 0.1, int(early.sum()))
    run.write_table(run.epochs, epochs)
    (warning,) = stopping_text(run)
    assert warning.startswith("Stopping at epoch 2 is guessing")
    assert "clean accuracy" in warning
    assert "robust accuracy" in warning
    page = write_report(run).read_text(encoding="utf-8")
    assert f'<p class="note">{warning}</p>' in page
    assert "No trial was stopped early." in page


@pytest.mark.parametrize("rungs", [None, []])
def test_without_rungs_nothing_is_said(tmp_path: Path, rungs: Any) -> None:
    run = make_run(tmp_path, trials=6, failures=0, pruned=1)
    run.write_json(run.settings, run.read_settings().to_json() | {"rungs": rungs})
    assert stopping_text(run) == []
    assert 'id="stopping"' not in write_report(run).read_text(encoding="utf-8")


def test_stopped_trainings_are_drawn_faintly_up_to_their_end(stopped: RunFolder) -> None:
    run_data = read_run_data(stopped)
    for (_, figure), column in zip(learning_figures(run_data), POINT, strict=True):
        faint = next(trace for trace in figure["data"] if trace.get("name") == "stopped early")
        ends = [x for x, after in zip(faint["x"], faint["x"][1:], strict=False) if after is None]
        heights = [y for y, after in zip(faint["y"], faint["y"][1:], strict=False) if after is None]
        assert ends == run_data.stopped["epochs"].tolist()
        assert heights == pytest.approx((run_data.stopped[f"last_{column}"] * 100).tolist(), abs=0.006)
        assert faint["opacity"] < 1
        assert [shape["x0"] for shape in figure["layout"]["shapes"]] == [2, 4]
        assert sum(trace["mode"] == "lines" for trace in figure["data"]) == 1 + len(run_data.front)
    json.dumps([figure for _, figure in learning_figures(run_data)], allow_nan=False)


def test_a_run_of_stopped_trainings_alone(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=6, failures=0, pruned=6, controls=False, rungs=(3,))
    page = visible(write_report(run))
    assert "No trial finished with a result" in page
    assert (
        "Early stopping ended 6 of 6 trainings and saved 75% of their epochs: 18 epochs were trained "
        "instead of 72." in page
    )
    assert front_text(run.read_front(), run.read_trials()) == "no trial finished, so there is no front"


# a front of epochs


@pytest.fixture(scope="module")
def of_epochs(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return make_run(
        tmp_path_factory.mktemp("results"), "epochs", trials=40, pruned=6, rungs=(2, 4), select_epoch="front"
    )


def nondominated(points: np.ndarray) -> np.ndarray:
    mask: np.ndarray = moocore.is_nondominated(points, maximise=True, keep_weakly=True)
    return mask


def test_every_row_of_the_front_is_a_member(of_epochs: RunFolder) -> None:
    run_data, front = read_run_data(of_epochs), of_epochs.read_front()
    assert front["number"].duplicated().any()
    columns = ["number", "epoch", *POINT, "test_clean_accuracy", "test_robust_accuracy"]
    written = front[columns].sort_values(
        ["clean_accuracy", "number", "epoch"], ascending=[False, True, True], ignore_index=True
    )
    pd.testing.assert_frame_equal(run_data.front[columns], written, check_dtype=False)
    assert headline(run_data).startswith(
        f"{len(front)} networks, from {100 * front['clean_accuracy'].max():.1f}% clean"
    )
    member = run_data.front.iloc[0]
    trial = of_epochs.read_trials().set_index("number").loc[member["number"]]
    assert member["param_epsilon"] == trial["param_epsilon"]


def test_the_hypervolume_is_that_of_all_epochs_that_count(of_epochs: RunFolder) -> None:
    run_data = read_run_data(of_epochs)
    complete = run_data.complete["number"]
    points = of_epochs.read_epochs()
    points = points[points["number"].isin(complete)]
    truth = moocore.hypervolume(points[POINT].to_numpy(dtype=float), ref=(0, 0), maximise=True)
    assert run_data.hypervolume == pytest.approx(truth, rel=1e-12)
    assert truth > moocore.hypervolume(
        run_data.complete[POINT].to_numpy(dtype=float), ref=(0, 0), maximise=True
    )
    controls = points[points["number"].isin(run_data.controls["number"])][POINT].to_numpy(dtype=float)
    assert run_data.control_hypervolume <= moocore.hypervolume(controls, ref=(0, 0), maximise=True) + 1e-12
    steps = history_figure(run_data)["data"][0]
    for count in (6, 20, len(run_data.trials)):
        first = points[points["number"].isin(run_data.trials["number"][:count])][POINT].to_numpy(dtype=float)
        assert steps["y"][count - 1] == pytest.approx(
            moocore.hypervolume(first, ref=(0, 0), maximise=True), abs=1e-5
        )


def test_figure_table_and_terminal_name_the_epochs(of_epochs: RunFolder) -> None:
    run_data, front = read_run_data(of_epochs), of_epochs.read_front()
    traces = {trace["name"]: trace for trace in front_figure(run_data)["data"] if "hovertext" in trace}
    searched = front[front["origin"] == "search"]
    names = {f"network {row['number']}-{row['epoch']}" for row in searched.to_dict("records")}
    assert {hover.split("<b>")[1].split("</b>")[0] for hover in traces["front"]["hovertext"]} == names
    assert len(traces["front, test split"]["x"]) == len(front)
    drawn = {(int(n), int(e)) for n, e in zip(searched["number"], searched["epoch"], strict=True)}
    rest = [
        (int(n), int(e)) for n, e in zip(run_data.searched["number"], run_data.searched["epoch"], strict=True)
    ]
    assert len(traces["trials"]["x"]) == sum(key not in drawn for key in rest)
    page = write_report(of_epochs).read_text(encoding="utf-8")
    for row in searched.to_dict("records"):
        assert f">{row['number']}-{row['epoch']}</td>" in page
    lines = front_text(front, of_epochs.read_trials()).splitlines()[3:]
    named = [f"{number}-{epoch}" for number, epoch in zip(front["number"], front["epoch"], strict=True)]
    assert [line.split()[0] for line in lines] == named
    dots = [
        trace
        for _, figure in learning_figures(run_data)
        for trace in figure["data"]
        if trace["mode"] == "markers" and "name" not in trace
    ]
    assert max(len(trace["x"]) for trace in dots) > 1


def test_the_test_accuracies_stay_with_their_epoch(of_epochs: RunFolder) -> None:
    front = of_epochs.read_front()
    number = front["number"][front["number"].duplicated()].iloc[0]
    trial = of_epochs.read_trials().set_index("number").loc[number]
    known = read_run_data(of_epochs).trials.set_index("number").loc[number, "test_clean_accuracy"]
    same = front[(front["number"] == number) & (front["epoch"] == trial["epoch"])][
        "test_clean_accuracy"
    ].tolist()
    assert [known] == same if same else math.isnan(known)


# constraints


def constrained(folder: Path, bound: str, **more: Any) -> RunFolder:
    return make_run(folder, "bound", trials=30, constraints={"clean_accuracy": bound}, **more)


@pytest.mark.parametrize("written", [True, False], ids=["front.csv", "without"])
def test_networks_that_break_a_constraint_are_crosses(tmp_path: Path, written: bool) -> None:
    run = constrained(tmp_path, ">= 24/25")
    if not written:
        run.front.unlink()
    run_data = read_run_data(run)
    complete = run_data.complete
    broken = complete[complete["clean_accuracy"] < 0.96]
    feasible = complete[complete["clean_accuracy"] >= 0.96]
    assert 3 < len(broken) < len(complete)
    points = feasible[POINT].to_numpy(dtype=float)
    assert set(run_data.front["number"]) == set(feasible["number"][nondominated(points)])
    assert run_data.hypervolume == pytest.approx(moocore.hypervolume(points, ref=(0, 0), maximise=True))
    traces = {trace["name"]: trace for trace in front_figure(run_data)["data"] if "hovertext" in trace}
    assert sorted(traces[INFEASIBLE]["x"]) == pytest.approx(sorted(broken["clean_accuracy"] * 100), abs=1e-3)
    assert sum(
        len(traces[name]["x"]) for name in ("trials", "front", "controls", INFEASIBLE) if name in traces
    ) == len(complete)
    page = visible(write_report(run))
    assert (
        f"Constraints: clean_accuracy ≥ 0.96. {len(broken)} of {len(complete)} finished networks violate a "
        "constraint." in page
    )
    assert (
        dict(key_figures(run_data))["Trials"]
        == f"{len(complete)} finished ({len(broken)} violate a constraint), 2 failed"
    )


def test_if_no_network_keeps_to_the_constraints_it_is_said(tmp_path: Path) -> None:
    run = constrained(tmp_path, ">= 0.9999", rungs=(2,))
    run_data = read_run_data(run)
    assert run_data.front.empty
    assert (run_data.hypervolume, run_data.control_hypervolume) == (0, 0)
    assert dict(key_figures(run_data))["Hypervolume above (0, 0)"] == "–"
    assert headline(run_data) == "No network satisfies the constraints"
    assert "All 33 finished networks violate a constraint." in sentences(run_data)[0]
    page = visible(write_report(run))
    assert "No network satisfies the constraints" in page
    assert "The networks on the front" not in page
    assert (
        front_text(run.read_front(), run.read_trials())
        == "no trial satisfies the constraints, so there is no front"
    )
    assert (run.figures / "front.png").stat().st_size > 1000


def test_kept_constraints_are_told_too(tmp_path: Path) -> None:
    run = constrained(tmp_path, ">= 1/10")
    run_data = read_run_data(run)
    assert (
        constraint_words(run_data)
        == "Constraints: clean_accuracy ≥ 0.1. None of 33 finished networks violates a constraint."
    )
    assert INFEASIBLE not in {trace.get("name") for trace in front_figure(run_data)["data"]}


@pytest.mark.parametrize(
    ("bound", "words"),
    [
        (">= 4/5", "x ≥ 0.8"),
        ("<= 8/255", "x ≤ 8/255"),
        ("<=60", "x ≤ 60"),
        (">= 0.9999", "x ≥ 0.9999"),
        ("odd", "x odd"),
        ("", "x "),
    ],
)
def test_bounds_are_written_for_people(bound: str, words: str) -> None:
    assert bound_words("x", bound) == words


# folders of before


def test_a_folder_without_the_new_columns_is_read_as_before(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=12)
    new = read_run_data(run)
    lines = pd.read_csv(run.trials).drop(columns=["rung", "spared", "violation"])
    run.write_text(run.trials, lines.to_csv(index=False))
    old = run.read_trials()
    assert old["rung"].isna().all()
    assert old["spared"].isna().all()
    assert (old["violation"] == 0).all()
    run_data = read_run_data(run)
    assert run_data.hypervolume == new.hypervolume
    assert front_figure(run_data) == front_figure(new)
    assert constraint_words(run_data) == ""


@pytest.mark.skipif(not EXAMPLE.is_dir(), reason="results/example is not here")
def test_the_example_says_what_its_tables_say() -> None:
    run = open_run_folder(EXAMPLE)
    run_data, front = read_run_data(run), run.read_front()
    assert sorted(run_data.front["number"]) == sorted(front["number"])
    truth = moocore.hypervolume(run_data.complete[POINT].to_numpy(dtype=float), ref=(0, 0), maximise=True)
    assert run_data.hypervolume == pytest.approx(truth)
    assert history_figure(run_data)["data"][0]["y"][-1] == pytest.approx(truth, abs=1e-5)
