"""What has finished, kept so that the next parents are found in a time that does not grow with the number of trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import moocore
import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from morel_search._dominance import dominates
from morel_search.search.optuna_private import constraint_attributes

__all__ = ["TO_THE_END", "Population", "Select"]

TO_THE_END = math.inf
"""The rung of a training that was not stopped."""

Select = Callable[[list[FrozenTrial], int], list[FrozenTrial]]


class Population:
    """Finished trainings by the highest rung that they reached.

    Of each rung only those are kept that fewer than ``size`` others dominate. The rest can never be among the
    first ``size`` of a non-dominated sorting, whatever finishes later, as all that dominate them have a lower
    rank for good; and they change no rank of those that are kept, as whatever dominates one of these is kept
    too. So the parents are exactly those of a sorting of everything.

    Args:
        size: How many parents are asked for at most.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._rungs: dict[float, RungPopulation] = {}
        self._added = 0

    def __len__(self) -> int:
        """How many were added, those that are not kept included."""
        return self._added

    def add(
        self,
        number: int,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        points: Sequence[tuple[float, ...]],
        *,
        rung: float = TO_THE_END,
        violations: Mapping[str, float] | None = None,
    ) -> None:
        """A training is over.

        Args:
            number: Its number; decides nothing but the order of equals.
            params: Optuna's values.
            distributions: Theirs.
            points: The accuracies it stands for; several where all non-dominated epochs count.
            rung: The highest rung it reached, in epochs; only trainings of the same rung are compared.
            violations: Name of a constraint to by how much it is broken (0 or less: not).
        """
        self._added += 1
        rung_population = self._rungs.setdefault(rung, RungPopulation(self._size))
        for index, point in enumerate(points):
            trial = optuna.create_trial(
                state=TrialState.COMPLETE,
                values=list(point),
                params=dict(params),
                distributions=dict(distributions),
                system_attrs=constraint_attributes(violations or {}),
            )
            trial.number = number * 1000 + index  # Optuna tells individuals apart by their numbers
            rung_population.add(trial, sum(value for value in (violations or {}).values() if value > 0))

    def parents(self, select: Select | None = None) -> list[FrozenTrial]:
        """From the highest rung down, the best of each until there are ``size``.

        Args:
            select: Takes individuals and how many are wanted, and returns the best of them; None selects as
                NSGA-II does.
        """
        chosen: list[FrozenTrial] = []
        for rung in sorted(self._rungs, reverse=True):
            left = self._size - len(chosen)
            if left <= 0:
                break
            rung_population = self._rungs[rung]
            individuals = rung_population.individuals()
            if len(individuals) <= left:
                chosen += individuals
            elif select is None:
                chosen += rung_population.best(left)
            else:
                chosen += select(individuals, left)[:left]
        return chosen


@dataclass(slots=True)
class RungPopulation:
    """The individuals of a rung that fewer than ``size`` others dominate (all objectives are maximised)."""

    size: int
    trials: list[FrozenTrial] = field(default_factory=list)
    values: NDArray[np.float64] | None = None
    violations: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    ahead: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def add(self, trial: FrozenTrial, violation: float) -> None:
        point = np.array(trial.values, dtype=float)
        values = np.zeros((0, len(point))) if self.values is None else self.values
        count = int(_dominates(values, self.violations, point[None, :], np.array([violation])).sum())
        if count >= self.size:
            return
        ahead = self.ahead + _dominates(point[None, :], np.array([violation]), values, self.violations)
        kept = ahead < self.size
        self.values = np.concatenate([values[kept], point[None, :]])
        self.violations = np.append(self.violations[kept], violation)
        self.ahead = np.append(ahead[kept], count)
        self.trials = [one for one, stays in zip(self.trials, kept, strict=True) if stays] + [trial]

    def individuals(self) -> list[FrozenTrial]:
        return sorted(self.trials, key=lambda trial: trial.number)

    def best(self, count: int) -> list[FrozenTrial]:
        """The first of NSGA-II's sorting, in the order in which Optuna's selection has them."""
        assert self.values is not None
        order = np.argsort([trial.number for trial in self.trials], kind="stable")
        return [
            self.trials[order[index]] for index in _elite(self.values[order], self.violations[order], count)
        ]


def _dominates(
    one: NDArray[np.float64],
    one_violation: NDArray[np.float64],
    other: NDArray[np.float64],
    other_violation: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Constrained domination (Deb et al. 2002), row by row: what keeps to the constraints better, and among equals what is better."""
    better = dominates(one, other)
    feasible = (one_violation <= 0) & (other_violation <= 0)
    result: NDArray[np.bool_] = np.where(feasible, better, one_violation < other_violation)
    return result


def _elite(values: NDArray[np.float64], violations: NDArray[np.float64], count: int) -> list[int]:
    """Indices of the best by rank, and inside the last front by crowding distance (Deb et al. 2002).

    Equal to Optuna's selection, the order of ties included, in a fraction of its time: a front may hold
    hundreds.
    """
    feasible = violations <= 0
    ranks = np.zeros(len(values), dtype=np.int64)
    ranks[feasible] = moocore.pareto_rank(values[feasible], maximise=True) if feasible.any() else 0
    first = int(ranks[feasible].max()) + 1 if feasible.any() else 0
    ranks[~feasible] = first + np.unique(violations[~feasible], return_inverse=True)[1].reshape(-1)
    chosen: list[int] = []
    for rank in range(int(ranks.max()) + 1):
        members = np.flatnonzero(ranks == rank)
        if len(chosen) + len(members) >= count:
            return [*chosen, *(int(one) for one in members[_crowded(values[members])])][:count]
        chosen += [int(one) for one in members]
    return chosen


def _crowded(front: NDArray[np.float64]) -> NDArray[np.int64]:
    """The members of a front, those with the widest gaps first."""
    order = np.arange(len(front))
    distance = np.zeros(len(front))
    for values in front.T:
        order = order[np.argsort(values[order], kind="stable")]
        ordered = values[order]
        if ordered[0] == ordered[-1]:
            continue
        before, after = np.concatenate([[-np.inf], ordered[:-1]]), np.concatenate([ordered[1:], [np.inf]])
        distance[order] += np.where(before == after, 0.0, after - before) / (ordered[-1] - ordered[0])
    crowded: NDArray[np.int64] = order[np.argsort(distance[order], kind="stable")][::-1]
    return crowded
