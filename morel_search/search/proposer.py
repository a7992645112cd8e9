"""Proposals of new configurations: a sampler, without repetitions and away from known failures."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from morel_search.config import SearchSettings
from morel_search.search.distributions import Params, ParamValue
from morel_search.search.early_stopping import points_at_rungs
from morel_search.search.known_failures import KnownFailures
from morel_search.search.optuna_private import constraint_attributes, storage_of, study_id_of
from morel_search.search.outcome import Outcome
from morel_search.search.pareto import Point
from morel_search.search.population import TO_THE_END, Population
from morel_search.search.sampler import begins_with_sobol, make_sampler
from morel_search.search.seeds import derive_seed
from morel_search.search.sobol import sobol_point
from morel_search.search.surrogate import Surrogate

__all__ = ["Proposal", "Proposer"]

TRIES = 60
"""Attempts to draw a configuration that is not known yet; after them, a replicate is accepted."""

SAMPLER_TRIES = 10
"""Attempts that use the sampler; the later ones are random.

A population that has converged in a small space yields no new configuration.
"""

AVOIDING_TRIES = 5
"""Attempts that also reject a configuration if the nearest finished one ran out of memory or diverged."""


ROUND = 4
"""Of this many proposals, two are TPE's, one evolves in the model, and one is a child that it has not judged.

TPE is better where the accuracies depend on the seed of a training, the model where they do not.
"""

MODEL_TURN, CHILD_TURN = 2, 0


@dataclass(frozen=True, slots=True)
class Proposal:
    """A configuration to try.

    Attributes:
        params: Optuna's values, one for each parameter.
        replicate: Whether the same configuration was tried before.
    """

    params: dict[str, ParamValue]
    replicate: bool


class Proposer:
    """Draws configurations that are neither known nor near a known failure.

    The genetic samplers take their parents from a :class:`Population`. The other samplers read an in-memory
    study, separate from the study on disk, of the trials whose configuration is a point of the space, in the
    order of their numbers. A proposal depends only on the seed, the trial's number and the trials that have
    finished, so that a continued search proposes the same configurations as an uninterrupted one.

    Args:
        settings: Sampler, population, operators and seed.
        space: Name to distribution of every parameter.
        configuration_key: Function from Optuna's values to a key that is equal for equal configurations.
        active: Function from Optuna's values to the names of the active parameters; None means all of them.
        rungs: The rungs of early stopping, in epochs.
    """

    def __init__(
        self,
        settings: SearchSettings,
        space: dict[str, BaseDistribution],
        configuration_key: Callable[[Params], Hashable],
        active: Callable[[Params], Collection[str]] | None = None,
        rungs: Sequence[int] = (),
    ) -> None:
        self._rungs = rungs
        self._settings, self._space, self._configuration_key = settings, space, configuration_key
        self._study = optuna.create_study(directions=["maximize", "maximize"])
        self._population = Population(settings.population)
        varied = any(not distribution.single() for distribution in space.values())
        self._surrogate = (
            Surrogate(space, configuration_key, active) if settings.children > 1 and varied else None
        )
        self._failures = KnownFailures(space)
        self._inner: dict[int, int] = {}
        self._params: dict[int, dict[str, ParamValue]] = {}
        self._seen: set[Hashable] = set()

    def propose(self, number: int) -> Proposal:
        """Propose a configuration for the trial of that number; it counts as running from now on.

        If all :data:`TRIES` attempts yield known configurations, the first of them is proposed again.
        """
        first: dict[str, ParamValue] | None = None
        for attempt in range(TRIES):
            inner, params = self._ask(number, attempt)
            first = first or params
            near_failure = attempt < AVOIDING_TRIES and self._failures.near(params)
            key = self._configuration_key(params)
            if key not in self._seen and not near_failure:
                return self._take(number, inner, params, key, replicate=False)
            storage_of(self._study).set_trial_state_values(self._trial_id(inner), TrialState.FAIL)
        assert first is not None, "there was at least one attempt"
        key = self._configuration_key(first)
        return self._take(number, self._add_running(first), first, key, replicate=key in self._seen)

    def _ask(self, number: int, attempt: int) -> tuple[int, dict[str, ParamValue]]:
        """Draw a configuration as a RUNNING trial of the in-memory study; return its number and values."""
        if attempt == 0 and begins_with_sobol(self._settings, self._population, number):
            params = sobol_point(self._space, derive_seed(self._settings.seed), number)
            return self._add_running(params), params
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            seed = derive_seed(self._settings.seed, number, attempt)
            if attempt < SAMPLER_TRIES:
                surrogate, turn = self._surrogate, number % ROUND
                choose = partial(self._best_child, surrogate, seed) if surrogate else None
                self._study.sampler = make_sampler(
                    self._settings,
                    self._space,
                    self._population,
                    number,
                    seed,
                    choose=choose if turn == MODEL_TURN else None,
                    by_tpe=surrogate is not None and turn not in (MODEL_TURN, CHILD_TURN),
                )
            else:
                self._study.sampler = RandomSampler(seed=seed)
            trial = self._study.ask(self._space)
        return trial.number, dict(trial.params)

    def _best_child(
        self, surrogate: Surrogate, seed: int, children: Sequence[Params]
    ) -> dict[str, ParamValue]:
        """Return what evolves from the children in the model, or the first child if all of it is known."""
        best = surrogate.best(children, list(self._params.values()), self._seen, seed)
        return dict(children[0]) if best is None else best

    def _trial_id(self, inner: int) -> int:
        return storage_of(self._study).get_trial_id_from_study_id_trial_number(
            study_id_of(self._study), inner
        )

    def _take(
        self, number: int, inner: int, params: dict[str, ParamValue], key: Hashable, *, replicate: bool
    ) -> Proposal:
        self._inner[number], self._params[number] = inner, params
        self._seen.add(key)
        return Proposal(dict(params), replicate)

    def _add_running(self, params: dict[str, ParamValue]) -> int:
        self._study.add_trial(
            optuna.create_trial(state=TrialState.RUNNING, params=params, distributions=self._space)
        )
        return storage_of(self._study).get_n_trials(study_id_of(self._study)) - 1

    def known(self, params: Params) -> bool:
        """Return whether that configuration was tried, is running or is waiting."""
        return self._configuration_key(params) in self._seen

    def add(self, number: int, params: Params, outcome: Outcome | None = None) -> None:
        """Add a trial that was not proposed here: a control, an enqueued one, or one of an earlier start.

        Args:
            number: The trial's number.
            params: Optuna's values; the configuration is a point of the space.
            outcome: Its outcome; None if it has not finished.
        """
        system_attrs: dict[str, float] = {}
        state, values = TrialState.RUNNING, None
        if outcome is not None:
            state, values = self._state_of(outcome)
            system_attrs = constraint_attributes(self._constraints(outcome))
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
        if outcome is not None:
            self._learn(number, outcome)

    def finish(self, number: int, outcome: Outcome) -> None:
        """Add the outcome of a trial that was proposed or added.

        A trial that is neither, because its configuration is not a point of the space, is ignored.
        """
        inner = self._inner.get(number)
        if inner is None:
            return
        state, values = self._state_of(outcome)
        storage, trial_id = storage_of(self._study), self._trial_id(inner)
        for name, value in constraint_attributes(self._constraints(outcome)).items():
            storage.set_trial_system_attr(trial_id, name, value)
        storage.set_trial_state_values(trial_id, state, values)
        self._learn(number, outcome)

    def _learn(self, number: int, outcome: Outcome) -> None:
        params = self._params.pop(number)
        if outcome.deterministic_failure:
            self._failures.add(params, failed=True)
        elif outcome.points:
            self._failures.add(params, failed=False)
            rung = outcome.rung if outcome.stopped and outcome.rung is not None else TO_THE_END
            points = [(clean, robust) for _, clean, robust in outcome.points]
            distributions = {name: self._space[name] for name in params}
            self._population.add(
                number, params, distributions, points, rung=rung, violations=outcome.violations
            )
            if self._surrogate is not None:
                self._surrogate.add(
                    params,
                    points[0],
                    rung=rung,
                    violations=outcome.violations,
                    earlier=self._earlier(outcome),
                )

    def _earlier(self, outcome: Outcome) -> dict[int, Point]:
        """Return the accuracies of a trial at the rungs before its last epoch."""
        if not outcome.history:
            return {}
        stopped_at = outcome.rung if outcome.stopped else None
        last = outcome.history[-1].epoch if stopped_at is None else stopped_at
        before = [level for level in self._rungs if level < last]
        return points_at_rungs(outcome.history, before, self._settings.select_epoch)

    def _state_of(self, outcome: Outcome) -> tuple[TrialState, tuple[float, float] | None]:
        """Return state and values for the in-memory study.

        For TPE, a deterministic failure is a COMPLETE trial with the worst values that is infeasible.
        """
        if outcome.points:
            return (
                (TrialState.PRUNED, None) if outcome.stopped else (TrialState.COMPLETE, outcome.points[0][1:])
            )
        if outcome.deterministic_failure and self._learns_from_failures:
            return TrialState.COMPLETE, (0.0, 0.0)
        return TrialState.FAIL, None

    def _constraints(self, outcome: Outcome) -> dict[str, float]:
        violations = dict(outcome.violations)
        if self._learns_from_failures:
            violations["failed"] = 1.0 if outcome.deterministic_failure else 0.0
        return violations

    @property
    def _learns_from_failures(self) -> bool:
        settings = self._settings
        by_tpe = settings.warmup == "tpe" or settings.children > 1
        return settings.sampler == "tpe" or (settings.is_genetic and by_tpe)
