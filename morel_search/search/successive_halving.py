"""Early stopping in two objectives: the rungs, and the ranks of the trials that have reached them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from morel_search._dominance import dominates
from morel_search.config import EarlyStoppingSettings, Space, highest
from morel_search.search.diversity import DIVERSITY_RANKINGS
from morel_search.search.pareto import Point

__all__ = ["AsyncSuccessiveHalving", "RungRank", "rungs_of"]


def rungs_of(space: Space) -> tuple[int, ...]:
    """Return the rungs of a space, which depend on its largest number of epochs."""
    return space.early_stopping.levels(int(highest(space, "epochs")))


@dataclass(frozen=True, slots=True)
class RungRank:
    """The rank of a trial at a rung.

    Attributes:
        position: Number of better trials at the rung.
        peers: Number of trials that have reached the rung, this trial included.
        places: Number of trials that may continue.
        enough: Whether enough trials have reached the rung to decide.
    """

    position: int
    peers: int
    places: int
    enough: bool

    @property
    def continues(self) -> bool:
        """Whether the trial continues by the rule."""
        return not self.enough or self.position < self.places


class AsyncSuccessiveHalving:
    """Asynchronous multi-objective successive halving (Schmucker et al. 2021, arXiv 2106.12639).

    A trial that reaches a rung is recorded, then ranked among all n trials that have reached it; the best
    ceil(n x keep) continue. All members of the rung's front continue, unless they are more than that. Trials
    at different rungs are never compared.

    Args:
        settings: Share that continues, ranking, and the least number of peers.
        levels: The rungs, in epochs.
    """

    def __init__(self, settings: EarlyStoppingSettings, levels: tuple[int, ...]) -> None:
        self._settings, self.levels = settings, levels
        self._rungs = {level: _Rung() for level in levels}

    @property
    def min_peers(self) -> int:
        """Number of trials that must have reached a rung before a trial is stopped there."""
        return max(self._settings.min_peers, math.ceil(1 / self._settings.share))

    def record(self, number: int, level: int, point: Point) -> None:
        """Record that a trial has reached a rung.

        Args:
            number: The trial's number; it is not recorded at this rung yet.
            level: The rung, in epochs.
            point: Accuracies of the epoch that is selected among those up to the rung.
        """
        self._rungs[level].add(number, point)

    def recorded(self, number: int, level: int) -> bool:
        """Return whether a trial is recorded at a rung."""
        return number in self._rungs[level].index

    def rank_of(self, number: int, level: int) -> RungRank:
        """Return the current rank of a recorded trial at a rung."""
        rung = self._rungs[level]
        count = len(rung.index)
        return RungRank(
            position=rung.position(number, self._settings.ranking),
            peers=count,
            places=math.ceil(count * self._settings.share),
            enough=count >= self.min_peers,
        )


class _Rung:
    """The points of a rung and their non-dominated ranks, which are updated with each new point.

    A new point increases ranks by at most 1: those of the points of its own rank that it dominates, then
    those of the points of the next rank that one of these dominates, and so on. The points are therefore not
    sorted again, and the time for a decision hardly grows with the number of trials.

    Attributes:
        index: Number of a trial to the index of its point.
    """

    def __init__(self) -> None:
        self.index: dict[int, int] = {}
        self._points = np.zeros((16, 2))
        self._ranks = np.zeros(16, dtype=np.int64)

    def add(self, number: int, point: Point) -> None:
        """Add the point of a trial and update the ranks."""
        count = len(self.index)
        if count == len(self._ranks):
            self._points = np.concatenate([self._points, np.zeros_like(self._points)])
            self._ranks = np.concatenate([self._ranks, np.zeros_like(self._ranks)])
        points, ranks = self._points[:count], self._ranks[:count]
        new = np.array([point], dtype=float)
        above = dominates(points, new)
        rank = int(ranks[above].max()) + 1 if above.any() else 0
        moved, level = new, rank
        while len(moved):
            members = np.flatnonzero(ranks == level)
            members = members[dominates(moved[:, None], points[members]).any(axis=0)]
            moved, level = points[members], level + 1
            ranks[members] = level
        self._points[count], self._ranks[count] = point, rank
        self.index[number] = count

    def position(self, number: int, ranking: str) -> int:
        """Return the number of better points: lower ranks, and the same front with a better diversity rank.

        Equal points, and points with equal diversity ranks, share a position, so that the order in which
        trials reach the rung has no effect.
        """
        count, index = len(self.index), self.index[number]
        points, ranks = self._points[:count], self._ranks[:count]
        lower = int((ranks < ranks[index]).sum())
        front, scale = points[ranks == ranks[index]], points.max(axis=0) - points.min(axis=0)
        scaled = (front - points.min(axis=0)) / np.where(scale > 0, scale, 1.0)
        unique, inverse, counts = np.unique(scaled, axis=0, return_inverse=True, return_counts=True)
        diversity = DIVERSITY_RANKINGS[ranking](unique)
        own = inverse.reshape(-1)[int((ranks[:index] == ranks[index]).sum())]
        return lower + int(counts[diversity < diversity[own]].sum())
