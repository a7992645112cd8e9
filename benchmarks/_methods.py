"""The search methods that are compared: this project and other libraries, in the simulation."""

from __future__ import annotations

import importlib.util
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import numpy as np
import optuna
from _simulation import Method, Point, Problem
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from morel_search.cluster.session import quiet_ray
from morel_search.config import EarlyStoppingSettings, SearchSettings
from morel_search.search.early_stopping import EXEMPTION
from morel_search.search.outcome import Outcome
from morel_search.search.proposer import Proposer
from morel_search.search.seeds import derive_seed
from morel_search.search.successive_halving import AsyncSuccessiveHalving
from morel_search.training.selection import EpochResult

__all__ = ["METHODS", "VARIANTS", "Make", "available", "silence"]

METRICS = ("clean", "robust")

WITH_EPOCHS = ("curves", "digits")
"""Problems whose trainings have several epochs."""


class Morel:
    """The proposer of this project, with or without its early stopping."""

    def __init__(self, problem: Problem, search: SearchSettings, stopping: EarlyStoppingSettings) -> None:
        self._search, self._stopping, self._epochs = search, stopping, problem.epochs
        self._ladder = AsyncSuccessiveHalving(stopping, stopping.levels(problem.epochs))
        self._proposer = Proposer(search, problem.space, problem.configuration_key, rungs=self._ladder.levels)
        self._histories: dict[int, list[EpochResult]] = defaultdict(list)

    def ask(self, number: int) -> dict[str, Any]:
        return self._proposer.propose(number).params

    def report(self, number: int, epoch: int, point: Point) -> bool:
        if epoch not in self._ladder.levels:
            return True
        self._histories[number].append(_result(epoch, point))
        self._ladder.record(number, epoch, point)
        if self._ladder.rank_of(number, epoch).continues or self._runs_through(number):
            return True
        history = tuple(self._histories.pop(number))
        stopped = Outcome(points=((epoch, *point),), history=history, rung=epoch, stopped=True)
        self._proposer.finish(number, stopped)
        return False

    def done(self, number: int, point: Point | None) -> None:
        history = self._histories.pop(number, [])
        if point is None:
            self._proposer.finish(number, Outcome(failure="diverged"))
            return
        history.append(_result(self._epochs, point))
        self._proposer.finish(number, Outcome(points=((self._epochs, *point),), history=tuple(history)))

    def _runs_through(self, number: int) -> bool:
        """Return whether a training is exempt from early stopping."""
        return derive_seed(self._search.seed, number, EXEMPTION) / 2**31 < self._stopping.run_through


def _result(epoch: int, point: Point) -> EpochResult:
    """Return the result of an epoch whose accuracies are those of the selected epoch so far."""
    losses = dict.fromkeys(("loss", "accuracy_loss", "robust_loss", "cosine_loss", "contrastive_loss"), 0.0)
    return EpochResult(
        epoch=epoch, **losses, lr=0.0, train_accuracy=0.0, clean_accuracy=point[0],
        robust_accuracy=point[1], seconds=0.0,
    )  # fmt: skip


class RayOptuna:
    """Ray Tune's OptunaSearch, with or without a scheduler of Ray Tune.

    A training that the scheduler stops is reported to the search with its last values.
    """

    def __init__(self, problem: Problem, sampler: BaseSampler, scheduler: Any = None) -> None:
        from ray.tune.search.optuna import OptunaSearch

        self._searcher = OptunaSearch(
            dict(problem.space), metric=list(METRICS), mode=["max", "max"], sampler=sampler
        )
        self._scheduler = scheduler
        self._trials: dict[int, Any] = {}

    def ask(self, number: int) -> dict[str, Any]:
        params: dict[str, Any] = self._searcher.suggest(str(number))
        if self._scheduler is not None:
            self._trials[number] = SimpleNamespace(trial_id=str(number))
            self._scheduler.on_trial_add(None, self._trials[number])
        return params

    def report(self, number: int, epoch: int, point: Point) -> bool:
        if self._scheduler is None:
            return True
        result = {"epoch": epoch, **dict(zip(METRICS, point, strict=True))}
        if self._scheduler.on_trial_result(None, self._trials[number], result) != "STOP":
            return True
        self._searcher.on_trial_complete(str(number), result)
        return False

    def done(self, number: int, point: Point | None) -> None:
        result = None if point is None else dict(zip(METRICS, point, strict=True))
        self._searcher.on_trial_complete(str(number), result, error=point is None)


class Moasha:
    """MOASHA of Syne Tune: random proposals, early stopping by non-dominated sorting."""

    def __init__(self, problem: Problem, seed: int) -> None:
        from syne_tune.optimizer.schedulers.multiobjective.moasha import MOASHA

        space = {name: _domain(distribution) for name, distribution in problem.space.items()}
        np.random.seed(seed)  # MOASHA uses the global random state
        grace = 3 if problem.epochs >= 27 else 1
        settings = {
            "max_t": problem.epochs, "grace_period": grace, "reduction_factor": 3, "random_seed": seed
        }  # fmt: skip
        self._scheduler = MOASHA(space, list(METRICS), do_minimize=False, time_attr="epoch", **settings)
        self._trials: dict[int, Any] = {}

    def ask(self, number: int) -> dict[str, Any]:
        from syne_tune.backend.trial_status import Trial

        params: dict[str, Any] = dict(self._scheduler.suggest().config)
        self._trials[number] = Trial(number, params, datetime.min)
        self._scheduler.on_trial_add(self._trials[number])
        return params

    def report(self, number: int, epoch: int, point: Point) -> bool:
        result = {"epoch": epoch, **dict(zip(METRICS, point, strict=True))}
        return bool(self._scheduler.on_trial_result(self._trials[number], result) == "CONTINUE")

    def done(self, number: int, point: Point | None) -> None:  # noqa: ARG002
        self._scheduler.on_trial_remove(self._trials.pop(number))


def _domain(distribution: BaseDistribution) -> Any:
    """Return the range of a parameter as Syne Tune has it."""
    from syne_tune.config_space import choice, loguniform, uniform

    if isinstance(distribution, CategoricalDistribution):
        return choice(list(distribution.choices))
    if isinstance(distribution, IntDistribution):
        return choice(list(range(distribution.low, distribution.high + 1, distribution.step)))
    assert isinstance(distribution, FloatDistribution)
    return (loguniform if distribution.log else uniform)(distribution.low, distribution.high)


@dataclass(frozen=True, slots=True)
class Make:
    """A method, and the problems to which it applies.

    Attributes:
        build: Function that makes the method from a problem and a seed.
        stops: Whether the method stops trainings early; problems without epochs are then left out.
        epochs_only: Whether the method equals another method on problems without epochs, which are then left
            out.
        module: Module that must be installed.
    """

    build: Callable[[Problem, int], Method]
    stops: bool = False
    epochs_only: bool = False
    module: str = "optuna"


def available(methods: Mapping[str, Make], problem: str) -> list[str]:
    """Return the methods that are installed and apply to a problem."""
    return [
        name
        for name, make in methods.items()
        if importlib.util.find_spec(make.module)
        and (problem in WITH_EPOCHS or not (make.stops or make.epochs_only))
    ]


def silence() -> None:
    """Turn off the log messages of Ray and Optuna; must be called before Ray is imported."""
    quiet_ray()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    logging.getLogger("ray").setLevel(logging.CRITICAL)


def _morel(search: Mapping[str, Any] | None = None, **stopping: Any) -> Make:
    def build(problem: Problem, seed: int) -> Method:
        trials = max(SearchSettings().trials, problem.budget // problem.epochs)
        settings = SearchSettings(**{"seed": seed, "trials": trials, **(search or {})})
        return Morel(problem, settings, EarlyStoppingSettings(**stopping))

    return Make(build, stops=stopping.get("enabled", True))


def _nsga2(problem: Problem, seed: int) -> NSGAIISampler:
    return NSGAIISampler(seed=seed, population_size=problem.population)


def _nsga2_of_20(problem: Problem, seed: int) -> Method:
    return RayOptuna(problem, NSGAIISampler(seed=seed, population_size=20))


def _tpe(seed: int) -> TPESampler:
    """Return TPE with the options that parallel searches with dependent parameters use."""
    return TPESampler(seed=seed, multivariate=True, constant_liar=True)


def _asha(problem: Problem, seed: int) -> Method:
    from ray.tune.schedulers import AsyncHyperBandScheduler

    grace = 3 if problem.epochs >= 27 else 1
    rule = {"max_t": problem.epochs, "grace_period": grace, "reduction_factor": 3}
    return RayOptuna(
        problem, _nsga2(problem, seed), AsyncHyperBandScheduler("epoch", "robust", "max", **rule)
    )


METHODS: dict[str, Make] = {
    "morel_search": _morel(),
    "morel_search, no stopping": _morel(enabled=False),
    "morel_search, no model": _morel({"children": 1}),
    "morel_search, no model, no stopping": _morel({"children": 1}, enabled=False),
    "morel_search, sampler tpe": _morel({"sampler": "tpe"}),
    "morel_search, Sobol start": _morel({"children": 1, "warmup": "sobol"}, keep=None, rungs=None),
    "morel_search, Sobol start, no stopping": _morel({"children": 1, "warmup": "sobol"}, enabled=False),
    "ray+nsga2": Make(lambda problem, seed: RayOptuna(problem, _nsga2(problem, seed))),
    "ray+nsga2, population 20": Make(_nsga2_of_20, epochs_only=True),
    "ray+nsga2+asha": Make(_asha, stops=True),
    "tpe, multivariate": Make(lambda problem, seed: RayOptuna(problem, _tpe(seed))),
    "tpe, Optuna's defaults": Make(lambda problem, seed: RayOptuna(problem, TPESampler(seed=seed))),
    "gp, Optuna's defaults": Make(lambda problem, seed: RayOptuna(problem, GPSampler(seed=seed))),
    "moasha": Make(Moasha, stops=True, module="syne_tune"),
    "random": Make(lambda problem, seed: RayOptuna(problem, RandomSampler(seed=seed))),
}

VARIANTS: dict[str, Make] = {
    "morel_search": METHODS["morel_search"],
    "ranking epsilon_net": _morel(ranking="epsilon_net"),
    "keep 1/2": _morel(keep=Fraction(1, 2)),
    "keep 3/4": _morel(keep=Fraction(3, 4)),
    "keep 1/3, one rung": _morel(keep=Fraction(1, 3), rungs=1),
    "three rungs": _morel(rungs=3),
    "grace 2": _morel(grace=2),
    "grace 9, one rung": _morel(grace=9, rungs=1),
    "min_peers 6": _morel(min_peers=6),
    "min_peers 12": _morel(min_peers=12),
    "run_through 0": _morel(run_through=0.0),
    "16 children": _morel({"children": 16}),
    "population 8": _morel({"population": 8}),
    "population 12": _morel({"population": 12}),
    "warmup sobol": _morel({"warmup": "sobol"}),
    "warmup random": _morel({"warmup": "random"}),
    "warmup_trials 60": _morel({"warmup_trials": 60}),
    "uniform crossover": _morel({"crossover": "uniform"}),
    "uniform mutation": _morel({"mutation": "uniform"}),
    "sampler tpe": _morel({"sampler": "tpe"}),
    "sampler nsga3": _morel({"sampler": "nsga3"}),
    "sampler random": _morel({"sampler": "random"}),
}
"""Other settings of this project. The first entry has the defaults: 60 % continue after 3 and 9 of 27 epochs,
crowding, min_peers 3, TPE for the first 20 of 100 trials, population 20, 64 children, run_through 0.05."""
