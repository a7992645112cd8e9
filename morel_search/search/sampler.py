"""NSGA-II that selects its parents from everything finished, and Optuna's other samplers by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from optuna.distributions import BaseDistribution
from optuna.samplers import (
    BaseSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
    nsgaii,
)
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from morel_search.config import SearchSettings
from morel_search.search.optuna_private import GeneticSampler, child_of, elite_of, inferred_space
from morel_search.search.population import Population

__all__ = [
    "SAMPLERS",
    "SteadyNSGAIIISampler",
    "SteadyNSGAIISampler",
    "begins_with_sobol",
    "make_sampler",
    "warmup_trials",
]


class _Steady:
    """Mixin for Optuna's genetic samplers that selects the parents from all finished trials at each proposal.

    Optuna's samplers select the parents of a generation once. With W workers and population P, a share
    (W - 1) / (P + W - 1) of the trials, the slow ones, finishes too late to become a parent; and a trial that
    was enqueued is never a parent.

    Args:
        space: Name to distribution of every parameter; None infers it from the study, as Optuna's samplers
            do.
        population: The finished trials, where they are kept outside the study; None reads the study's
            COMPLETE trials.
        **options: Options of the sampler.
    """

    population_sorts = False
    """Whether :meth:`Population.parents` selects as this sampler does, which is as NSGA-II does."""

    population_size: int | None
    sample_independent: Callable[[Study, FrozenTrial, str, BaseDistribution], Any]

    def __init__(
        self,
        space: dict[str, BaseDistribution] | None = None,
        population: Population | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._space, self._population = space, population

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:  # noqa: ARG002  # Optuna's signature
        """Return the whole space without the parameters that have a single value."""
        space = inferred_space(cast(GeneticSampler, self), study) if self._space is None else self._space
        return {name: distribution for name, distribution in space.items() if not distribution.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Return a child of parents from the elite, or random values until a first population has finished."""
        assert self.population_size is not None
        parents = self._parents(study, search_space, self.population_size) if search_space else []
        child = child_of(cast(GeneticSampler, self), study, search_space, parents) if parents else {}
        for name, distribution in search_space.items():
            if name not in child:
                child[name] = self.sample_independent(study, trial, name, distribution)
        return child

    def _parents(
        self, study: Study, search_space: dict[str, BaseDistribution], size: int
    ) -> list[FrozenTrial]:
        def select(individuals: list[FrozenTrial], count: int) -> list[FrozenTrial]:
            return elite_of(cast(GeneticSampler, self), study, individuals, count)

        if self._population is not None:
            return (
                self._population.parents(None if self.population_sorts else select)
                if len(self._population) >= size
                else []
            )
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        candidates = [one for one in finished if search_space.keys() <= one.params.keys()]
        return select(candidates, size) if len(candidates) >= size else []


class SteadyNSGAIISampler(_Steady, NSGAIISampler):
    """NSGA-II (Deb et al. 2002): the elite by non-dominated rank and crowding distance among everything finished."""

    population_sorts = True


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


def _tpe(settings: SearchSettings, seed: int) -> BaseSampler:
    return TPESampler(seed=seed, n_startup_trials=settings.population, multivariate=True, constant_liar=True)


GENETIC: dict[str, type[_Steady]] = {"nsga2": SteadyNSGAIISampler, "nsga3": SteadyNSGAIIISampler}
OTHERS: dict[str, Callable[[SearchSettings, int], BaseSampler]] = {
    "tpe": _tpe,
    "random": lambda settings, seed: RandomSampler(seed=seed),
    "gp": lambda settings, seed: GPSampler(seed=seed, n_startup_trials=settings.population),
}
SAMPLERS = (*GENETIC, *OTHERS)


def make_sampler(
    settings: SearchSettings,
    space: dict[str, BaseDistribution],
    population: Population,
    number: int,
    seed: int,
) -> BaseSampler:
    """The sampler that proposes the trial of that number, seeded: the settings' own, or that of the warm-up."""
    if settings.sampler in OTHERS:
        return OTHERS[settings.sampler](settings, seed)
    if number < warmup_trials(settings):
        return _tpe(settings, seed) if settings.warmup == "tpe" else RandomSampler(seed=seed)
    sampler: Any = GENETIC[settings.sampler](space, population, **_genetic(settings, seed))
    made: BaseSampler = sampler
    return made


def warmup_trials(settings: SearchSettings) -> int:
    """How many trials belong to the warm-up of the genetic samplers."""
    if settings.warmup_trials is not None:
        return settings.warmup_trials
    return 4 * settings.population if settings.warmup == "tpe" else 0


def begins_with_sobol(settings: SearchSettings, population: Population, number: int) -> bool:
    """Whether the trial of that number belongs to the evenly spread ones, with which the genetic samplers begin."""
    if settings.sampler not in GENETIC or settings.warmup != "sobol":
        return False
    return number < warmup_trials(settings) or len(population) < settings.population
