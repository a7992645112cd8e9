"""The front against its definition, and its laws."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from morel_search.analysis.front import front_mask

GRID = st.integers(0, 5).map(lambda value: value / 5)
VALUE = st.one_of(GRID, st.floats(0, 1), st.just(float("nan")))
POINTS = st.lists(st.tuples(VALUE, VALUE), max_size=25)


def brute_force(points: np.ndarray) -> list[bool]:
    """Pareto optimality as it is defined, one pair at a time."""
    return [
        not np.isnan(one).any()
        and not any(
            (other >= one).all() and (other > one).any() for other in points if not np.isnan(other).any()
        )
        for one in points
    ]


@given(POINTS)
def test_it_is_the_definition(points: list[tuple[float, float]]) -> None:
    values = np.array(points, dtype=float).reshape(-1, 2)
    assert front_mask(values).tolist() == brute_force(values)


@given(POINTS, st.randoms(use_true_random=False))
def test_order_does_not_matter(points: list[tuple[float, float]], random: np.random.Generator) -> None:
    order = list(range(len(points)))
    random.shuffle(order)
    mask = front_mask(points)
    assert front_mask([points[index] for index in order]).tolist() == [bool(mask[index]) for index in order]


@given(st.lists(st.tuples(GRID, GRID), min_size=1, max_size=15))
def test_copies_share_the_fate_of_their_original(points: list[tuple[float, float]]) -> None:
    mask = front_mask(points)
    assert front_mask(points + points).tolist() == mask.tolist() * 2
    assert mask.any()


def test_equal_points_are_all_kept() -> None:
    assert front_mask([(0.9, 0.5), (0.9, 0.5), (0.8, 0.5), (0.9, 0.4)]).tolist() == [True, True, False, False]


def test_nan_is_never_on_the_front_and_beats_nobody() -> None:
    assert front_mask([(float("nan"), 1.0), (0.5, 0.5), (1.0, float("nan"))]).tolist() == [False, True, False]


def test_nothing_gives_nothing() -> None:
    assert front_mask([]).shape == (0,)


@pytest.mark.parametrize("points", [[0.5, 0.5], [[0.1, 0.2, 0.3]], np.zeros((2, 2, 2))])
def test_other_shapes_are_refused(points: object) -> None:
    with pytest.raises(ValueError, match=r"shape \(n, 2\)"):
        front_mask(points)  # type: ignore[arg-type]
