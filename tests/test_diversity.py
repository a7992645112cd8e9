"""Laws of the ranks at a rung in two objectives, with Optuna's non-dominated sorting as the reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.study._multi_objective import _fast_non_domination_rank

from morel_search._dominance import dominates
from morel_search.config import EarlyStoppingSettings
from morel_search.search.diversity import DIVERSITY_RANKINGS
from morel_search.search.pareto import Front
from morel_search.search.successive_halving import AsyncSuccessiveHalving

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

pairs = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), min_size=1, max_size=25)
rankings = st.sampled_from(sorted(DIVERSITY_RANKINGS))


def positions(points: Any, ranking: str = "crowding") -> np.ndarray:
    """The position of each point at a rung that all have reached."""
    halving = AsyncSuccessiveHalving(EarlyStoppingSettings(ranking=ranking), (1,))
    for number, point in enumerate(points):
        halving.record(number, 1, tuple(point))
    return np.array([halving.rank_of(number, 1).position for number in range(len(points))], dtype=int)


def non_domination_ranks(points: np.ndarray) -> np.ndarray:
    return _fast_non_domination_rank(-points)


@given(pairs, rankings)
def test_a_dominating_point_has_a_better_position(points: list[tuple[int, int]], ranking: str) -> None:
    places = positions(points, ranking)
    for first, better in zip(points, places, strict=True):
        for second, worse in zip(points, places, strict=True):
            if dominates(first, second):
                assert better < worse


@given(pairs, rankings, st.tuples(st.integers(0, 3), st.integers(0, 3)), st.data())
def test_a_better_point_never_gets_a_worse_rank(
    points: list[tuple[int, int]], ranking: str, gain: tuple[int, int], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(points) - 1))
    better = [(x + gain[0], y + gain[1]) if i == index else (x, y) for i, (x, y) in enumerate(points)]
    before, after = (non_domination_ranks(np.array(values, dtype=float)) for values in (points, better))
    assert after[index] <= before[index]
    members = int((before < after[index]).sum())
    assert positions(better, ranking)[index] <= max(
        positions(points, ranking)[index], members + (after == after[index]).sum()
    )


@given(pairs, rankings, st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_nothing(
    points: list[tuple[int, int]], ranking: str, random: object
) -> None:
    order = list(range(len(points)))
    random.shuffle(order)
    shuffled = positions([points[index] for index in order], ranking)
    np.testing.assert_array_equal(shuffled, positions(points, ranking)[order])


@given(pairs, rankings)
def test_equal_points_have_equal_positions(points: list[tuple[int, int]], ranking: str) -> None:
    places = positions([*points, points[0]], ranking)
    assert places[-1] == places[0]


@given(pairs, rankings)
def test_exchanging_the_two_objectives_changes_nothing(points: list[tuple[int, int]], ranking: str) -> None:
    np.testing.assert_array_equal(positions([(y, x) for x, y in points], ranking), positions(points, ranking))


@given(pairs, rankings, st.integers(1, 5), st.integers(1, 50), st.integers(-9, 9))
def test_the_scale_of_an_objective_changes_nothing(
    points: list[tuple[int, int]], ranking: str, a: int, b: int, c: int
) -> None:
    scaled = [(a * x + c, b * y - c) for x, y in points]
    np.testing.assert_array_equal(positions(scaled, ranking), positions(points, ranking))


@given(pairs, rankings)
def test_a_position_is_the_number_of_better_points(points: list[tuple[int, int]], ranking: str) -> None:
    places = positions(points, ranking)
    for place in places:
        assert place == (places < place).sum()


def test_crowding_by_hand() -> None:
    """The ends are best, then the widest gap between the two neighbours.

    The gaps of (1, 8), (4, 5) and (6, 3) are 4 + 5, 5 + 5 and 6 + 5.
    """
    points = [(0, 10), (1, 8), (4, 5), (6, 3), (10, 0), (0, 0)]
    assert positions(points, "crowding").tolist() == [0, 4, 3, 2, 0, 5]


def test_epsilon_net_by_hand() -> None:
    """The ends are best, then the middle, which is farthest from both; (1, 9), next to an end, is last."""
    points = [(0, 10), (1, 9), (5, 5), (8, 2), (10, 0)]
    assert positions(points, "epsilon_net").tolist() == [0, 4, 2, 3, 0]


@pytest.mark.parametrize("ranking", sorted(DIVERSITY_RANKINGS))
def test_a_single_point_has_position_0(ranking: str) -> None:
    assert positions([(0.3, 0.4)], ranking).tolist() == [0]


@given(pairs)
def test_the_updated_front_is_the_front_of_all_points(points: list[tuple[int, int]]) -> None:
    import moocore

    front, present = Front(), set()
    for index, point in enumerate(points):
        left = front.add((index, 1), point)
        assert set(left) <= present
        present = set(front)
    mask = moocore.is_nondominated(np.array(points, dtype=float), maximise=True, keep_weakly=True)
    assert {index for index, _ in front} == set(np.flatnonzero(mask))
    assert front.hypervolume == pytest.approx(
        moocore.hypervolume(np.array(points, dtype=float), ref=[0, 0], maximise=True)
    )
