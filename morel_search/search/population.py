"""The finished trials that can be parents, in a size that does not grow with the number of trials."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import moocore
import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState

from morel_search._dominance import dominates
from morel_search.search.distributions import Params
from morel_search.search.optuna_private import constraint_attributes

__all__ = ["TO_THE_END", "Population", "Select"]

TO_THE_END = math.inf
"""The rung of a trial that was not stopped early."""

Select = Callable[[list[FrozenTrial], int], list[FrozenTrial]]
"""Function from individuals and a number to that many of the best of them."""

Floats = NDArray[np.float64]


class Population:
    """Finished trials by the highest rung that they reached.

    For each rung, only the individuals are stored that fewer than ``size`` others dominate. This does not
    change the parents. An individual that ``size`` others dominate is never among the first ``size`` of a
    non-dominated sorting, whatever finishes later, because those that dominate it always have a lower rank.
    And it does not change the rank of a stored individual, because every individual that dominates a stored
    one is stored too. The parents are therefore exactly those of a sorting of all individuals.

    Args:
        size: Largest number of parents.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._rungs: dict[float, RungPopulation] = {}
        self._added = 0

    def __len__(self) -> int:
        """Return the number of trials that were added, including those that are not stored."""
        return self._added

    def add(
        self,
        number: int,
        params: Params,
        distributions: Mapping[str, BaseDistribution],
        points: Sequence[tuple[float, ...]],
        *,
        rung: float = TO_THE_END,
        violations: Mapping[str, float] | None = None,
    ) -> None:
        """Add a finished trial.

        Args:
            number: The trial's number; it only decides the order of equal individuals.
            params: Optuna's values.
            distributions: The distribution of each parameter.
            points: Clean and robust accuracy of each selected epoch; each point is an individual.
            rung: The rung at which the trial was stopped, in epochs; only trials of the same rung are
                compared.
            violations: Name of a constraint to the amount by which it is violated (0 or less: satisfied).
        """
        self._added += 1
        violations = violations or {}
        rung_population = self._rungs.setdefault(rung, RungPopulation(self._size))
        for index, point in enumerate(points):
            individual = optuna.create_trial(
                state=TrialState.COMPLETE,
                values=list(point),
                params=dict(params),
                distributions=dict(distributions),
                system_attrs=constraint_attributes(violations),
            )
            individual.number = number * 1000 + index  # Optuna identifies individuals by their numbers
            rung_population.add(individual, sum(value for value in violations.values() if value > 0))

    def parents(self, select: Select | None = None) -> list[FrozenTrial]:
        """Return up to ``size`` parents: the best individuals of each rung, from the highest rung down.

        Args:
            select: Selects the best of too many individuals of a rung; None selects as NSGA-II does.
        """
        chosen: list[FrozenTrial] = []
        for rung in sorted(self._rungs, reverse=True):
            places = self._size - len(chosen)
            if places <= 0:
                break
            rung_population = self._rungs[rung]
            if len(rung_population.trials) <= places:
                chosen += rung_population.individuals()
            elif select is None:
                chosen += rung_population.best(places)
            else:
                chosen += select(rung_population.individuals(), places)[:places]
        return chosen


@dataclass(slots=True)
class RungPopulation:
    """The individuals of a rung that fewer than ``size`` others dominate; all objectives are maximized.

    Attributes:
        size: Largest number of parents.
        trials: The individuals.
        values: Their objectives, shape (n, 2); None before the first individual.
        violations: Their sums of violated constraints, shape (n,).
        dominated_by: The numbers of individuals that dominate them, shape (n,).
    """

    size: int
    trials: list[FrozenTrial] = field(default_factory=list)
    values: Floats | None = None
    violations: Floats = field(default_factory=lambda: np.zeros(0))
    dominated_by: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def add(self, individual: FrozenTrial, violation: float) -> None:
        """Add an individual, unless ``size`` others dominate it; remove those that ``size`` now dominate."""
        point, own_violation = np.array([individual.values], dtype=float), np.array([violation])
        values = np.zeros((0, point.shape[1])) if self.values is None else self.values
        count = int(_constrained_dominates(values, self.violations, point, own_violation).sum())
        if count >= self.size:
            return
        dominated = _constrained_dominates(point, own_violation, values, self.violations)
        dominated_by = self.dominated_by + dominated
        kept = dominated_by < self.size
        self.values = np.concatenate([values[kept], point])
        self.violations = np.append(self.violations[kept], violation)
        self.dominated_by = np.append(dominated_by[kept], count)
        self.trials = [trial for trial, stays in zip(self.trials, kept, strict=True) if stays]
        self.trials.append(individual)

    def individuals(self) -> list[FrozenTrial]:
        """Return the individuals in the order of their numbers."""
        return sorted(self.trials, key=lambda trial: trial.number)

    def best(self, count: int) -> list[FrozenTrial]:
        """Return the best individuals of NSGA-II's sorting, in the order of Optuna's selection."""
        assert self.values is not None
        order = np.argsort([trial.number for trial in self.trials], kind="stable")
        best = _nsga2_elite(self.values[order], self.violations[order], count)
        return [self.trials[order[index]] for index in best]


def _constrained_dominates(
    first: Floats, first_violations: Floats, second: Floats, second_violations: Floats
) -> NDArray[np.bool_]:
    """Return whether points dominate other points under constraints (Deb et al. 2002), row by row.

    If both satisfy the constraints, their objectives decide; else the smaller violation.
    """
    feasible = (first_violations <= 0) & (second_violations <= 0)
    result: NDArray[np.bool_] = np.where(
        feasible, dominates(first, second), first_violations < second_violations
    )
    return result


def _nsga2_elite(values: Floats, violations: Floats, count: int) -> list[int]:
    """Return the best indices by rank, and in the last front by crowding distance (Deb et al. 2002).

    The result is that of Optuna's selection, including the order of ties, in a fraction of its time, which
    matters because a front can have hundreds of individuals.
    """
    feasible = violations <= 0
    ranks = np.zeros(len(values), dtype=np.int64)
    ranks[feasible] = moocore.pareto_rank(values[feasible], maximise=True) if feasible.any() else 0
    first_infeasible = int(ranks[feasible].max()) + 1 if feasible.any() else 0
    by_violation = np.unique(violations[~feasible], return_inverse=True)[1].reshape(-1)
    ranks[~feasible] = first_infeasible + by_violation
    chosen: list[int] = []
    for rank in range(int(ranks.max()) + 1):
        members = np.flatnonzero(ranks == rank)
        if len(chosen) + len(members) >= count:
            last = members[_by_crowding_distance(values[members])]
            return [*chosen, *(int(index) for index in last)][:count]
        chosen += [int(index) for index in members]
    return chosen


def _by_crowding_distance(front: Floats) -> NDArray[np.int64]:
    """Return the indices of a front in the order of falling crowding distance."""
    order = np.arange(len(front))
    distance = np.zeros(len(front))
    for objective in front.T:
        order = order[np.argsort(objective[order], kind="stable")]
        ordered = objective[order]
        if ordered[0] == ordered[-1]:
            continue
        before, after = np.concatenate([[-np.inf], ordered[:-1]]), np.concatenate([ordered[1:], [np.inf]])
        distance[order] += np.where(before == after, 0.0, after - before) / (ordered[-1] - ordered[0])
    falling: NDArray[np.int64] = order[np.argsort(distance[order], kind="stable")][::-1]
    return falling
