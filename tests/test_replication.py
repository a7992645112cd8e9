"""Replicates: the probability of being on the front against brute force, and what is read and shown."""

from __future__ import annotations

import math
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from run_folders import make_run
from scipy.special import stdtrit

from morel_search.analysis.front import front_mask
from morel_search.analysis.replication import (
    Replicated,
    front_chances,
    read_replication,
    replication_words,
)
from morel_search.analysis.report.page import write_report
from morel_search.analysis.run_data import read_run_data
from morel_search.results.folder import RunFolder
from morel_search.results.tables import REPLICATE_COLUMNS
from morel_search.workflows.terminal import replication_text

ACCURACY = st.integers(0, 4).map(lambda value: value / 4)
REPLICATES = st.lists(st.one_of(st.none(), st.tuples(ACCURACY, ACCURACY)), min_size=1, max_size=3)


@settings(max_examples=60, deadline=None)
@given(st.lists(REPLICATES, min_size=1, max_size=5))
def test_chances_are_those_of_every_combination(drawn: list[list[tuple[float, float] | None]]) -> None:
    """Enumerate every choice of one training per configuration, with its front; None is a failed training."""
    hits = np.zeros(len(drawn))
    combinations = list(product(*drawn))
    for taken in combinations:
        succeeded = [index for index, point in enumerate(taken) if point is not None]
        values = np.array([taken[index] for index in succeeded], dtype=float).reshape(-1, 2)
        hits[[index for index, kept in zip(succeeded, front_mask(values), strict=True) if kept]] += 1
    points = [
        np.array([point for point in replicates if point is not None], dtype=float).reshape(-1, 2)
        for replicates in drawn
    ]
    assert front_chances(points, [len(replicates) for replicates in drawn]) == pytest.approx(
        list(hits / len(combinations))
    )


def simulated_front(
    random: np.random.Generator, centres: NDArray[np.float64], spread: float, trainings: int
) -> list[NDArray[np.float64]]:
    return [centre + spread * random.standard_normal((trainings, 2)) for centre in centres]


@pytest.mark.parametrize("spread", [0.02, 0.05])
@pytest.mark.parametrize("trainings", [2, 3, 10])
def test_the_interval_of_a_chance_includes_the_true_chance(spread: float, trainings: int) -> None:
    """The true chances are those of 3,000 trainings of each of six configurations on a front."""
    random, along = np.random.default_rng(0), np.linspace(0, 1, 6)
    centres = np.column_stack([0.95 - 0.2 * along, 0.3 + 0.3 * along])
    once = np.stack(simulated_front(random, centres, spread, 3000), axis=1)
    true = np.mean([front_mask(points) for points in once], axis=0)
    included = []
    for _ in range(200):
        points = simulated_front(random, centres, spread, trainings)
        networks = [
            Replicated("", 0, True, "", None, own, 0, chance)
            for own, chance in zip(points, front_chances(points, [trainings] * 6), strict=True)
        ]
        intervals = np.array([network.chance_interval for network in networks])
        included.append((intervals[:, 0] <= true) & (true <= intervals[:, 1]))
    assert np.mean(included) >= (0.93 if trainings == 2 else 0.95)


def test_three_of_three_replicates_do_not_make_a_certainty() -> None:
    """Wilson (1927): 3 of 3 gives 0.4385 to 1, 2 of 3 gives 0.2077 to 0.9385."""
    points = np.full((3, 2), 0.5)
    network = Replicated("1", 1, True, "", None, points, 0, 1.0)
    assert network.chance_interval == pytest.approx((0.4385, 1.0), abs=1e-4)
    failed = Replicated("1", 1, True, "", None, points[:2], 1, 2 / 3)
    assert failed.chance_text == "66.7% (20.8% to 93.9%)"
    (sentence,) = [line for line in replication_words([network]) if "on the front again" in line]
    assert "from 3 replicates of each network, likely: none; unlikely: none; not decided: 1." in sentence


def replicated_run(folder: Path) -> RunFolder:
    """Make three replicates per network, 0.2 points below it on average; the first control fails once."""
    run = make_run(folder)
    run_data = read_run_data(run)
    rows = []
    for table in (run_data.front, run_data.controls):
        for row in table.to_dict("records"):
            for again, shift in enumerate((-0.002, 0.0, 0.002)):
                tested = "" if pd.isna(row["test_clean_accuracy"]) else "test_"
                clean, robust = (
                    row[f"{tested}{name}"] - 0.002 + shift for name in ("clean_accuracy", "robust_accuracy")
                )
                failed = row["number"] == run_data.controls["number"].iloc[0] and again == 2
                figures = (
                    {}
                    if failed
                    else {"epoch": 12, "test_clean_accuracy": clean, "test_robust_accuracy": robust}
                )
                failure = "diverged: the loss is nan" if failed else ""
                rows.append(
                    {
                        "network": str(row["number"]),
                        "seed": again,
                        "seconds": 1.0,
                        "failure": failure,
                        **figures,
                    }
                )
    run.write_table(run.replicates, pd.DataFrame(rows, columns=list(REPLICATE_COLUMNS)))
    return run


def test_means_and_spreads_are_those_of_the_table(tmp_path: Path) -> None:
    run = replicated_run(tmp_path)
    run_data = read_run_data(run)
    replicated = read_replication(run_data)
    table = pd.read_csv(run.replicates, dtype={"network": str})
    controls = {str(number) for number in run_data.controls["number"]}
    assert [network.name for network in replicated if network.member] == [
        str(number) for number in run_data.front["number"]
    ]
    assert {network.name for network in replicated} == set(table["network"])
    for network in replicated:
        own = table[table["network"] == network.name]
        for axis, column in enumerate(("test_clean_accuracy", "test_robust_accuracy")):
            assert network.mean[axis] == pytest.approx(own[column].mean())
            assert network.spread[axis] == pytest.approx(own[column].std())
        assert network.failed == own["failure"].notna().sum()
        assert bool(network.label) == (network.name in controls)
        low, high = network.chance_interval
        assert 0 <= low <= network.chance <= high <= 1
    assert sum(network.failed for network in replicated) == 1
    words = " ".join(replication_words(replicated))
    assert "clean accuracy is 0.2 points and that of robust accuracy is 0.2 points" in words
    count = sum(network.member for network in replicated)  # each with the standard deviation 0.2 points
    half_width = stdtrit(2 * count, 0.975) * 0.2 * math.sqrt(4 / 3 / count)
    interval = f"({0.2 - half_width:+.1f} to {0.2 + half_width:+.1f})"
    assert (
        f"0.2 points more clean accuracy {interval} and 0.2 points more robust accuracy {interval}" in words
    )
    assert "1 of the trainings failed" in words


def test_networks_that_left_the_front_do_not_count(tmp_path: Path) -> None:
    run = replicated_run(tmp_path)
    table = run.read_replicates()
    table.loc[0, "network"] = "999"
    run.write_table(run.replicates, table)
    assert "999" not in {network.name for network in read_replication(read_run_data(run))}


def test_they_are_in_the_report_and_in_the_terminal(tmp_path: Path) -> None:
    run = replicated_run(tmp_path)
    page = write_report(run).read_text(encoding="utf-8")
    assert 'id="replicates"' in page
    assert "Replicates with other seeds" in page
    replicated = read_replication(read_run_data(run))
    text = replication_text(replicated)
    assert all(
        f"{100 * network.mean[1]:.1f}% ± {100 * network.spread[1]:.1f}%" in text for network in replicated
    )
    run.replicates.unlink()
    assert "Replicates with other seeds" not in write_report(run).read_text(encoding="utf-8")
    assert read_replication(read_run_data(run)) == ()


def test_one_replicate_has_no_spread(tmp_path: Path) -> None:
    run = replicated_run(tmp_path)
    table = run.read_replicates()
    run.write_table(run.replicates, table[table["seed"] == 0])
    replicated = read_replication(read_run_data(run))
    assert np.isnan([network.spread for network in replicated]).all()
    assert "Between seeds" not in " ".join(replication_words(replicated))
    write_report(run)
