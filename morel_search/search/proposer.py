"""What to try next: a sampler on an in-memory study of all that is known."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import RandomSampler
from optuna.trial import TrialState

from morel_search.config import SearchSettings
from morel_search.search.sampler import make_sampler

__all__ = ["Proposal", "Proposer", "derive_seed"]

TRIES = 60
"""How often a configuration that was tried before is proposed anew before it is accepted as a replicate."""

SAMPLER_TRIES = 10
"""How many of these tries are the sampler's. A population that has converged on a small space has nothing new to offer; chance has."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A configuration to try.

    Attributes:
        params: Optuna's values, one a parameter.
        replicate: Whether the same configuration was tried before.
    """

    params: dict[str, Any]
    replicate: bool


class Proposer:
    """Asks the sampler, and keeps it from proposing what was tried already.

    The sampler sees an in-memory study of the trials that lie in the space, in the order of their numbers; the record on disk is another
    matter. A proposal depends on the seed, the trial's number and the trials finished by then, and on nothing else, so that a search
    that was stopped and continued proposes what an uninterrupted one would.

    Args:
        settings: Sampler, population, operators and seed.
        space: Name to distribution.
        signature: Optuna's values to something equal for equal configurations.
    """

    def __init__(
        self, settings: SearchSettings, space: dict[str, BaseDistribution], signature: Callable[[Mapping[str, Any]], Hashable]
    ) -> None:
        self._settings, self._space, self._signature = settings, space, signature
        self._study = optuna.create_study(directions=["maximize", "maximize"])
        self._inner: dict[int, int] = {}
        self._seen: set[Hashable] = set()

    def propose(self, number: int) -> Proposal:
        """A configuration for the trial of that number, which counts as running from now on."""
        for attempt in range(TRIES):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ExperimentalWarning)
                seed = derive_seed(self._settings.seed, number, attempt)
                if attempt < SAMPLER_TRIES:
                    self._study.sampler = make_sampler(self._settings, self._space, seed)
                else:
                    self._study.sampler = RandomSampler(seed=seed)
                trial = self._study.ask(self._space)
            known = self._signature(trial.params) in self._seen
            if not known or attempt == TRIES - 1:
                break
            self._study.tell(trial, state=TrialState.FAIL)
        self._inner[number] = trial.number
        self._seen.add(self._signature(trial.params))
        return Proposal(dict(trial.params), known)

    def add(self, number: int, params: Mapping[str, Any], state: TrialState, values: Sequence[float] | None = None) -> None:
        """Make a trial known that was not proposed here: a control, or one of an earlier start. One that waits counts as running."""
        state = TrialState.RUNNING if state == TrialState.WAITING else state
        self._study.add_trial(
            optuna.create_trial(state=state, values=values, params=dict(params), distributions={name: self._space[name] for name in params})
        )
        self._inner[number] = len(self._study.get_trials(deepcopy=False)) - 1
        self._seen.add(self._signature(params))

    def finish(self, number: int, values: Sequence[float] | None) -> None:
        """Tell the outcome of a running trial; None says that it failed."""
        inner = self._inner.get(number)
        if inner is not None:
            self._study.tell(inner, values, state=TrialState.COMPLETE if values is not None else TrialState.FAIL)


def derive_seed(*parts: int) -> int:
    """A 31-bit seed from non-negative integers, well mixed."""
    return int(np.random.SeedSequence(parts).generate_state(1)[0]) & 0x7FFFFFFF
