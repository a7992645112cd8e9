"""NSGA-II that selects its parents from everything finished, and Optuna's other samplers by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, NSGAIIISampler, NSGAIISampler, RandomSampler, TPESampler, nsgaii
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from morel_search.config import SearchSettings

__all__ = ["SAMPLERS", "SteadyNSGAIIISampler", "SteadyNSGAIISampler", "make_sampler"]


class _Steady:
    """Selects the parents from all finished trials at each proposal; in front of one of Optuna's genetic samplers.

    Optuna's samplers select the parents of a generation once, so with W workers and population P a share (W - 1) / (P + W - 1) of the
    trials, the slow ones, finishes too late to become a parent ever; nor does a trial that was given and not sampled. The search space
    is the study's, known beforehand, and not what the trials so far have in common.

    Args:
        space: Name to distribution of every parameter.
        **options: As for the sampler.
    """

    population_size: int | None
    _elite_population_selection_strategy: Callable[[Study, list[FrozenTrial]], list[FrozenTrial]]
    _child_generation_strategy: Callable[[Study, dict[str, BaseDistribution], list[FrozenTrial]], dict[str, Any]]

    def __init__(self, space: dict[str, BaseDistribution], **options: Any) -> None:
        super().__init__(**options)
        self._space = space

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002
        """The whole space but for parameters with a single value."""
        return {name: distribution for name, distribution in self._space.items() if not distribution.single()}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:  # noqa: ARG002
        """A child of parents from the elite; nothing, so random values, until a first population has finished."""
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        candidates = [one for one in finished if search_space.keys() <= one.params.keys()]
        if self.population_size is None or len(candidates) < self.population_size:
            return {}
        parents = self._elite_population_selection_strategy(study, candidates)
        return self._child_generation_strategy(study, search_space, parents)


class SteadyNSGAIISampler(_Steady, NSGAIISampler):
    """NSGA-II (Deb et al. 2002): the elite by non-dominated rank and crowding distance among everything finished."""


class SteadyNSGAIIISampler(_Steady, NSGAIIISampler):
    """NSGA-III (Deb and Jain 2014): the elite by non-dominated rank and reference points among everything finished."""


CROSSOVERS: dict[str, Callable[[SearchSettings], nsgaii.BaseCrossover]] = {
    "uniform": lambda settings: nsgaii.UniformCrossover(settings.swapping_prob),
    "sbx": lambda _: nsgaii.SBXCrossover(),
    "vsbx": lambda _: nsgaii.VSBXCrossover(),
    "blxalpha": lambda _: nsgaii.BLXAlphaCrossover(),
    "undx": lambda _: nsgaii.UNDXCrossover(),
    "spx": lambda _: nsgaii.SPXCrossover(),
}


def _nsga2(settings: SearchSettings, space: dict[str, BaseDistribution], seed: int) -> BaseSampler:
    return SteadyNSGAIISampler(space, **_genetic(settings, seed))


def _nsga3(settings: SearchSettings, space: dict[str, BaseDistribution], seed: int) -> BaseSampler:
    return SteadyNSGAIIISampler(space, **_genetic(settings, seed))


def _genetic(settings: SearchSettings, seed: int) -> dict[str, Any]:
    return {
        "population_size": settings.population,
        "crossover": CROSSOVERS[settings.crossover](settings),
        "crossover_prob": settings.crossover_prob,
        "swapping_prob": settings.swapping_prob,
        "mutation": nsgaii.PolynomialMutation() if settings.mutation == "polynomial" else None,
        "mutation_prob": settings.mutation_prob,
        "seed": seed,
    }


SAMPLERS: dict[str, Callable[[SearchSettings, dict[str, BaseDistribution], int], BaseSampler]] = {
    "nsga2": _nsga2,
    "nsga3": _nsga3,
    "tpe": lambda settings, space, seed: TPESampler(seed=seed, n_startup_trials=settings.population, multivariate=True, constant_liar=True),
    "random": lambda settings, space, seed: RandomSampler(seed=seed),
    "gp": lambda settings, space, seed: optuna.samplers.GPSampler(seed=seed, n_startup_trials=settings.population),
}


def make_sampler(settings: SearchSettings, space: dict[str, BaseDistribution], seed: int) -> BaseSampler:
    """The sampler that the settings name, seeded."""
    return SAMPLERS[settings.sampler](settings, space, seed)
