"""The attainment of several runs of one search, against its definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_compare import compared, run_of

from morel_search.analysis.comparison.attainment import attainment, attainments
from morel_search.analysis.report.comparison_page import comparison_page
from morel_search.results.folder import RunFolder

accuracy = st.integers(0, 20).map(lambda number: number / 20)
fronts = st.lists(st.lists(st.tuples(accuracy, accuracy), min_size=1, max_size=5), min_size=3, max_size=6)


def seeds(folder: Path, count: int) -> list[RunFolder]:
    """Make runs that differ in their seed alone."""
    return [
        run_of(folder, f"seed{seed}", change={"search.seed": seed}, worse=0.1, seed=seed)
        for seed in range(count)
    ]


@given(fronts)
def test_each_border_bounds_what_that_many_runs_attain(points: list[list[tuple[float, float]]]) -> None:
    found = attainment([str(index) for index in range(len(points))], points)
    grid = [(x / 20, y / 20) for x in range(21) for y in range(21)]

    def below(border: np.ndarray) -> list[bool]:
        return [any(x <= a and y <= b for a, b in border) for x, y in grid]

    attained = [sum(any(x <= a and y <= b for a, b in front) for front in points) for x, y in grid]
    assert below(found.any) == [count >= 1 for count in attained]
    assert below(found.half) == [count >= len(points) / 2 for count in attained]
    assert below(found.all) == [count == len(points) for count in attained]


def test_three_runs_that_differ_in_their_seed_alone_are_a_group(tmp_path: Path) -> None:
    runs = [
        run_of(tmp_path, f"seed{seed}", change={"search.seed": seed}, worse=0.1, seed=seed)
        for seed in range(3)
    ]
    other = run_of(tmp_path, "other", change={"train.lr": 0.5}, worse=0.1)
    (found,) = attainments(compared(*runs, other).runs)
    assert found.labels == ("seed0", "seed1", "seed2")
    assert attainments(compared(*runs[:2], other).runs) == []


@pytest.mark.parametrize("count", [2, 3])
def test_the_page_shows_it_from_three_runs_on(tmp_path: Path, count: int) -> None:
    runs = seeds(tmp_path, count)
    page = comparison_page(compared(*runs), [run.path for run in runs])
    assert ("3 runs with the same settings, but for the seed: seed0, seed1, seed2." in page) == (count == 3)
    assert ('id="figure-attainment-0"' in page) == (count == 3)
