"""Early stopping in two objectives: what trainings had reached at the same epoch, and which of them go on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from morel_search._dominance import dominates
from morel_search.config import EarlyStoppingSettings, Space, highest
from morel_search.search.diversity import DIVERSITY_RANKINGS
from morel_search.search.pareto import Point

__all__ = ["AsyncSuccessiveHalving", "RungRank", "rung_levels", "rungs_of"]


def rungs_of(space: Space) -> tuple[int, ...]:
    """The rungs of a space, whose longest training decides."""
    return rung_levels(space.early_stopping, int(highest(space, "epochs")))


def rung_levels(settings: EarlyStoppingSettings, epochs: int) -> tuple[int, ...]:
    """The epochs at which trainings of so many epochs are compared: grace x eta^k below the last epoch.

    None when switched off.
    """
    if not settings.enabled:
        return ()
    level = settings.grace or math.ceil(epochs / settings.eta**2)
    levels: list[int] = []
    while level < epochs and (settings.rungs is None or len(levels) < settings.rungs):
        levels.append(level)
        level *= settings.eta
    return tuple(levels)


@dataclass(frozen=True, slots=True)
class RungRank:
    """Where a training stands at a rung.

    Attributes:
        position: How many trainings are ahead of it.
        peers: How many have been there, itself counted.
        places: How many may go on.
        enough: Whether there are peers enough to decide.
    """

    position: int
    peers: int
    places: int
    enough: bool

    @property
    def continues(self) -> bool:
        """Whether the rule lets it train on."""
        return not self.enough or self.position < self.places


class AsyncSuccessiveHalving:
    """Multi-objective successive halving without waiting (Schmucker et al. 2021, arXiv 2106.12639).

    A training that comes to a rung is recorded first, then ranked among all that have been there; the first
    ceil(n / eta) go on. All of the rung's front go on unless there are more of them than places. Values of
    different rungs never meet.

    Args:
        settings: eta, ranking and the number of peers it takes.
        levels: The rungs, in epochs.
    """

    def __init__(self, settings: EarlyStoppingSettings, levels: tuple[int, ...]) -> None:
        self._settings, self.levels = settings, levels
        self._rungs = {level: _Rung() for level in levels}

    @property
    def min_peers(self) -> int:
        """How many trainings a rung must have seen before it stops one."""
        return max(self._settings.eta, self._settings.min_peers or 0)

    def record(self, number: int, level: int, point: Point) -> None:
        """A training has come to a rung, for the first time, with the best it has had so far."""
        self._rungs[level].add(number, point)

    def recorded(self, number: int, level: int) -> bool:
        """Whether a training has come to that rung."""
        return number in self._rungs[level].index

    def rank_of(self, number: int, level: int) -> RungRank:
        """Where a recorded training stands now."""
        rung = self._rungs[level]
        count = len(rung.index)
        return RungRank(
            position=rung.position(number, self._settings.ranking),
            peers=count,
            places=math.ceil(count / self._settings.eta),
            enough=count >= self.min_peers,
        )


class _Rung:
    """The points of a rung with their non-dominated ranks, which are kept up to date point by point.

    A new point can raise a rank by one at most: that of points of its own rank which it dominates, then of
    points of the next rank which one of these dominates, and so on. So nothing is sorted again, and the time
    for a decision hardly grows with the number of trainings.
    """

    def __init__(self) -> None:
        self.index: dict[int, int] = {}
        self._points = np.zeros((16, 2))
        self._ranks = np.zeros(16, dtype=np.int64)

    def add(self, number: int, point: Point) -> None:
        count = len(self.index)
        if count == len(self._ranks):
            self._points = np.concatenate([self._points, np.zeros_like(self._points)])
            self._ranks = np.concatenate([self._ranks, np.zeros_like(self._ranks)])
        points, ranks = self._points[:count], self._ranks[:count]
        new = np.array([point], dtype=float)
        above = dominates(points, new)
        rank = int(ranks[above].max()) + 1 if above.any() else 0
        raised, level = new, rank
        while len(raised):
            members = np.flatnonzero(ranks == level)
            ours = points[members]
            members = members[dominates(raised[:, None], ours).any(axis=0)]
            raised, level = points[members], level + 1
            ranks[members] = level
        self._points[count], self._ranks[count] = point, rank
        self.index[number] = count

    def position(self, number: int, ranking: str) -> int:
        """How many are ahead: those of a lower rank, and those of the same front that its spread needs more.

        Equal points, and points that are needed equally, share a position, so the order of arrival changes
        nothing.
        """
        count, index = len(self.index), self.index[number]
        points, ranks = self._points[:count], self._ranks[:count]
        ahead = int((ranks < ranks[index]).sum())
        front, scale = points[ranks == ranks[index]], points.max(axis=0) - points.min(axis=0)
        scaled = (front - points.min(axis=0)) / np.where(scale > 0, scale, 1.0)
        unique, inverse, counts = np.unique(scaled, axis=0, return_inverse=True, return_counts=True)
        places = DIVERSITY_RANKINGS[ranking](unique)
        mine = inverse.reshape(-1)[int((ranks[:index] == ranks[index]).sum())]
        return ahead + int(counts[places < places[mine]].sum())
