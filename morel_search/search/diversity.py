"""Rankings within one non-dominated front: two rules that keep a front diverse."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIVERSITY_RANKINGS"]

Floats = NDArray[np.float64]
Ranks = NDArray[np.int64]


def _by_crowding(front: Floats) -> Ranks:
    """Rank by falling crowding distance (Deb et al. 2002); the ends of the front have rank 0."""
    distance = np.zeros(len(front))
    for objective in front.T:
        order = np.argsort(objective, kind="stable")
        ordered = objective[order]
        if ordered[0] == ordered[-1]:
            continue
        gaps = np.full(len(front), np.inf)
        gaps[1:-1] = ordered[2:] - ordered[:-2]
        gaps[(ordered == ordered[0]) | (ordered == ordered[-1])] = np.inf
        distance[order] += gaps
    return _dense_ranks(-np.round(distance, 12))


def _by_epsilon_net(front: Floats) -> Ranks:
    """Rank by an epsilon-net (Salinas et al. 2021).

    The ends of the front have rank 0; each next rank is that of the point which is farthest from all ranked
    points.
    """
    ends = (front == front.max(axis=0)).any(axis=1)
    ranks = np.full(len(front), -1, dtype=np.int64)
    ranks[ends] = 0
    while (ranks < 0).any():
        unranked = np.flatnonzero(ranks < 0)
        distances = np.linalg.norm(front[unranked][:, None, :] - front[ranks >= 0][None, :, :], axis=2)
        nearest = distances.min(axis=1).round(12)
        ranks[unranked[nearest == nearest.max()]] = ranks.max() + 1
    return ranks


def _dense_ranks(keys: Floats) -> Ranks:
    ranks: Ranks = np.unique(keys, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return ranks


DIVERSITY_RANKINGS: dict[str, Callable[[Floats], Ranks]] = {
    "crowding": _by_crowding,
    "epsilon_net": _by_epsilon_net,
}
"""Name of a rule to a function from the points of a front, shape (n, 2), to their ranks.

The points are distinct and scaled to [0, 1]. Rank 0 is the best; points can share a rank.
"""
