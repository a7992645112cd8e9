"""The model that chooses a child: what it learns from, and what it must not see."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import Any

import moocore
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.samplers import BaseSampler

import morel_search.search.proposer as proposer_module
import morel_search.search.surrogate as module
from morel_search.config import SearchSettings
from morel_search.search.distributions import Params
from morel_search.search.gaussian_process import NEWEST, predict
from morel_search.search.outcome import Outcome
from morel_search.search.proposer import Proposer
from morel_search.search.surrogate import DRAWS, Surrogate, gains_of
from morel_search.training.selection import EpochResult

SQUARE: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1), "y": FloatDistribution(0, 1)}


def key(params: Params) -> Hashable:
    return tuple(sorted(params.items()))


def values(x: float, y: float) -> tuple[float, float]:
    """Return objectives of which x decides the trade-off, and y takes from both."""
    return x - y, 1 - x**2 - y


def chosen(
    surrogate: Surrogate, children: Sequence[Params], running: Sequence[Params] = (), seed: int = 0
) -> int:
    """Return the index of the best of some children, without further generations."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "GENERATIONS", 0)
        best = surrogate.best(children, running, (), seed)
    return [dict(child) for child in children].index(best or {})


def expected_of(surrogate: Surrogate, output: str, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return predict(surrogate._processes.process(output, ()), points)


def trained(count: int = 40, seed: int = 0, noise: float = 0.0) -> Surrogate:
    rng = np.random.default_rng(seed)
    surrogate = Surrogate(SQUARE, key)
    for x, y in rng.random((count, 2)):
        surrogate.add({"x": x, "y": y}, np.array(values(x, y)) + noise * rng.normal(size=2))
    return surrogate


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_the_child_that_is_best_in_truth_is_chosen(noise: float) -> None:
    surrogate = trained(noise=noise)
    children = [{"x": 0.5, "y": y} for y in (0.6, 0.0, 0.3, 0.9)]
    assert {chosen(surrogate, children, seed=seed) for seed in range(5)} == {1}


def test_a_place_where_the_front_has_a_gap_is_preferred_to_a_known_one() -> None:
    surrogate = Surrogate(SQUARE, key)
    for x in (0.0, 0.05, 0.1, 0.15, 0.2, 0.8, 0.85, 0.9, 0.95, 1.0):
        for y in (0.0, 0.5):
            surrogate.add({"x": x, "y": y}, values(x, y))
    children = [{"x": x, "y": 0.0} for x in (0.02, 0.5, 0.97)]
    assert chosen(surrogate, children) == 1
    assert chosen(surrogate, children, [children[1]]) != 1, "a running trial fills the gap already"


def test_stopped_trials_are_learned_from_and_not_taken_for_finished_ones() -> None:
    surrogate = Surrogate(SQUARE, key)
    rng = np.random.default_rng(0)
    for x, y in rng.random((60, 2)):
        # At the rung, everything is half a point better than it will be at the end.
        surrogate.add({"x": x, "y": y}, np.array(values(x, y)) + 0.5, rung=3)
    for x, y in ((0.1, 0.9), (0.9, 0.9), (0.5, 0.95), (0.3, 0.9)):
        surrogate.add({"x": x, "y": y}, values(x, y))
    children = [{"x": 0.5, "y": y} for y in (0.7, 0.1, 0.4)]
    assert chosen(surrogate, children) == 1, "only stopped trials have a small y"
    expected, _ = expected_of(surrogate, "0", np.array([[0.5, 0.9]]))
    assert expected == pytest.approx(values(0.5, 0.9)[0], abs=0.15), "the value at the end, not at the rung"


def test_rungs_that_a_finished_trial_passed_tell_what_a_rung_is_worth() -> None:
    """All good trials were stopped at the rung, where everything is half a point worse than at the end."""

    def error(seed: int, *, passed: bool) -> float:
        rng, surrogate = np.random.default_rng(seed), Surrogate(SQUARE, key)

        def measured(x: float, y: float) -> np.ndarray:
            return np.array(values(x, y)) + 0.3 * math.sin(5 * y) + 0.02 * rng.normal(size=2)

        for x, y in rng.random((40, 2)) * (1, 0.6):
            surrogate.add({"x": x, "y": y}, measured(x, y) - 0.5, rung=3)
        for x, y in rng.random((8, 2)) * (1, 0.3) + (0, 0.7):
            end, at_rung = measured(x, y), measured(x, y) - 0.5
            surrogate.add({"x": x, "y": y}, end, earlier={3: at_rung} if passed else None)
        points = np.array([[x, 0.1] for x in np.linspace(0, 1, 11)])
        truth = points[:, 0] - 0.1 + 0.3 * math.sin(0.5)
        return float(np.abs(expected_of(surrogate, "0", points)[0] - truth).mean())

    with_rungs, without = (
        np.mean([error(seed, passed=passed) for seed in range(4)]) for passed in (True, False)
    )
    assert with_rungs < without / 2


def test_values_of_inactive_parameters_are_not_seen() -> None:
    space: dict[str, BaseDistribution] = {
        "loss": CategoricalDistribution(["a", "b"]),
        "beta": FloatDistribution(0, 1),
    }

    def active(params: Params) -> set[str]:
        return {"loss", "beta"} if params["loss"] == "b" else {"loss"}

    surrogate = Surrogate(space, key, active)
    first, second = ({"loss": "a", "beta": beta} for beta in (0.1, 0.9))
    assert (surrogate._seen(first) == surrogate._seen(second)).all()
    other = [surrogate._seen({"loss": "b", "beta": beta}) for beta in (0.1, 0.9)]
    assert (other[0] != other[1]).any()


def test_a_child_that_would_violate_a_constraint_is_not_chosen() -> None:
    surrogate = Surrogate(SQUARE, key)
    for x, y in np.random.default_rng(0).random((40, 2)):
        surrogate.add({"x": x, "y": y}, values(x, y), violations={"clean_accuracy": 0.6 - x})
    good, better_but_forbidden = {"x": 0.8, "y": 0.2}, {"x": 0.2, "y": 0.0}
    assert chosen(surrogate, [better_but_forbidden, good]) == 1
    both_forbidden = [{"x": 0.1, "y": 0.0}, {"x": 0.4, "y": 0.9}]
    assert chosen(surrogate, both_forbidden) == 1, "the smaller violation"


@given(
    front=st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), max_size=6),
    point=st.tuples(st.floats(-0.5, 1.5), st.floats(-0.5, 1.5)),
)
def test_the_gain_is_the_difference_of_two_hypervolumes(
    front: list[tuple[float, float]], point: tuple[float, float]
) -> None:
    reference = np.array([0.1, 0.2])
    known = np.array(front).reshape(-1, 2)
    if len(known):
        known = known[moocore.is_nondominated(known, maximise=True)]

    def volume(points: np.ndarray) -> float:
        return float(moocore.hypervolume(points, ref=reference, maximise=True)) if len(points) else 0.0

    gain = gains_of(known[np.argsort(known[:, 0])], reference, np.array(point))
    assert gain == pytest.approx(volume(np.concatenate([known, [point]])) - volume(known), abs=1e-9)


def test_the_expected_gain_is_that_of_many_independent_draws() -> None:
    surrogate = trained(30, noise=0.05)
    points = np.random.default_rng(5).random((6, 2))
    expected = surrogate._gain([], np.random.default_rng(0))(points)
    means, errors = (
        np.column_stack(part)
        for part in zip(
            *(predict(surrogate._processes.process(name, ()), points) for name in "01"), strict=True
        )
    )
    ended = np.array([trial.coordinates for trial in surrogate._processes.trials])
    front = np.column_stack([expected_of(surrogate, name, ended)[0] for name in "01"])
    every = np.array([[trial.outputs["0"], trial.outputs["1"]] for trial in surrogate._processes.trials])
    reference = every.min(axis=0) - 0.1 * np.ptp(every, axis=0)
    rng, before = np.random.default_rng(1), moocore.hypervolume(front, ref=reference, maximise=True)
    for index, gain in enumerate(expected):
        draws = means[index] + errors[index] * rng.normal(size=(2000, 2))
        after = [
            moocore.hypervolume(np.concatenate([front, [draw]]), ref=reference, maximise=True)
            for draw in draws
        ]
        gains = np.array(after) - before
        assert gain == pytest.approx(gains.mean(), abs=4 * gains.std() / math.sqrt(2 * DRAWS) + 1e-6)


def test_generations_in_the_model_find_what_no_child_is() -> None:
    surrogate = trained(60)
    children = [{"x": x, "y": y} for x, y in np.random.default_rng(3).uniform(0.3, 1.0, (20, 2))]
    first = children[chosen(surrogate, children)]
    best = surrogate.best(children, [], (), 0)
    assert best is not None
    assert float(str(best["y"])) < 0.05 < float(first["y"]), "y takes from both objectives"


def test_parameters_of_a_single_value_are_left_out() -> None:
    space: dict[str, BaseDistribution] = {
        "x": FloatDistribution(0, 1),
        "only": CategoricalDistribution(["one"]),
        "fixed": IntDistribution(3, 3),
    }
    seen: list[Params] = []

    def key_of(params: Params) -> Hashable:
        seen.append(params)
        return tuple(params[name] for name in space)

    surrogate = Surrogate(space, key_of)
    for x in (0.1, 0.5, 0.9):
        surrogate.add({"x": x, "only": "one", "fixed": 3}, (x, 1 - x))
    best = surrogate.best([{"x": 0.2}, {"x": 0.7}], [], (), 0)
    assert best is not None
    assert best.keys() == {"x"}
    assert all(params["only"] == "one" and params["fixed"] == 3 for params in seen)


def test_if_everything_is_known_nothing_is_returned() -> None:
    space: dict[str, BaseDistribution] = {"loss": CategoricalDistribution(["a", "b"])}
    surrogate = Surrogate(space, key)
    surrogate.add({"loss": "a"}, (0.1, 0.2))
    known = {key({"loss": "a"}), key({"loss": "b"})}
    assert surrogate.best([{"loss": "a"}], [], known, 0) is None
    assert surrogate.best([{"loss": "a"}], [], {key({"loss": "a"})}, 0) == {"loss": "b"}


@pytest.mark.parametrize("count", [1, 2, 9, 10, 11])
def test_few_trials_and_equal_values(count: int) -> None:
    surrogate = Surrogate(SQUARE, key)
    for index in range(count):
        surrogate.add({"x": index / 20, "y": 0.5}, (0.5, 0.5))
    assert chosen(surrogate, [{"x": 0.1, "y": 0.2}, {"x": 0.3, "y": 0.9}]) in (0, 1)


def test_only_stopped_trials() -> None:
    surrogate = Surrogate(SQUARE, key)
    for x, y in np.random.default_rng(0).random((20, 2)):
        surrogate.add({"x": x, "y": y}, values(x, y), rung=2)
    assert chosen(surrogate, [{"x": 0.5, "y": 0.9}, {"x": 0.5, "y": 0.0}]) == 1


def test_the_choice_depends_on_the_trials_and_the_seed_alone() -> None:
    children = [{"x": x, "y": y} for x, y in np.random.default_rng(1).random((30, 2))]
    asked, fresh = trained(), trained()
    for seed in range(3):
        asked.best(children, [], (), seed)  # questions that came before change nothing
    assert [asked.best(children, [], (), seed) for seed in range(8)] == [
        fresh.best(children, [], (), seed) for seed in range(8)
    ]


def test_a_continued_search_has_the_same_model_although_it_knows_more_rungs() -> None:
    children = [{"x": x, "y": y} for x, y in np.random.default_rng(1).random((30, 2))]
    asked, fresh = Surrogate(SQUARE, key), Surrogate(SQUARE, key)
    for index, (x, y) in enumerate(np.random.default_rng(2).random((18, 2))):
        rung = 3 if index == 17 else 9 if index % 2 else math.inf  # the last trial stops at a new rung
        for surrogate in (asked, fresh):
            surrogate.add({"x": x, "y": y}, values(x, y), rung=rung)
        asked.best(children, [], (), 0)
    assert asked.best(children, [], (), 7) == fresh.best(children, [], (), 7)
    assert fresh._processes._kernels == {
        key: asked._processes._kernels[key] for key in fresh._processes._kernels
    }


def test_the_model_of_a_long_search_knows_the_newest_trials() -> None:
    surrogate = trained(NEWEST + 5)
    assert len(surrogate._processes.process("0", ()).X_train_) == NEWEST
    assert chosen(surrogate, [{"x": 0.5, "y": 0.9}, {"x": 0.5, "y": 0.0}]) == 1


def test_every_kind_of_distribution_has_coordinates_in_the_unit_cube() -> None:
    space: dict[str, BaseDistribution] = {
        "lr": FloatDistribution(1e-4, 1, log=True),
        "steps": IntDistribution(2, 10),
        "loss": CategoricalDistribution(["a", "b", "c"]),
        "only": CategoricalDistribution(["one"]),
    }
    surrogate = Surrogate(space, key)
    low = surrogate._seen({"lr": 1e-4, "steps": 2, "loss": "a", "only": "one"})
    high = surrogate._seen({"lr": 1.0, "steps": 10, "loss": "c", "only": "one"})
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
        proposals = [run(make_proposer(children, seed), 0, 27)[10::4] for seed in range(3)]
        return float(np.mean([float(str(params["y"])) for part in proposals for params in part]))

    assert worst(16) < worst(1) / 2, "y takes from both objectives, so the best has none"


def turns(children: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return who proposed each of 22 trials: the sampler, and whether the model chose among its children."""
    makers, make = [], proposer_module.make_sampler

    def recorded(*args: Any, **options: Any) -> BaseSampler:
        sampler = make(*args, **options)
        makers.append(type(sampler).__name__ + (" with model" if options["choose"] else ""))
        return sampler

    monkeypatch.setattr(proposer_module, "make_sampler", recorded)
    proposed = []
    proposer = make_proposer(children)
    for number in range(22):
        params = proposer.propose(number).params
        proposed.append(makers[-1])
        point = values(float(str(params["x"])), float(str(params["y"])))
        proposer.finish(number, Outcome(points=((9, *point),)))
    return proposed


def test_of_four_proposals_tpe_makes_two_and_the_model_one(monkeypatch: pytest.MonkeyPatch) -> None:
    one_round = ["SteadyNSGAIISampler", "TPESampler", "SteadyNSGAIISampler with model", "TPESampler"]
    assert turns(16, monkeypatch)[8:20] == 3 * one_round


def test_without_a_model_all_proposals_are_those_of_nsga2(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(turns(1, monkeypatch)[6:]) == {"SteadyNSGAIISampler"}


def test_a_continued_search_proposes_the_same() -> None:
    whole = run(make_proposer(16), 0, 20)
    continued = make_proposer(16)
    for number, params in enumerate(whole[:14]):
        point = values(float(str(params["x"])), float(str(params["y"])))
        continued.add(number, params, Outcome(points=((9, *point),)))  # type: ignore[arg-type]
    assert run(continued, 14, 20) == whole[14:]


def epoch(number: int, point: tuple[float, float], **changes: float) -> EpochResult:
    losses = dict.fromkeys(("loss", "accuracy_loss", "robust_loss", "cosine_loss", "contrastive_loss"), 0.5)
    return EpochResult(
        epoch=number, **losses, lr=0.1, train_accuracy=0.5, seconds=1.0,
        clean_accuracy=point[0], robust_accuracy=point[1], **changes,
    )  # fmt: skip


def test_the_model_is_told_the_rungs_that_a_trial_passed() -> None:
    settings = SearchSettings(population=6, children=16, select_epoch="best_sum")
    proposer = Proposer(settings, SQUARE, key, rungs=(1, 3, 9))
    points = [(0.2, 0.1), (0.6, 0.4), (0.5, 0.3), (0.7, 0.5), (0.6, 0.5)]
    history = tuple(epoch(number, point) for number, point in enumerate(points, start=1))
    ended = Outcome(points=((4, 0.7, 0.45),), history=history)
    stopped = Outcome(points=((2, 0.6, 0.4),), history=history[:3], rung=3, stopped=True)
    for number, outcome in enumerate((ended, stopped)):
        proposer.add(number, {"x": 0.5, "y": 0.1 * number}, outcome)
    first, second = proposer._surrogate._processes.trials
    assert first.earlier == {1: {"0": 0.2, "1": 0.1}, 3: {"0": 0.6, "1": 0.4}}
    assert second.earlier == {1: {"0": 0.2, "1": 0.1}}, "at its own rung it has its values"


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
    trials = proposer._surrogate._processes.trials
    assert len(trials) == 13
    assert all(math.isfinite(value) for trial in trials for value in trial.outputs.values())


@pytest.mark.parametrize(
    "space",
    [
        {"only": CategoricalDistribution(["one"])},
        {"only": CategoricalDistribution(["one"]), "steps": IntDistribution(0, 3)},
    ],
)
def test_a_space_with_little_or_nothing_to_vary(space: dict[str, BaseDistribution]) -> None:
    proposer = Proposer(SearchSettings(population=4, children=8), space, key)
    for number in range(12):
        proposal = proposer.propose(number)
        assert proposal.params.keys() == space.keys()
        proposer.finish(number, Outcome(points=((9, 0.1 * (number % 7), 0.5),)))
    assert proposal.replicate, "there are at most four configurations"
