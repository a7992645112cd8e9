"""Ten questions of a researcher, each answered from the page of the committed example run alone.

1. Which network should I take if I need a certain clean accuracy?
2. How sure are its accuracies, and is it better than its neighbours beyond chance?
3. Which attacks did not run, and on how many images did the others run?
4. What does it gain over the controls at equal clean accuracy?
5. With how many seeds was that repeated?
6. Which setting drove the accuracies, and how stable is that?
7. What did the search cost?
8. What did early stopping risk?
9. How do I repeat the search?
10. Which command takes the network?

Each answer is computed here from the tables of the run folder, without the code of the page. It must stand in
the text of the group of the page that asks the question, so that a reader finds it under its title.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from scipy.stats import binomtest, spearmanr
from test_report import Reader

from morel_search.analysis.report.page import write_report
from morel_search.results.folder import RunFolder

EXAMPLE = Path(__file__).parents[1] / "results" / "example"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("results") / "example"
    shutil.copytree(EXAMPLE, folder)
    return RunFolder(folder)


@pytest.fixture(scope="module")
def groups(run: RunFolder) -> dict[str, str]:
    """The visible text of each group of the page, by its id."""
    page = write_report(run).read_text(encoding="utf-8")
    parts = re.findall(r'<section class="group" id="(\w+)">(.*?)</section>', page, re.DOTALL)
    return {ident: Reader(content).text for ident, content in parts}


@pytest.fixture(scope="module")
def verified() -> pd.DataFrame:
    return pd.read_csv(EXAMPLE / "verified.csv").set_index("number")


def settings() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((EXAMPLE / "settings.json").read_text(encoding="utf-8"))
    return content


def shown(fraction: float) -> str:
    return f"{100 * fraction:.1f}%"


def unbeaten(verified: pd.DataFrame) -> pd.DataFrame:
    return verified[verified["on_front"].astype(str) == "True"]


def recommended(groups: dict[str, str]) -> int:
    found = re.search(r"take network (\d+):", groups["choose"])
    assert found
    return int(found[1])


def test_which_network_to_take_at_a_clean_accuracy(groups: dict[str, str], verified: pd.DataFrame) -> None:
    front = unbeaten(verified)
    for number, network in front.iterrows():
        better = front[front["clean_accuracy"] >= network["clean_accuracy"]]
        best = better.sort_values(["robust_accuracy", "clean_accuracy"]).iloc[-1]
        answer = (
            f"{number} up to {shown(network['clean_accuracy'])} clean ({shown(network['robust_accuracy'])}"
        )
        assert (answer in groups["choose"]) == (best.name == number)
    assert "--clean-at-least" in groups["choose"]


def test_how_sure_that_is(groups: dict[str, str], verified: pd.DataFrame) -> None:
    network = verified.loc[recommended(groups)]
    for name in ("clean", "robust"):
        images, value = int(network["images"]), network[f"{name}_accuracy"]
        ends = binomtest(round(value * images), images).proportion_ci(method="wilson")
        interval = f"{shown(value)} ({100 * ends.low:.1f} to {100 * ends.high:.1f})"
        assert interval in groups["choose"]
    assert network["verdict"] == "undecided"
    others = unbeaten(verified).query("verdict == 'undecided'").index.difference([network.name])
    sentence = re.search(r"do not decide between it and ([\d, ]+)\.", groups["choose"])
    assert sentence
    assert {int(name) for name in sentence[1].split(", ")} == set(others)


def test_which_attacks_did_not_run(groups: dict[str, str], verified: pd.DataFrame) -> None:
    assert verified["not_run"].isna().all()
    images = {int(value) for name in verified if name.startswith("images_") for value in verified[name]}
    assert images == {359, 200}
    assert "What did not run nothing is missing Each attack ran on all test images" in groups["trust"]
    assert "FGSM, PGD, PGD-50, APGD-CE, APGD-T, FAB-T and Square on 359 images" in groups["trust"]
    assert "transferred examples on 200 images" in groups["trust"]


def test_what_it_gains_over_the_controls_at_equal_clean_accuracy(
    groups: dict[str, str], verified: pd.DataFrame
) -> None:
    trials = pd.read_csv(EXAMPLE / "trials.csv").set_index("number")
    members = verified[verified["name"].isna()].index
    controls = verified[verified["name"].notna()]
    assert len(controls) == 6
    for number, control in controls.iterrows():
        able = [m for m in members if trials.clean_accuracy[m] >= trials.clean_accuracy[number]]
        best = max(able, key=lambda member: trials.robust_accuracy[member])
        gain = verified.robust_accuracy[best] - control["robust_accuracy"]
        answer = (
            f"At the same or higher clean validation accuracy, network {best} has {100 * gain:.1f} points"
        )
        after = groups["gain"].partition(f"{control['name']} {shown(control['clean_accuracy'])} clean, ")[2]
        assert answer in after[:250]


def test_how_many_seeds(groups: dict[str, str]) -> None:
    replicates = pd.read_csv(EXAMPLE / "replicates.csv")
    counts = replicates.groupby("network")["seed"].nunique()
    assert counts.nunique() == 1
    assert f"{counts.iloc[0]} trainings of each of {len(counts)} networks" in groups["trust"]
    assert f"{counts.iloc[0]} trainings of each." in groups["gain"]


def test_what_drove_it(groups: dict[str, str]) -> None:
    trials, epochs = pd.read_csv(EXAMPLE / "trials.csv"), pd.read_csv(EXAMPLE / "epochs.csv")
    rung = settings()["rungs"][0]
    first = epochs[epochs["epoch"] == rung].set_index("number")["clean_accuracy"].dropna()
    searched = trials[trials["origin"] == "search"].set_index("number")
    assert (
        f"{len(searched.index.intersection(first.index))} searched trials reached epoch {rung}"
        in (groups["drivers"])
    )
    numbers = searched.select_dtypes("number").filter(like="param_").dropna(axis=1)
    ranks = {
        name: abs(spearmanr(numbers.loc[first.index.intersection(numbers.index), name],
                            first.reindex(first.index.intersection(numbers.index))).statistic)
        for name in numbers
    }  # fmt: skip
    strongest = max(ranks, key=lambda name: ranks[name]).removeprefix("param_")
    assert re.search(
        rf"Clean accuracy {strongest} matters most: it is first in \d+ of 100 samples", groups["drivers"]
    )


def test_what_it_cost(groups: dict[str, str]) -> None:
    trials = pd.read_csv(EXAMPLE / "trials.csv")
    states = trials["state"].value_counts()
    hours = trials["seconds"].sum() / 3600 * settings()["space"]["resources"]["cpu"]
    finished, stopped, failed = (states.get(state, 0) for state in ("COMPLETE", "PRUNED", "FAIL"))
    assert (
        f"The search trained {len(trials)} networks for {trials['epochs'].sum()} epochs, controls included: "
        f"{finished} finished, {stopped} were stopped early, {failed} failed."
    ) in groups["cost"]
    assert f"which is {hours:.3g} core-hours" in groups["cost"]


def test_what_early_stopping_risked(groups: dict[str, str]) -> None:
    trials = pd.read_csv(EXAMPLE / "trials.csv")
    front = pd.read_csv(EXAMPLE / "front.csv")
    spared = trials[trials["spared"].notna()]
    reached = len(set(spared["number"]) & set(front["number"]))
    assert reached == 0
    sample = "trainings that early stopping would have ended ran to the end, as a sample: none of"
    answer = f"{len(spared)} {sample}"
    assert answer in groups["cost"]
    stopped, whole = (trials["state"] == "PRUNED").sum(), settings()["space"]["train"]["epochs"] * len(trials)
    assert f"ended {stopped} of {len(trials)} trainings and saved" in groups["cost"]
    assert f"{trials['epochs'].sum()} epochs were trained instead of {whole}" in groups["cost"]


def test_how_to_repeat_it(groups: dict[str, str]) -> None:
    written = settings()
    assert " ".join(written["command"]) in groups["again"]
    assert f"example/space.yaml --seed {written['seed']}" in groups["again"]
    for name in ("torch", "ray", "optuna"):
        assert f"{name} {written['versions'][name]}" in groups["again"]
    assert written["commit"] in groups["again"]


def test_which_command_takes_the_network(groups: dict[str, str], verified: pd.DataFrame) -> None:
    number = recommended(groups)
    assert number in unbeaten(verified).index
    assert re.search(rf"morel_search\.pick \S*example --member {number}\b", groups["choose"])
