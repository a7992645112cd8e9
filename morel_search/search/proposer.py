"""What to try next: a sampler on all that is known."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from morel_search.config import SearchSettings
from morel_search.search.known_failures import KnownFailures
from morel_search.search.optuna_private import constraint_attributes, storage_of, study_id_of
from morel_search.search.pareto import Point
from morel_search.search.population import TO_THE_END, Population
from morel_search.search.sampler import begins_with_sobol, make_sampler
from morel_search.search.seeds import derive_seed
from morel_search.search.sobol import sobol_point

__all__ = ["Proposal", "Proposer", "Told"]

TRIES = 60
"""How often a configuration that was tried before is proposed anew before it is accepted as a replicate."""

SAMPLER_TRIES = 10
"""How many of these tries are the sampler's. A population that has converged on a small space has nothing new to offer; chance has."""

AVOIDING_TRIES = 5
"""How often a configuration is drawn anew because the nearest known one ran out of memory or diverged."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A configuration to try.

    Attributes:
        params: Optuna's values, one a parameter.
        replicate: Whether the same configuration was tried before.
    """

    params: dict[str, Any]
    replicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What came of a trial.

    Attributes:
        points: The accuracies it stands for, at its end or at the rung where it was stopped; none where it
            failed.
        rung: The rung where it was stopped, in epochs; ``TO_THE_END`` where it was not.
        violations: Name of a constraint to by how much it is broken (0 or less: not).
        hopeless: Whether it failed in a way that its neighbours would share (out of memory, diverged).
    """

    points: tuple[Point, ...] = ()
    rung: float = TO_THE_END
    violations: Mapping[str, float] = field(default_factory=dict)
    deterministic_failure: bool = False


class Proposer:
    """Asks the sampler, and keeps it from proposing what was tried already or is known to fail.

    The genetic samplers take their parents from a :class:`Population`, the others from an in-memory study of
    the trials that lie in the space, in the order of their numbers; the record on disk is another matter. A
    proposal depends on the seed, the trial's number and the trials finished by then, and on nothing else, so
    that a search that was stopped and continued proposes what an uninterrupted one would.

    Args:
        settings: Sampler, population, operators and seed.
        space: Name to distribution.
        configuration_key: Optuna's values to something equal for equal configurations.
    """

    def __init__(
        self,
        settings: SearchSettings,
        space: dict[str, BaseDistribution],
        configuration_key: Callable[[Mapping[str, Any]], Hashable],
    ) -> None:
        self._settings, self._space, self._configuration_key = settings, space, configuration_key
        self._study = optuna.create_study(directions=["maximize", "maximize"])
        self._population = Population(settings.population)
        self._failures = KnownFailures(space)
        self._inner: dict[int, int] = {}
        self._params: dict[int, dict[str, Any]] = {}
        self._seen: set[Hashable] = set()

    def propose(self, number: int) -> Proposal:
        """A configuration for the trial of that number, which counts as running from now on.

        Where nothing new is found in :data:`TRIES`, it is the sampler's first wish, again.
        """
        wish: dict[str, Any] | None = None
        for attempt in range(TRIES):
            inner, params = self._ask(number, attempt)
            wish = wish or params
            doomed = attempt < AVOIDING_TRIES and self._failures.near(params)
            if self._configuration_key(params) not in self._seen and not doomed:
                return self._take(number, inner, params, replicate=False)
            storage_of(self._study).set_trial_state_values(self._trial_id(inner), TrialState.FAIL)
        assert wish is not None, "there was at least one try"
        return self._take(
            number, self._add_running(wish), wish, replicate=self._configuration_key(wish) in self._seen
        )

    def _ask(self, number: int, attempt: int) -> tuple[int, dict[str, Any]]:
        """A configuration, which the in-memory study holds as RUNNING, and its number there."""
        if attempt == 0 and begins_with_sobol(self._settings, self._population, number):
            params = sobol_point(self._space, derive_seed(self._settings.seed), number)
            return self._add_running(params), params
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            seed = derive_seed(self._settings.seed, number, attempt)
            if attempt < SAMPLER_TRIES:
                self._study.sampler = make_sampler(
                    self._settings, self._space, self._population, number, seed
                )
            else:
                self._study.sampler = RandomSampler(seed=seed)
            trial = self._study.ask(self._space)
        return trial.number, dict(trial.params)

    def _trial_id(self, inner: int) -> int:
        return storage_of(self._study).get_trial_id_from_study_id_trial_number(
            study_id_of(self._study), inner
        )

    def _take(self, number: int, inner: int, params: dict[str, Any], *, replicate: bool) -> Proposal:
        self._inner[number], self._params[number] = inner, params
        self._seen.add(self._configuration_key(params))
        return Proposal(dict(params), replicate)

    def _add_running(self, params: dict[str, Any]) -> int:
        self._study.add_trial(
            optuna.create_trial(state=TrialState.RUNNING, params=params, distributions=self._space)
        )
        return storage_of(self._study).get_n_trials(study_id_of(self._study)) - 1

    def known(self, params: Mapping[str, Any]) -> bool:
        """Whether that configuration was tried, runs or waits."""
        return self._configuration_key(params) in self._seen

    def add(self, number: int, params: Mapping[str, Any], told: Told | None = None) -> None:
        """Make a trial known that was not proposed here: a control, a start, or one of an earlier start; None says that it is not over."""
        system_attrs: dict[str, Any] = {}
        state, values = TrialState.RUNNING, None
        if told is not None:
            state, values = self._state_of(told)
            system_attrs = constraint_attributes(self._constraints(told))
        distributions = {name: self._space[name] for name in params}
        trial = optuna.create_trial(
            state=state,
            values=values,
            params=dict(params),
            distributions=distributions,
            system_attrs=system_attrs,
        )
        self._study.add_trial(trial)
        self._inner[number] = storage_of(self._study).get_n_trials(study_id_of(self._study)) - 1
        self._params[number] = dict(params)
        self._seen.add(self._configuration_key(params))
        if told is not None:
            self._learn(number, told)

    def finish(self, number: int, told: Told) -> None:
        """Tell what came of a trial that was proposed or added.

        One that lies outside the space is nobody's parent.
        """
        inner = self._inner.get(number)
        if inner is None:
            return
        state, values = self._state_of(told)
        storage, trial_id = storage_of(self._study), self._trial_id(inner)
        for name, value in constraint_attributes(self._constraints(told)).items():
            storage.set_trial_system_attr(trial_id, name, value)
        storage.set_trial_state_values(trial_id, state, values)
        self._learn(number, told)

    def _learn(self, number: int, told: Told) -> None:
        params = self._params.pop(number)
        if told.deterministic_failure:
            self._failures.add(params, failed=True)
        elif told.points:
            self._failures.add(params, failed=False)
            distributions = {name: self._space[name] for name in params}
            self._population.add(
                number, params, distributions, told.points, rung=told.rung, violations=told.violations
            )

    def _state_of(self, told: Told) -> tuple[TrialState, tuple[float, float] | None]:
        """How the in-memory study sees it. TPE learns from what ran out of memory or diverged, as the worst of all and infeasible."""
        if told.points:
            return (
                (TrialState.COMPLETE, told.points[0])
                if told.rung == TO_THE_END
                else (TrialState.PRUNED, None)
            )
        if told.deterministic_failure and self._learns_from_failures:
            return TrialState.COMPLETE, (0.0, 0.0)
        return TrialState.FAIL, None

    def _constraints(self, told: Told) -> dict[str, float]:
        found = dict(told.violations)
        if self._learns_from_failures:
            found["failed"] = 1.0 if told.deterministic_failure else 0.0
        return found

    @property
    def _learns_from_failures(self) -> bool:
        return "tpe" in (self._settings.sampler, self._settings.warmup)
