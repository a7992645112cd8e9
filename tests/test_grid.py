"""Ranges with many values: the door counts them, and lists none."""

from __future__ import annotations

import tracemalloc
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from config_files import changed, faults, load, searched
from hypothesis import given
from hypothesis import strategies as st

from morel_search.config import Parameter
from morel_search.config.grid import Grid
from morel_search.config.possible_values import highest, lowest, possible_values

LIMIT = 20 * 2**20
"""Bytes that loading a space file may take; a list of a million numbers takes more."""


def memory_of_loading(folder: Path, content: dict[str, Any]) -> int:
    load(folder, content)  # the first time, modules are imported
    tracemalloc.start()
    try:
        load(folder, content)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "parameters",
    [
        {"alpha": {"type": "float", "low": 0, "high": 1, "step": 1e-6}},
        {"epsilon": {"type": "float", "low": 0, "high": "1/5", "step": "1/10000000"}},
        {"k_robust": {"type": "float", "low": 0, "high": 1, "step": 1e-6}, "k_accuracy": None},
        {"batch_size": {"type": "int", "low": 1, "high": 10_000_000}},
        {"embedding_dim": {"type": "int", "low": 2, "high": 10_000_000, "step": 2}, "attention_heads": None},
        {
            "alpha": {"type": "float", "low": 0, "high": 1, "step": 1e-6},
            "temperature": {"type": "float", "low": 0.1, "high": 1, "when": {"alpha": [0.5, 0.123456]}},
        },
    ],
)
def test_a_range_of_millions_of_values_is_not_listed(tmp_path: Path, parameters: dict[str, Any]) -> None:
    more = {
        "k_accuracy": {"type": "float", "low": 0, "high": 1, "step": 1e-6},
        "attention_heads": {"type": "categorical", "choices": [1, 2]},
    }
    content = searched(**{name: entry or more[name] for name, entry in parameters.items()})
    assert memory_of_loading(tmp_path, content) < LIMIT


@pytest.mark.parametrize(
    ("name", "entry", "sentence"),
    [
        (
            "alpha",
            {"type": "float", "low": 0, "high": 1, "step": 1e-7},
            "alpha.step: the range has 10,000,001 values, more than 10,000,000, got low 0 and high 1; narrow "
            "it, or give a larger step, or no step",
        ),
        (
            "epsilon",
            {"type": "float", "low": 0, "high": "1/5", "step": "1e-20"},
            "epsilon.step: the range has 10^19 values, more than 10,000,000, got low 0 and high 0.2; narrow "
            "it, or give a larger step, or no step",
        ),
        (
            "attack_steps",
            {"type": "int", "low": 0, "high": 10_000_000},
            "attack_steps: the range has 10,000,001 values, more than 10,000,000, got low 0 and high "
            "10000000; narrow it, or give a larger step",
        ),
        (
            "batch_size",
            {"type": "int", "low": 1, "high": 2**62},
            f"batch_size: the range has 10^18 values, more than 10,000,000, got low 1 and high {2**62}; "
            "narrow it, or give a larger step",
        ),
        (
            "batch_size",
            {"type": "int", "low": 1, "high": 2**62, "log": True},
            f"batch_size: the range has 10^18 values, more than 10,000,000, got low 1 and high {2**62}; "
            "narrow it",
        ),
    ],
)
def test_a_range_of_too_many_values(tmp_path: Path, name: str, entry: dict[str, Any], sentence: str) -> None:
    assert faults(tmp_path, searched(**{name: entry})) == (f"parameters.{sentence}",)


def test_a_condition_on_a_range_of_too_many_values(tmp_path: Path) -> None:
    content = searched(
        alpha={"type": "float", "low": 0, "high": 1, "step": "1e-20"},
        temperature={"type": "float", "low": 0.1, "high": 1, "when": {"alpha": 0.5}},
    )
    assert len(faults(tmp_path, content)) == 1


def test_heads_that_do_not_divide_are_found_in_long_ranges(tmp_path: Path) -> None:
    content = searched(
        embedding_dim={"type": "int", "low": 1, "high": 9_000_000},
        attention_heads={"type": "categorical", "choices": [1, 2]},
    )
    assert faults(tmp_path, content) == (
        "parameters.attention_heads: attention_heads must divide embedding_dim, got 2 and 1; change the "
        "values of one of them",
    )


@given(st.integers(-5, 5), st.integers(1, 40), st.integers(1, 9), st.integers(-60, 400))
def test_a_grid_is_the_list_of_its_values(low: int, length: int, sevenths: int, sixths: int) -> None:
    grid = Grid(Fraction(low), Fraction(sevenths, 7), length, True)
    listed = [low + Fraction(sevenths, 7) * k for k in range(length)]
    assert list(grid) == listed
    assert (grid[0], grid[-1], len(grid)) == (listed[0], listed[-1], length)
    assert list(grid[1:3]) == listed[1:3]
    value = Fraction(sixths, 6)
    assert (value in grid) == (value in listed)


def test_values_of_a_float_grid_are_the_nearest_floats() -> None:
    grid = Parameter("alpha", "float", 0.0, 1.0, 0.1).values
    assert grid is not None
    assert list(grid) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    assert all(value in grid for value in (0, 0.3, 0.7, 1.0))
    assert not any(
        value in grid for value in (0.15, 1.1, -0.1, True, "0.1", None, float("nan"), float("inf"))
    )


def test_bounds_of_a_grid_under_a_condition(tmp_path: Path) -> None:
    content = changed(
        train={"accuracy_loss": "trades"},
        parameters={
            "norm": {"type": "categorical", "choices": ["linf", "l2"]},
            "epsilon": {
                "type": "float",
                "low": 0,
                "high": "1/5",
                "step": "1/10000000",
                "when": {"norm": "l2"},
            },
        },
    )
    space = load(tmp_path, content)
    assert (lowest(space, "epsilon"), highest(space, "epsilon")) == (0, Fraction(1, 5))
    assert possible_values(space, "epsilon") == (0, Fraction(1, 5), space.train.epsilon)
