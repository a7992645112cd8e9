"""The pool keeps few and gives the parents that a sorting of everything gives."""

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
results = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 12), st.sampled_from([0.0, 0.0, 0.0, 1.0, 2.0])),
    min_size=1,
    max_size=60,
)


def select(individuals: list[FrozenTrial], count: int) -> list[FrozenTrial]:
    study = optuna.create_study(directions=["maximize", "maximize"])
    return NSGAIIElitePopulationSelectionStrategy(population_size=max(2, count))(study, individuals)[:count]


def everything(found: list[tuple[int, int, float]]) -> list[FrozenTrial]:
    trials = []
    for number, (x, y, violation) in enumerate(found):
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


@settings(max_examples=300, deadline=None)
@given(results, st.integers(2, 8))
def test_the_parents_are_those_of_a_sorting_of_everything(
    found: list[tuple[int, int, float]], size: int
) -> None:
    population = Population(size)
    for number, (x, y, violation) in enumerate(found):
        population.add(number, {"x": 0.5}, SPACE, [(x, y)], violations={"c": violation})
        trials = everything(found[: number + 1])
        whole = trials if len(trials) <= size else select(trials, size)
        assert sorted(one.number for one in population.parents(select)) == sorted(one.number for one in whole)


@settings(max_examples=500, deadline=None)
@given(results, st.integers(2, 8))
def test_the_fast_selection_is_optunas_to_the_order_of_ties(
    found: list[tuple[int, int, float]], size: int
) -> None:
    population = Population(size)
    for number, (x, y, violation) in enumerate(found):
        population.add(number, {"x": 0.5}, SPACE, [(x, y)], violations={"c": violation})
    assert [one.number for one in population.parents()] == [one.number for one in population.parents(select)]


@given(results, st.integers(2, 6), st.randoms(use_true_random=False))
def test_the_order_of_arrival_changes_no_parent(
    found: list[tuple[int, int, float]], size: int, random: Any
) -> None:
    order = list(range(len(found)))
    random.shuffle(order)
    one, other = Population(size), Population(size)
    for number in range(len(found)):
        for population, index in ((one, number), (other, order[number])):
            x, y, violation = found[index]
            population.add(index, {"x": 0.5}, SPACE, [(x, y)], violations={"c": violation})
    assert [trial.number for trial in one.parents(select)] == [
        trial.number for trial in other.parents(select)
    ]


def test_few_are_kept() -> None:
    """Of n random points, those that fewer than P others dominate are about P log n."""
    import numpy as np

    population, random = Population(12), np.random.default_rng(0)
    for number, (x, y) in enumerate(random.random((3000, 2))):
        population.add(number, {"x": 0.5}, SPACE, [(x, y)])
    assert len(population) == 3000
    assert len(population._rungs[TO_THE_END].trials) < 200


def test_higher_rungs_first_and_rungs_never_compared() -> None:
    population = Population(4)
    population.add(0, {"x": 0.1}, SPACE, [(0.1, 0.1)])
    population.add(1, {"x": 0.2}, SPACE, [(0.9, 0.9)], rung=3)
    population.add(2, {"x": 0.3}, SPACE, [(0.8, 0.8)], rung=3)
    population.add(3, {"x": 0.4}, SPACE, [(0.5, 0.5)], rung=9)
    population.add(4, {"x": 0.5}, SPACE, [(0.7, 0.95)], rung=3)
    assert [trial.number // 1000 for trial in population.parents(select)][:2] == [0, 3]
    assert {trial.number // 1000 for trial in population.parents(select)[2:]} == {1, 4}


def test_what_keeps_to_the_constraints_comes_first() -> None:
    population = Population(2)
    for number, (point, violation) in enumerate(
        [((0.9, 0.9), 0.5), ((0.1, 0.1), 0.0), ((0.2, 0.2), -1.0), ((1.0, 1.0), 0.1)]
    ):
        population.add(number, {"x": 0.5}, SPACE, [point], violations={"c": violation})
    assert {trial.number // 1000 for trial in population.parents(select)} == {1, 2}


def test_a_training_with_several_points_is_there_with_each() -> None:
    population = Population(3)
    population.add(7, {"x": 0.5}, SPACE, [(0.9, 0.1), (0.5, 0.5)])
    assert [trial.values for trial in population.parents(select)] == [[0.9, 0.1], [0.5, 0.5]]


@pytest.mark.parametrize("size", [2, 5])
def test_an_empty_pool_has_no_parents(size: int) -> None:
    assert Population(size).parents(select) == []
