"""The population stores few individuals, and its parents are those of a sorting of all individuals."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.distributions import FloatDistribution
from optuna.samplers.nsgaii._elite_population_selection_strategy import NSGAIIElitePopulationSelectionStrategy
from optuna.trial import FrozenTrial, TrialState

from morel_search.search.optuna_private import constraint_attributes
from morel_search.search.population import TO_THE_END, Population

SPACE = {"x": FloatDistribution(0, 1)}
RESULTS = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 12), st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.0])),
    min_size=1,
    max_size=60,
)


def select(individuals: list[FrozenTrial], count: int) -> list[FrozenTrial]:
    study = optuna.create_study(directions=["maximize", "maximize"])
    return NSGAIIElitePopulationSelectionStrategy(population_size=max(2, count))(study, individuals)[:count]


def individuals_of(results: list[tuple[int, int, float]]) -> list[FrozenTrial]:
    trials = []
    for number, (x, y, violation) in enumerate(results):
        trial = optuna.create_trial(
            state=TrialState.COMPLETE,
            values=[x, y],
            params={"x": 0.5},
            distributions=SPACE,
            system_attrs=constraint_attributes({"c": violation}),
        )
        trial.number = number * 1000
        trials.append(trial)
    return trials


@settings(max_examples=100, deadline=None)
@given(RESULTS, st.integers(2, 8))
def test_the_parents_are_those_of_a_sorting_of_all_individuals(
    results: list[tuple[int, int, float]], size: int
) -> None:
    population = Population(size)
    for number, (x, y, violation) in enumerate(results):
        population.add(number, {"x": 0.5}, SPACE, [(x, y)], violations={"c": violation})
        trials = individuals_of(results[: number + 1])
        whole = trials if len(trials) <= size else select(trials, size)
        assert sorted(trial.number for trial in population.parents(select)) == sorted(
            trial.number for trial in whole
        )


@settings(max_examples=150, deadline=None)
@given(RESULTS, st.integers(2, 8))
def test_the_fast_selection_equals_that_of_optuna_in_the_order_of_ties(
    results: list[tuple[int, int, float]], size: int
) -> None:
    population = Population(size)
    for number, (x, y, violation) in enumerate(results):
        population.add(number, {"x": 0.5}, SPACE, [(x, y)], violations={"c": violation})
    assert [trial.number for trial in population.parents()] == [
        trial.number for trial in population.parents(select)
    ]


@given(RESULTS, st.integers(2, 6), st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_no_parent(
    results: list[tuple[int, int, float]], size: int, random: Any
) -> None:
    order = list(range(len(results)))
    random.shuffle(order)
    first, second = Population(size), Population(size)
    for number in range(len(results)):
        for population, index in ((first, number), (second, order[number])):
            x, y, violation = results[index]
            population.add(index, {"x": 0.5}, SPACE, [(x, y)], violations={"c": violation})
    assert [trial.number for trial in first.parents(select)] == [
        trial.number for trial in second.parents(select)
    ]


def test_few_individuals_are_stored() -> None:
    """Of n random points, about P log n are dominated by fewer than P others."""
    import numpy as np

    population, random = Population(12), np.random.default_rng(0)
    for number, (x, y) in enumerate(random.random((3000, 2))):
        population.add(number, {"x": 0.5}, SPACE, [(x, y)])
    assert len(population) == 3000
    assert len(population._rungs[TO_THE_END].trials) < 200


def test_higher_rungs_come_first_and_are_not_compared_with_lower_ones() -> None:
    population = Population(4)
    population.add(0, {"x": 0.1}, SPACE, [(0.1, 0.1)])
    population.add(1, {"x": 0.2}, SPACE, [(0.9, 0.9)], rung=3)
    population.add(2, {"x": 0.3}, SPACE, [(0.8, 0.8)], rung=3)
    population.add(3, {"x": 0.4}, SPACE, [(0.5, 0.5)], rung=9)
    population.add(4, {"x": 0.5}, SPACE, [(0.7, 0.95)], rung=3)
    assert [trial.number // 1000 for trial in population.parents(select)][:2] == [0, 3]
    assert {trial.number // 1000 for trial in population.parents(select)[2:]} == {1, 4}


def test_feasible_individuals_come_first() -> None:
    population = Population(2)
    for number, (point, violation) in enumerate(
        [((0.9, 0.9), 0.5), ((0.1, 0.1), 0.0), ((0.2, 0.2), -1.0), ((1.0, 1.0), 0.1)]
    ):
        population.add(number, {"x": 0.5}, SPACE, [point], violations={"c": violation})
    assert {trial.number // 1000 for trial in population.parents(select)} == {1, 2}


def test_each_point_of_a_training_is_an_individual() -> None:
    population = Population(3)
    population.add(7, {"x": 0.5}, SPACE, [(0.9, 0.1), (0.5, 0.5)])
    assert [trial.values for trial in population.parents(select)] == [[0.9, 0.1], [0.5, 0.5]]


@pytest.mark.parametrize("size", [2, 5])
def test_an_empty_population_has_no_parents(size: int) -> None:
    assert Population(size).parents(select) == []
