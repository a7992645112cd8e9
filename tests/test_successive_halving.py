"""Successive halving: the rungs, the trials that continue, and independence of the order of arrival."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.study._multi_objective import _fast_non_domination_rank

from morel_search.config import EarlyStoppingSettings
from morel_search.search.diversity import DIVERSITY_RANKINGS
from morel_search.search.successive_halving import AsyncSuccessiveHalving

points = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("given_settings", "epochs", "levels"),
    [
        ({}, 27, (3, 9)),
        ({}, 10, (1, 3)),
        ({}, 30, (3, 9)),
        ({}, 200, (22, 66)),
        ({}, 3, (1,)),
        ({"eta": 2}, 27, (3, 6)),
        ({"grace": 1, "rungs": None, "eta": 3}, 27, (1, 3, 9)),
        ({"grace": 1, "rungs": 2, "eta": 3}, 27, (1, 3)),
        ({"rungs": 1}, 28, (3,)),
        ({"grace": 4, "rungs": None, "eta": 2}, 16, (4, 8)),
        ({"grace": 4, "rungs": 5, "eta": 2}, 16, (4, 8)),
        ({}, 2, (1,)),
        ({"grace": 40}, 27, ()),
        ({}, 1, ()),
        ({"enabled": False}, 27, ()),
    ],
)
def test_the_rungs_of_some_settings(
    given_settings: dict[str, Any], epochs: int, levels: tuple[int, ...]
) -> None:
    assert EarlyStoppingSettings(**given_settings).levels(epochs) == levels


@given(points, st.fractions(Fraction(1, 5), Fraction(4, 5), max_denominator=20))
def test_a_trial_continues_by_the_rule_of_successive_halving(
    reached: list[tuple[int, int]], keep: Fraction
) -> None:
    """The last trial continues if fewer than ceil(n x keep) are better, or if too few reached the rung."""
    halving = AsyncSuccessiveHalving(EarlyStoppingSettings(keep=keep, min_peers=5), (3,))
    for number, point in enumerate(reached):
        halving.record(number, 3, point)
    rank_of = halving.rank_of(len(reached) - 1, 3)
    assert rank_of.peers == len(reached)
    assert rank_of.enough == (len(reached) >= 5)
    assert rank_of.places == math.ceil(len(reached) * keep)
    assert rank_of.continues == (len(reached) < 5 or rank_of.position < rank_of.places)


def positions(reached: list[tuple[int, int]], ranking: str) -> list[int]:
    """Count, for each point, those with a lower rank by Optuna or a better place in the same front."""
    values = np.array(reached, dtype=float)
    ranks = _fast_non_domination_rank(-values)
    scaled = (values - values.min(axis=0)) / np.where(np.ptp(values, axis=0) > 0, np.ptp(values, axis=0), 1.0)
    keys = []
    for point, rank in zip(scaled, ranks, strict=True):
        front = np.unique(scaled[ranks == rank], axis=0)
        place = DIVERSITY_RANKINGS[ranking](front)[(front == point).all(axis=1)][0]
        keys.append((rank, place))
    return [sum(other < key for other in keys) for key in keys]


@settings(max_examples=120, deadline=None)
@given(points, st.sampled_from(["crowding", "epsilon_net"]))
def test_updated_ranks_are_those_of_a_new_sorting(reached: list[tuple[int, int]], ranking: str) -> None:
    halving = AsyncSuccessiveHalving(EarlyStoppingSettings(ranking=ranking), (1,))
    for number, point in enumerate(reached):
        halving.record(number, 1, point)
        assert [halving.rank_of(trial, 1).position for trial in range(number + 1)] == positions(
            reached[: number + 1], ranking
        )


@given(points)
def test_the_front_of_a_rung_continues_unless_it_has_more_members_than_places(
    reached: list[tuple[int, int]],
) -> None:
    halving = AsyncSuccessiveHalving(EarlyStoppingSettings(keep=Fraction(1, 3)), (1,))
    for number, point in enumerate(reached):
        halving.record(number, 1, point)
    front = [
        number
        for number, rank in enumerate(_fast_non_domination_rank(-np.array(reached, dtype=float)))
        if rank == 0
    ]
    continuing = [
        number
        for number in range(len(reached))
        if halving.rank_of(number, 1).position < halving.rank_of(number, 1).places
    ]
    if len(front) <= math.ceil(len(reached) / 3):
        assert set(front) <= set(continuing)
    else:
        assert set(continuing) <= set(front)


@given(points, st.randoms(use_true_random=False))
def test_a_rank_does_not_depend_on_the_order_of_arrival(
    reached: list[tuple[int, int]], random: object
) -> None:
    order = list(range(len(reached)))
    random.shuffle(order)
    first, second = (AsyncSuccessiveHalving(EarlyStoppingSettings(), (1,)) for _ in range(2))
    for number in range(len(reached)):
        first.record(number, 1, reached[number])
        second.record(order[number], 1, reached[order[number]])
    assert [first.rank_of(number, 1) for number in range(len(reached))] == [
        second.rank_of(number, 1) for number in range(len(reached))
    ]


def test_trials_at_different_rungs_are_not_compared() -> None:
    halving = AsyncSuccessiveHalving(EarlyStoppingSettings(), (1, 3))
    for number in range(6):
        halving.record(number, 1, (0.9, 0.9))
    halving.record(6, 3, (0.1, 0.1))
    assert halving.rank_of(6, 3).position == 0
    assert halving.rank_of(6, 3).peers == 1
    assert not halving.recorded(6, 1)


@pytest.mark.parametrize(
    ("given_settings", "least"),
    [
        ({}, 3),
        ({"keep": Fraction(1, 4)}, 4),
        ({"keep": Fraction(3, 10)}, 4),
        ({"keep": None, "eta": 4}, 4),
        ({"keep": None, "eta": 2, "min_peers": 2}, 2),
        ({"keep": Fraction(1, 4), "min_peers": 9}, 9),
    ],
)
def test_a_rung_that_keeps_a_share_stops_nothing_before_it_has_seen_enough(
    given_settings: dict[str, Any], least: int
) -> None:
    assert AsyncSuccessiveHalving(EarlyStoppingSettings(**given_settings), (1,)).min_peers == least


def test_shares_are_exact() -> None:
    """In floating point, 0.7 x 10 is above 7, and an eighth trial would continue."""
    halving = AsyncSuccessiveHalving(EarlyStoppingSettings(keep=Fraction("0.7")), (1,))
    for number in range(10):
        halving.record(number, 1, (number / 10, number / 10))
    assert halving.rank_of(0, 1).places == 7


@pytest.mark.parametrize("keep", [0, 1, Fraction(6, 5), -1])
def test_a_share_that_stops_nothing_or_everything_is_refused(keep: Fraction) -> None:
    with pytest.raises(ValueError, match="keep must be"):
        EarlyStoppingSettings(keep=keep)
