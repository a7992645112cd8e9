"""Wilson's interval, McNemar's test and paired differences, against formulas, laws and nominal coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from morel_search.analysis.intervals import mcnemar, paired_difference, ratio_interval, wilson

Z = 1.959963984540054


@given(st.integers(1, 20_000).flatmap(lambda images: st.tuples(st.integers(0, images), st.just(images))))
def test_wilson_is_its_formula(counts: tuple[int, int]) -> None:
    right, images = counts
    p = right / images
    middle = (p + Z**2 / (2 * images)) / (1 + Z**2 / images)
    half = Z / (1 + Z**2 / images) * math.sqrt(p * (1 - p) / images + Z**2 / (4 * images**2))
    assert wilson(right, images) == pytest.approx(
        (max(0.0, middle - half), min(1.0, middle + half)), abs=1e-9
    )


def test_wilson_as_printed_elsewhere() -> None:
    """Newcombe (1998), table I: 81 of 263 gives 0.2553 to 0.3662; 0 of 20 gives 0 to 0.1611."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_the_exact_binomial_test(first: int, second: int) -> None:
    count = first + second
    tail = sum(math.comb(count, k) for k in range(min(first, second) + 1)) / 2**count
    assert mcnemar(first, second) == pytest.approx(min(1.0, 2 * tail), rel=1e-9)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=200))
def test_differences_turn_round(pairs: list[tuple[bool, bool]]) -> None:
    first, second = (np.array(column) for column in zip(*pairs, strict=True))
    one, other = paired_difference(first, second), paired_difference(second, first)
    assert one.value == pytest.approx(first.mean() - second.mean())
    assert (one.value, one.low, one.high, one.p) == pytest.approx(
        (-other.value, -other.high, -other.low, other.p)
    )
    assert one.low <= one.high


def test_intervals_of_differences_hold_what_they_promise() -> None:
    """Of 4,000 drawn pairs of networks, the interval must hold the true difference in about 95 %."""
    random = np.random.default_rng(0)
    cells = np.array([0.4, 0.12, 0.06, 0.42])  # both right, only the first, only the second, none
    draws = random.multinomial(1, cells, size=(4000, 150)).argmax(axis=2)
    held = [
        one.low < 0.06 < one.high
        for one in (paired_difference(draw <= 1, (draw == 0) | (draw == 2)) for draw in draws)
    ]
    assert 0.935 < np.mean(held) < 0.97


def test_intervals_of_ratios_hold_what_they_promise() -> None:
    """Of 4,000 drawn pairs of dependent normal estimates, 95 % of the intervals must hold the true ratio.

    An unbounded interval holds every ratio.
    """
    random, covariance = np.random.default_rng(0), np.array([[1.0, 0.4], [0.4, 0.5]])
    held = []
    for numerator, denominator in random.multivariate_normal([2.0, 3.0], covariance, size=4000):
        interval = ratio_interval(numerator, denominator, (1.0, 0.5), 0.4)
        held.append(interval is None or interval[0] <= 2 / 3 <= interval[1])
    assert 0.94 < np.mean(held) < 0.96
    assert ratio_interval(1.0, 1.9, (1.0, 1.0), 0.0) is None, "1.96 standard errors include 0"
    assert ratio_interval(2.0, 4.0, (0.0, 0.0), 0.0) == (0.5, 0.5)
