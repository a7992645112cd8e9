"""The model that chooses a child: what it learns from, and what it must not see."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from morel_search.config import SearchSettings
from morel_search.search.outcome import Outcome
from morel_search.search.proposer import Proposer
from morel_search.search.surrogate import NEWEST, Surrogate

SQUARE: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}


def values(x: float, y: float) -> tuple[float, float]:
    """Return objectives of which x decides the trade-off, and y takes from both."""
    return x - y, 1 - x**2 - y


def trained(count: int = 40, seed: int = 0, noise: float = 0.0) -> Surrogate:
    rng = np.random.default_rng(seed)
    surrogate = Surrogate(SQUARE)
    for x, y in rng.random((count, 2)):
        surrogate.add({"x": x, "y": y}, np.array(values(x, y)) + noise * rng.normal(size=2))
    return surrogate


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_the_child_that_is_best_in_truth_is_chosen(noise: float) -> None:
    surrogate = trained(noise=noise)
    children = [{"x": 0.5, "y": y} for y in (0.6, 0.0, 0.3, 0.9)]
    assert {surrogate.choose(children, [], seed) for seed in range(5)} == {1}


def test_a_place_where_the_front_has_a_gap_is_preferred_to_a_known_one() -> None:
    surrogate = Surrogate(SQUARE)
    for x in (0.0, 0.05, 0.1, 0.15, 0.2, 0.8, 0.85, 0.9, 0.95, 1.0):
        for y in (0.0, 0.5):
            surrogate.add({"x": x, "y": y}, values(x, y))
    children = [{"x": x, "y": 0.0} for x in (0.02, 0.5, 0.97)]
    assert surrogate.choose(children, [], 0) == 1
    assert surrogate.choose(children, [children[1]], 0) != 1, "a running trial fills the gap already"


def test_stopped_trials_are_learned_from_and_not_taken_for_finished_ones() -> None:
    surrogate = Surrogate(SQUARE)
    rng = np.random.default_rng(0)
    for x, y in rng.random((60, 2)):
        # At the rung, everything is half a point better than it will be at the end.
        surrogate.add({"x": x, "y": y}, np.array(values(x, y)) + 0.5, rung=3)
    for x, y in ((0.1, 0.9), (0.9, 0.9), (0.5, 0.95), (0.3, 0.9)):
        surrogate.add({"x": x, "y": y}, values(x, y))
    children = [{"x": 0.5, "y": y} for y in (0.7, 0.1, 0.4)]
    assert surrogate.choose(children, [], 0) == 1, "only stopped trials have a small y"
    drawn = surrogate._draw(np.array([[0.5, 0.9]]), "0", 0)
    assert drawn == pytest.approx(values(0.5, 0.9)[0], abs=0.15), "the value at the end, not at the rung"


def test_values_of_inactive_parameters_are_not_seen() -> None:
    space: dict[str, BaseDistribution] = {
        "loss": CategoricalDistribution(["a", "b"]),
        "beta": FloatDistribution(0, 1),
    }

    def active(params: dict[str, object]) -> set[str]:
        return {"loss", "beta"} if params["loss"] == "b" else {"loss"}

    surrogate = Surrogate(space, active)  # type: ignore[arg-type]
    first, second = ({"loss": "a", "beta": beta} for beta in (0.1, 0.9))
    assert (surrogate._coordinates(first) == surrogate._coordinates(second)).all()
    other = [surrogate._coordinates({"loss": "b", "beta": beta}) for beta in (0.1, 0.9)]
    assert (other[0] != other[1]).any()


def test_a_child_that_would_violate_a_constraint_is_not_chosen() -> None:
    surrogate = Surrogate(SQUARE)
    for x, y in np.random.default_rng(0).random((40, 2)):
        surrogate.add({"x": x, "y": y}, values(x, y), violations={"clean_accuracy": 0.6 - x})
    good, better_but_forbidden = {"x": 0.8, "y": 0.2}, {"x": 0.2, "y": 0.0}
    assert surrogate.choose([better_but_forbidden, good], [], 0) == 1
    both_forbidden = [{"x": 0.1, "y": 0.0}, {"x": 0.4, "y": 0.9}]
    assert surrogate.choose(both_forbidden, [], 0) == 1, "the smaller violation"


@pytest.mark.parametrize("count", [1, 2, 9, 10, 11])
def test_few_trials_and_equal_values(count: int) -> None:
    surrogate = Surrogate(SQUARE)
    for index in range(count):
        surrogate.add({"x": index / 20, "y": 0.5}, (0.5, 0.5))
    assert surrogate.choose([{"x": 0.1, "y": 0.2}, {"x": 0.3, "y": 0.9}], [], 0) in (0, 1)


def test_only_stopped_trials() -> None:
    surrogate = Surrogate(SQUARE)
    for x, y in np.random.default_rng(0).random((20, 2)):
        surrogate.add({"x": x, "y": y}, values(x, y), rung=2)
    assert surrogate.choose([{"x": 0.5, "y": 0.9}, {"x": 0.5, "y": 0.0}], [], 0) == 1


def test_the_choice_depends_on_the_trials_and_the_seed_alone() -> None:
    children = [{"x": x, "y": y} for x, y in np.random.default_rng(1).random((30, 2))]
    asked, fresh = trained(), trained()
    for seed in range(3):
        asked.choose(children, [], seed)  # questions that came before change nothing
    assert [asked.choose(children, [], seed) for seed in range(8)] == [
        fresh.choose(children, [], seed) for seed in range(8)
    ]


def test_the_model_of_a_long_search_knows_the_newest_trials() -> None:
    surrogate = trained(NEWEST + 5)
    assert len(surrogate._data("0", surrogate._trials[-NEWEST:])[1]) == NEWEST
    assert surrogate.choose([{"x": 0.5, "y": 0.9}, {"x": 0.5, "y": 0.0}], [], 0) == 1


def test_every_kind_of_distribution_has_coordinates_in_the_unit_cube() -> None:
    space: dict[str, BaseDistribution] = {
        "lr": FloatDistribution(1e-4, 1, log=True),
        "steps": IntDistribution(2, 10),
        "loss": CategoricalDistribution(["a", "b", "c"]),
        "only": CategoricalDistribution(["one"]),
    }
    surrogate = Surrogate(space)
    low = surrogate._coordinates({"lr": 1e-4, "steps": 2, "loss": "a", "only": "one"})
    high = surrogate._coordinates({"lr": 1.0, "steps": 10, "loss": "c", "only": "one"})
    assert len(low) == 5, "one for each number, one for each of three choices, none for a single value"
    assert ((low >= 0) & (low <= 1) & (high >= 0) & (high <= 1)).all()
    assert (low[:2] < high[:2]).all()


def make_proposer(children: int, seed: int = 0) -> Proposer:
    settings = SearchSettings(population=6, warmup="random", children=children, seed=seed)
    return Proposer(settings, SQUARE, lambda params: tuple(sorted(params.items())))


def run(proposer: Proposer, first: int, last: int) -> list[dict[str, object]]:
    proposed = []
    for number in range(first, last):
        params = proposer.propose(number).params
        point = values(float(params["x"] or 0), float(params["y"] or 0))
        proposer.finish(number, Outcome(points=((9, *point),)))
        proposed.append(dict(params))
    return proposed


def test_children_that_a_model_chooses_are_better() -> None:
    def worst(children: int) -> float:
        proposals = [run(make_proposer(children, seed), 0, 24)[8:] for seed in range(3)]
        return float(np.mean([float(str(params["y"])) for part in proposals for params in part]))

    assert worst(32) < worst(1) / 2, "y takes from both objectives, so the best has none"


def test_a_continued_search_proposes_the_same() -> None:
    whole = run(make_proposer(16), 0, 20)
    continued = make_proposer(16)
    for number, params in enumerate(whole[:14]):
        point = values(float(str(params["x"])), float(str(params["y"])))
        continued.add(number, params, Outcome(points=((9, *point),)))  # type: ignore[arg-type]
    assert run(continued, 14, 20) == whole[14:]


def test_known_children_are_left_out() -> None:
    space: dict[str, BaseDistribution] = {"x": IntDistribution(0, 3), "y": IntDistribution(0, 3)}
    settings = SearchSettings(population=4, warmup="random", children=16)
    proposer = Proposer(settings, space, lambda params: tuple(sorted(params.items())))
    seen = []
    for number in range(16):
        proposal = proposer.propose(number)
        assert not proposal.replicate
        seen.append(tuple(sorted(proposal.params.items())))
        proposer.finish(number, Outcome(points=((9, *values(*map(float, proposal.params.values()))),)))  # type: ignore[arg-type]
    assert len(set(seen)) == 16


def test_failed_trainings_teach_nothing_wrong() -> None:
    proposer = make_proposer(8)
    for number in range(20):
        params = proposer.propose(number).params
        failed = number % 3 == 0
        point = values(float(str(params["x"])), float(str(params["y"])))
        proposer.finish(
            number, Outcome(failure="diverged in epoch 1") if failed else Outcome(points=((9, *point),))
        )
    assert len(proposer._surrogate._trials) == 13
    assert all(math.isfinite(value) for trial in proposer._surrogate._trials for value in trial.values)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
