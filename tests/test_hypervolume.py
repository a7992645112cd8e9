"""The hypervolume against closed forms, Optuna's own, inclusion and exclusion, and its laws."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna._hypervolume import compute_hypervolume

from morel_search.analysis.hypervolume import hypervolume, hypervolume_history

SHARE = st.one_of(st.integers(0, 8).map(lambda value: value / 8), st.floats(0, 1))
POINTS = st.lists(st.tuples(SHARE, SHARE), max_size=8)
NAN = float("nan")


def inclusion_exclusion(points: list[tuple[float, float]]) -> float:
    """The area of a union of rectangles from the areas of all their intersections."""
    area = 0.0
    for count in range(1, len(points) + 1):
        for chosen in combinations(points, count):
            area += (-1) ** (count + 1) * min(x for x, _ in chosen) * min(y for _, y in chosen)
    return area


def test_one_point_is_its_rectangle() -> None:
    assert hypervolume([(0.8, 0.5)]) == pytest.approx(0.4)


def test_a_staircase_in_closed_form() -> None:
    # n equal steps of the unit square: the area below the diagonal plus n half squares of side 1/n
    for n in (1, 2, 7, 40):
        points = [((k + 1) / n, 1 - k / n) for k in range(n)]
        assert hypervolume(points) == pytest.approx((n + 1) / (2 * n))


def test_a_quarter_circle_comes_near_its_area() -> None:
    angles = np.linspace(0, np.pi / 2, 20_001)
    assert hypervolume(np.column_stack([np.cos(angles), np.sin(angles)])) == pytest.approx(
        np.pi / 4, abs=1e-4
    )


@settings(max_examples=40)
@given(POINTS)
def test_it_is_inclusion_and_exclusion(points: list[tuple[float, float]]) -> None:
    assert hypervolume(points) == pytest.approx(inclusion_exclusion(points), abs=1e-9)


def test_it_is_what_optuna_computes_and_what_darts_find() -> None:
    rng = np.random.default_rng(5)
    for size in (1, 3, 20, 200):
        points = rng.random((size, 2))
        ours = hypervolume(points)
        assert ours == pytest.approx(compute_hypervolume(-points, np.zeros(2)), rel=1e-12)
        darts = rng.random((20_000, 2))
        hit = (darts[:, None, :] <= points[None, :, :]).all(axis=2).any(axis=1).mean()
        assert ours == pytest.approx(hit, abs=4 * 0.5 / 20_000**0.5)


@given(POINTS, st.tuples(SHARE, SHARE), st.randoms(use_true_random=False))
def test_laws(
    points: list[tuple[float, float]], new: tuple[float, float], random: np.random.Generator
) -> None:
    area = hypervolume(points)
    assert 0 <= area <= 1
    shuffled = list(points)
    random.shuffle(shuffled)
    assert hypervolume(shuffled) == pytest.approx(area, abs=1e-12)
    more = hypervolume([*points, new])
    assert more >= area - 1e-12
    if any(x >= new[0] and y >= new[1] for x, y in points):
        assert more == pytest.approx(area, abs=1e-12)


def test_nan_is_left_out_where_moocore_alone_would_answer_nothing() -> None:
    assert hypervolume([(NAN, 0.9), (0.5, 0.5), (0.9, NAN)]) == pytest.approx(0.25)
    assert hypervolume([(NAN, NAN)]) == 0.0
    assert hypervolume([]) == 0.0


def test_infinity_and_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        hypervolume([(float("inf"), 0.5)])
    with pytest.raises(ValueError, match=r"shape \(n, 2\)"):
        hypervolume([0.1, 0.2, 0.3])


@given(st.lists(st.lists(st.tuples(st.one_of(SHARE, st.just(NAN)), SHARE), max_size=4), max_size=12))
def test_the_history_is_the_hypervolume_of_each_beginning(trials: list[list[tuple[float, float]]]) -> None:
    history = hypervolume_history(trials)
    assert history.shape == (len(trials),)
    assert np.all(np.diff(history) >= 0)
    for count in range(len(trials)):
        beginning = [point for points in trials[: count + 1] for point in points]
        assert history[count] == pytest.approx(hypervolume(beginning), abs=1e-12)
