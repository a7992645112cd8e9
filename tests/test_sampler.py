"""The samplers: Optuna's conformance suites, and the differences from Optuna's own samplers."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, NSGAIIISampler, NSGAIISampler
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)
from optuna.trial import TrialState

from morel_search.config import SearchSettings
from morel_search.search.outcome import Outcome
from morel_search.search.population import Population
from morel_search.search.proposer import Proposer
from morel_search.search.sampler import (
    SAMPLERS,
    SteadyNSGAIIISampler,
    SteadyNSGAIISampler,
    make_sampler,
)
from morel_search.search.seeds import derive_seed
from morel_search.search.sobol import sobol_point

optuna.logging.set_verbosity(optuna.logging.WARNING)
DIVERGED = Outcome(failure="diverged in epoch 1")
SPACE = {f"x{index}": FloatDistribution(0, 1) for index in range(5)}


class TestNSGA2(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return SteadyNSGAIISampler


class TestNSGA3(BasicSamplerTestCase, RelativeSamplerTestCase, MultiObjectiveSamplerTestCase):
    @pytest.fixture
    def sampler(self) -> Callable[[], BaseSampler]:
        return SteadyNSGAIIISampler


def zdt1(x: list[float]) -> tuple[float, float]:
    g = 1 + 9 * sum(x[1:]) / (len(x) - 1)
    return x[0], g * (1 - (x[0] / g) ** 0.5)


def objective(trial: optuna.Trial) -> tuple[float, float]:
    return zdt1([trial.suggest_float(f"x{index}", 0, 1) for index in range(5)])


@pytest.mark.parametrize("sampler", [SteadyNSGAIISampler, SteadyNSGAIIISampler])
def test_the_class_names_are_unchanged(sampler: type) -> None:
    """Optuna stores generations under the name of the sampler's class; a new name would lose them."""
    assert sampler.__name__ in ("SteadyNSGAIISampler", "SteadyNSGAIIISampler")


@pytest.mark.parametrize(
    "options",
    [{"population_size": 1}, {"mutation_prob": 1.1}, {"crossover_prob": -0.1}, {"swapping_prob": 2.0}],
)
def test_options_that_optuna_rejects_are_rejected(options: dict[str, Any]) -> None:
    for sampler in (NSGAIISampler, SteadyNSGAIISampler):
        with pytest.raises(ValueError):  # noqa: PT011
            sampler(**options)


def test_the_same_seed_gives_the_same_study() -> None:
    configurations = []
    for _ in range(2):
        study = optuna.create_study(
            directions=["minimize", "minimize"], sampler=SteadyNSGAIISampler(population_size=8, seed=3)
        )
        study.optimize(objective, n_trials=40)
        configurations.append([trial.params for trial in study.trials])
    assert configurations[0] == configurations[1]


@pytest.mark.parametrize(
    ("own", "optunas"), [(SteadyNSGAIISampler, NSGAIISampler), (SteadyNSGAIIISampler, NSGAIIISampler)]
)
def test_a_serial_search_is_as_good_as_optunas(
    own: Callable[..., BaseSampler], optunas: Callable[..., BaseSampler]
) -> None:
    import moocore

    volumes: dict[str, list[float]] = {"own": [], "optuna": []}
    for seed in range(8):
        for name, sampler in (("own", own), ("optuna", optunas)):
            study = optuna.create_study(
                directions=["minimize", "minimize"], sampler=sampler(population_size=20, seed=seed)
            )
            study.optimize(objective, n_trials=200)
            volumes[name].append(
                moocore.hypervolume(np.array([trial.values for trial in study.trials]), ref=[2, 6])
            )
    gap = np.array(volumes["own"]) - np.array(volumes["optuna"])
    assert gap.mean() > -2 * gap.std(ddof=1) / len(gap) ** 0.5
    random = [10.0]
    for seed in range(4):
        study = optuna.create_study(
            directions=["minimize", "minimize"], sampler=optuna.samplers.RandomSampler(seed=seed)
        )
        study.optimize(objective, n_trials=200)
        random.append(moocore.hypervolume(np.array([trial.values for trial in study.trials]), ref=[2, 6]))
    assert np.mean(volumes["own"]) > np.mean(random[1:])


def test_most_late_proposals_satisfy_constraints_of_the_trials() -> None:
    """Half of the space violates the constraint.

    Most of the last proposals of a constrained search lie in the other half.
    """

    def constrained(trial: optuna.Trial) -> tuple[float, float]:
        values = objective(trial)
        trial.set_constraint("half", 0.5 - trial.params["x0"])
        return values

    study = optuna.create_study(
        directions=["minimize", "minimize"], sampler=SteadyNSGAIISampler(population_size=10, seed=0)
    )
    study.optimize(constrained, n_trials=120)
    assert np.mean([trial.params["x0"] >= 0.5 for trial in study.trials[-40:]]) > 0.8


def finished(clean: float, robust: float) -> Outcome:
    """The outcome of a training that ran to its end."""
    return Outcome(points=((9, clean, robust),))


def stopped_at(rung: int, clean: float, robust: float) -> Outcome:
    """The outcome of a training that was stopped early at a rung."""
    return Outcome(points=((rung, clean, robust),), rung=rung, stopped=True)


def outcome(x: dict[str, float]) -> Outcome:
    first, second = zdt1(list(x.values()))
    return finished(-first, -second)


def make_proposer(**settings: Any) -> Proposer:
    return Proposer(
        SearchSettings(**{"children": 1, **settings}),
        SPACE,
        lambda params: tuple(round(value, 3) for value in params.values()),
    )


@pytest.mark.parametrize("workers", [1, 16, 32])
def test_every_finished_trial_can_become_a_parent(workers: int) -> None:
    """The share of finished trials that never were candidates is 0, whatever the number of workers.

    Optuna's own is (W-1)/(P+W-1).
    """
    from collections import deque

    size, seen = 12, set()
    proposer = make_proposer(population=size)
    add = proposer._population.add

    def spy(number: int, *arguments: Any, **named: Any) -> None:
        seen.add(number)
        add(number, *arguments, **named)

    proposer._population.add = spy
    running: deque[tuple[int, dict[str, float]]] = deque()
    for number in range(120):
        running.append((number, proposer.propose(number).params))
        if len(running) == workers:
            done, params = running.popleft()
            proposer.finish(done, outcome(params))
            assert done in seen
    assert len(seen) == 120 - workers + 1


def test_a_dominating_enqueued_trial_is_a_parent_in_the_first_generation() -> None:
    proposer = make_proposer(population=6)
    best = {"x0": 0.25, "x1": 0.0, "x2": 0.0, "x3": 0.0, "x4": 0.0}
    proposer.add(0, best, outcome(best))
    for number in range(1, 6):
        params = proposer.propose(number).params
        proposer.finish(number, finished(-5.0 - number, -9.0))
        assert params != best
    from optuna.samplers.nsgaii._elite_population_selection_strategy import (
        NSGAIIElitePopulationSelectionStrategy,
    )

    study = optuna.create_study(directions=["maximize", "maximize"])
    parents = proposer._population.parents(
        lambda trials, count: NSGAIIElitePopulationSelectionStrategy(population_size=count)(study, trials)
    )
    assert best in [trial.params for trial in parents]
    children = [proposer.propose(number).params for number in range(6, 30)]
    assert any(child[name] == pytest.approx(best[name], abs=0.05) for child in children for name in best)


def test_stopped_trials_are_parents_after_those_that_ran_to_the_end() -> None:
    """Stopped trials are parents only if too few ran to the end; the two groups are not compared."""
    proposer = make_proposer(population=4, crossover_prob=0.0, mutation_prob=0.0, seed=1)
    for number, (x, rung) in enumerate([(0.1, 3), (0.2, 3), (0.3, 3), (0.4, 9), (0.5, 9)]):
        proposer.add(number, dict.fromkeys(SPACE, x), stopped_at(rung, x, x))
    proposer.add(5, dict.fromkeys(SPACE, 0.9), finished(0.01, 0.01))
    parents = {
        trial.params["x0"]
        for trial in proposer._population.parents(
            lambda trials, count: sorted(trials, key=lambda t: -t.values[0])[:count]
        )
    }
    assert parents == {0.9, 0.4, 0.5, 0.3}


def test_regions_of_deterministic_failures_are_avoided() -> None:
    """Everything above 0.6 in x0 runs out of memory.

    Few later proposals go there, with and without a model that knows.
    """
    for sampler in ("nsga2", "tpe", "random"):
        proposer = make_proposer(population=8, sampler=sampler)
        late = 0
        for number in range(60):
            params = proposer.propose(number).params
            fails = params["x0"] > 0.6
            proposer.finish(number, DIVERGED if fails else outcome(params))
            late += fails and number >= 30
        assert late <= 6, sampler  # by chance: 12


def test_seeds_of_different_draws_differ() -> None:
    assert (
        len({derive_seed(1), derive_seed(1, 0), derive_seed(1, 0, 0), derive_seed(0, 1), derive_seed(1, 1)})
        == 5
    )


def test_known_configurations_are_not_proposed_again() -> None:
    proposer = make_proposer(population=4)
    seen = set()
    for number in range(80):
        proposal = proposer.propose(number)
        key = tuple(round(value, 3) for value in proposal.params.values())
        assert proposal.replicate == (key in seen)
        assert proposer.known(proposal.params)
        seen.add(key)
        proposer.finish(number, outcome(proposal.params))


@pytest.mark.parametrize("name", SAMPLERS)
def test_samplers_by_name(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sampler = make_sampler(SearchSettings(sampler=name, population=6), SPACE, Population(6), 0, 1)
    assert isinstance(sampler, BaseSampler)


def test_the_first_configurations_are_spread_evenly() -> None:
    """Of 2^k points of the sequence, each interval of length 2^-k of each parameter has exactly one."""
    space = {
        "x": FloatDistribution(-1, 3),
        "y": FloatDistribution(1e-4, 1, log=True),
        "n": IntDistribution(2, 9),
    }
    space = {
        **space,
        "c": CategoricalDistribution(["a", "b"]),
        "m": IntDistribution(1, 8, log=True),
        "s": FloatDistribution(0, 0.7, step=0.1),
    }
    for seed in range(3):
        points = [sobol_point(space, seed, index) for index in range(16)]
        assert sorted(int((point["x"] + 1) / 4 * 16) for point in points) == list(range(16))
        assert sorted(int((np.log10(point["y"]) + 4) / 4 * 16) for point in points) == list(range(16))
        assert sorted(point["n"] for point in points) == [value for value in range(2, 10) for _ in range(2)]
        assert sorted(round(10 * point["s"]) for point in points) == [
            value for value in range(8) for _ in range(2)
        ]
        assert [point["c"] for point in points].count("a") == 8
        assert all(
            distribution._contains(distribution.to_internal_repr(point[name]))
            for point in points
            for name, distribution in space.items()
        )
        assert [point["m"] for point in points].count(1) > [point["m"] for point in points].count(8)
    assert sobol_point(space, 1, 5) != sobol_point(space, 2, 5)


def test_the_sobol_points_come_before_the_population_also_after_a_restart() -> None:
    proposer = make_proposer(population=6, warmup="sobol")
    design = [sobol_point(SPACE, derive_seed(0), number) for number in range(9)]
    assert [proposer.propose(number).params for number in range(6)] == design[:6]
    again = make_proposer(population=6, warmup="sobol")
    for number in range(4):
        again.add(number, design[number], outcome(design[number]))
    assert [again.propose(number).params for number in (4, 5, 6)] == design[4:7]  # four of six have finished
    again.finish(4, outcome(design[4]))
    again.finish(5, outcome(design[5]))
    assert again.propose(7).params != design[7]


def test_a_warm_up_by_tpe() -> None:
    settings = SearchSettings(population=6, trials=60, children=1)
    assert settings.least_warmup == 24
    assert SearchSettings(trials=1000, children=1).least_warmup == 80
    assert SearchSettings(trials=1000).least_warmup == 0, "the model begins with the first population"
    assert SearchSettings(population=6, warmup="sobol").least_warmup == 0
    assert SearchSettings(warmup="tpe", warmup_trials=7).least_warmup == 7
    few, many = Population(6), Population(6)
    for population, size in ((few, 5), (many, 6)):
        for number in range(size):
            population.add(number, dict.fromkeys(SPACE, 0.1), SPACE, [(0.1 * number, 1 - 0.1 * number)])

    def kinds(population: Population) -> list[str]:
        return [type(make_sampler(settings, SPACE, population, number, 1)).__name__ for number in (0, 23, 24)]

    assert kinds(many) == ["TPESampler", "TPESampler", "SteadyNSGAIISampler"]
    assert kinds(few) == ["TPESampler"] * 3
    proposer = make_proposer(population=6, warmup="tpe")
    for number in range(40):
        params = proposer.propose(number).params
        proposer.finish(
            number, outcome(params) if number % 5 else stopped_at(3, *outcome(params).points[0][1:])
        )


@pytest.mark.parametrize(
    ("options", "diverged"),
    [
        ({"warmup": "sobol"}, TrialState.FAIL),
        ({"sampler": "gp"}, TrialState.FAIL),
        ({"sampler": "tpe"}, TrialState.COMPLETE),
        ({"warmup": "tpe"}, TrialState.COMPLETE),
    ],
)
def test_states_of_the_study(options: dict[str, Any], diverged: TrialState) -> None:
    """Only TPE learns from a trial that diverged: as COMPLETE with the worst values, and infeasible."""
    proposer = make_proposer(population=10, **options)
    outcomes = [finished(0.1, 0.2), stopped_at(3, 0.1, 0.2), Outcome(failure="no such file"), DIVERGED]
    for number, result in enumerate(outcomes):
        proposer.propose(number)
        proposer.finish(number, result)
    states = [trial.state for trial in proposer._study.trials]
    assert states == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL, diverged]
