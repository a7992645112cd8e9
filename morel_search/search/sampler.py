"""Samplers by name: NSGA-II and NSGA-III with parents from all finished trials, and those of Optuna."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import cast

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
from morel_search.search.distributions import Params, ParamValue
from morel_search.search.optuna_private import GeneticSampler, child_of, elite_of, inferred_space
from morel_search.search.population import Population

__all__ = [
    "SAMPLERS",
    "SteadyNSGAIIISampler",
    "SteadyNSGAIISampler",
    "begins_with_sobol",
    "make_sampler",
]


Choose = Callable[[Sequence[Params]], dict[str, ParamValue]]
"""Function from children to the configuration that is proposed."""


class _SteadySampler(BaseSampler):
    """Mixin for Optuna's genetic samplers that selects the parents from all finished trials at each proposal.

    Optuna's samplers select the parents of a generation once. With W workers and population P, the share
    (W - 1) / (P + W - 1) of the trials, the slow ones, finishes too late to become a parent; and a trial that
    was enqueued is never a parent.

    Args:
        space: Name to distribution of every parameter; None infers it from the study, as Optuna's samplers
            do.
        population: The finished trials, if they are kept outside the study; None reads the COMPLETE trials
            of the study.
        children: Number of children of a proposal, of which ``choose`` takes one.
        choose: Function from children to the index of the one that is proposed; None: the first.
        **options: Options of Optuna's sampler.
    """

    selects_as_nsga2 = False
    """Whether the sampler selects as NSGA-II does, and therefore as :meth:`Population.parents` does."""

    population_size: int | None

    def __init__(
        self,
        space: dict[str, BaseDistribution] | None = None,
        population: Population | None = None,
        children: int = 1,
        choose: Choose | None = None,
        **options: object,
    ) -> None:
        super().__init__(**options)
        self._space, self._population = space, population
        self._children, self._choose = children, choose

    def infer_relative_search_space(
        self,
        study: Study,
        trial: FrozenTrial,  # noqa: ARG002  # Optuna's signature
    ) -> dict[str, BaseDistribution]:
        """Return the whole space without the parameters that have a single value."""
        space = inferred_space(cast(GeneticSampler, self), study) if self._space is None else self._space
        return {name: distribution for name, distribution in space.items() if not distribution.single()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, ParamValue]:
        """Return a child of the best finished trials; random values until a population has finished."""
        assert self.population_size is not None
        parents = self._parents(study, search_space, self.population_size) if search_space else []

        def child() -> dict[str, ParamValue]:
            made = child_of(cast(GeneticSampler, self), study, search_space, parents) if parents else {}
            for name, distribution in search_space.items():
                if name not in made:
                    made[name] = self.sample_independent(study, trial, name, distribution)
            return made

        if not parents or self._choose is None:
            return child()
        return self._choose([child() for _ in range(self._children)])

    def _parents(
        self, study: Study, search_space: dict[str, BaseDistribution], size: int
    ) -> list[FrozenTrial]:
        def select(individuals: list[FrozenTrial], count: int) -> list[FrozenTrial]:
            return elite_of(cast(GeneticSampler, self), study, individuals, count)

        if self._population is not None:
            if len(self._population) < size:
                return []
            return self._population.parents(None if self.selects_as_nsga2 else select)
        finished = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        candidates = [trial for trial in finished if search_space.keys() <= trial.params.keys()]
        return select(candidates, size) if len(candidates) >= size else []


class SteadyNSGAIISampler(_SteadySampler, NSGAIISampler):
    """NSGA-II (Deb et al. 2002); parents are selected from all finished trials.

    They are selected by non-dominated rank and crowding distance.
    """

    selects_as_nsga2 = True


class SteadyNSGAIIISampler(_SteadySampler, NSGAIIISampler):
    """NSGA-III (Deb and Jain 2014); parents are selected from all finished trials.

    They are selected by non-dominated rank and reference points.
    """


CROSSOVERS: dict[str, Callable[[SearchSettings], nsgaii.BaseCrossover]] = {
    "uniform": lambda settings: nsgaii.UniformCrossover(settings.swapping_prob),
    "sbx": lambda _: nsgaii.SBXCrossover(),
    "vsbx": lambda _: nsgaii.VSBXCrossover(),
    "blxalpha": lambda _: nsgaii.BLXAlphaCrossover(),
    "undx": lambda _: nsgaii.UNDXCrossover(),
    "spx": lambda _: nsgaii.SPXCrossover(),
}


def _genetic_options(settings: SearchSettings, seed: int) -> dict[str, object]:
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
    """Return TPE with Optuna's defaults, except for the number of random trials at the start."""
    return TPESampler(seed=seed, n_startup_trials=settings.population)


GENETIC: dict[str, type[_SteadySampler]] = {"nsga2": SteadyNSGAIISampler, "nsga3": SteadyNSGAIIISampler}
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
    choose: Choose | None = None,
    *,
    by_tpe: bool = False,
) -> BaseSampler:
    """Return the sampler that proposes a trial: that of the settings, that of the warm-up, or TPE.

    Args:
        settings: Sampler, warm-up, population and operators.
        space: Name to distribution of every parameter.
        population: The finished trials.
        number: Number of the trial.
        seed: Random seed of the sampler.
        choose: nsga2, nsga3: function that chooses one of the children; None takes the first.
        by_tpe: nsga2, nsga3: whether TPE proposes this trial after the warm-up.
    """
    if settings.sampler in OTHERS:
        return OTHERS[settings.sampler](settings, seed)
    if _in_warmup(settings, population, number):
        return TPESampler(seed=seed) if settings.warmup == "tpe" else RandomSampler(seed=seed)
    if by_tpe:
        return TPESampler(seed=seed)
    options = _genetic_options(settings, seed)
    return GENETIC[settings.sampler](space, population, settings.children, choose, **options)


def begins_with_sobol(settings: SearchSettings, population: Population, number: int) -> bool:
    """Return whether the trial of that number is a point of the Sobol sequence.

    The genetic samplers begin with these points, until a population has finished.
    """
    if not settings.is_genetic or settings.warmup != "sobol":
        return False
    return _in_warmup(settings, population, number)


def _in_warmup(settings: SearchSettings, population: Population, number: int) -> bool:
    return number < settings.least_warmup or len(population) < settings.population
