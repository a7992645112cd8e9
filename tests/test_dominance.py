"""Pareto dominance: its definition, its laws, and the non-dominated epochs of a training."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from morel_search._dominance import dominates
from morel_search.training.selection import EpochResult, chosen_epochs

values = st.one_of(st.integers(0, 5), st.just(math.nan))
points = st.lists(st.tuples(values, values), min_size=1, max_size=12)


def by_definition(first: tuple[float, float], second: tuple[float, float]) -> bool:
    pairs = list(zip(first, second, strict=True))
    return all(x >= y for x, y in pairs) and any(x > y for x, y in pairs)


@given(points, points)
def test_arrays_of_points_are_compared_by_the_definition(
    firsts: list[tuple[float, float]], seconds: list[tuple[float, float]]
) -> None:
    matrix = dominates(np.array(firsts)[:, None], np.array(seconds)[None])
    expected = [[by_definition(first, second) for second in seconds] for first in firsts]
    np.testing.assert_array_equal(matrix, expected)
    assert bool(dominates(firsts[0], seconds[0])) == expected[0][0]


@given(points)
def test_no_point_dominates_itself_and_no_two_dominate_each_other(items: list[tuple[float, float]]) -> None:
    matrix = dominates(np.array(items)[:, None], np.array(items)[None])
    assert not np.diagonal(matrix).any()
    assert not (matrix & matrix.T).any()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=12))
def test_the_rule_front_selects_the_epochs_that_no_other_epoch_dominates(
    scores: list[tuple[int, int]],
) -> None:
    names = (
        "loss",
        "accuracy_loss",
        "robust_loss",
        "cosine_loss",
        "contrastive_loss",
        "lr",
        "train_accuracy",
    )
    history = [
        EpochResult(
            epoch=epoch,
            **dict.fromkeys(names, 0.5),
            clean_accuracy=clean,
            robust_accuracy=robust,
            seconds=1.0,
        )
        for epoch, (clean, robust) in enumerate(scores, start=1)
    ]
    last = {score: epoch for epoch, score in enumerate(scores, start=1)}  # of equal epochs, the last counts
    expected = {last[score] for score in last if not any(by_definition(other, score) for other in scores)}
    chosen = [result.epoch for result in chosen_epochs(history, "front")]
    assert len(chosen) == len(set(chosen))
    assert set(chosen) == expected
