"""Who of a group is ahead in two or more objectives: non-dominated sorting, then spread inside a front."""

from __future__ import annotations

import bisect
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["RANKINGS", "non_domination_ranks", "positions"]

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


def positions(points: ArrayLike, ranking: str = "crowding") -> Places:
    """How many of the points are ahead of each point.

    A point is ahead if its non-dominated rank is lower, or if the rank is the same and the spread of its front needs it more. Equal
    points, and points that are needed equally, have the same position; so the order of the points changes nothing.

    Args:
        points: Shape (n, objectives), each objective to be maximised, finite.
        ranking: A key of :data:`RANKINGS`.

    Returns:
        Shape (n,); 0 is the best position.
    """
    values = np.asarray(points, dtype=float)
    if len(values) == 0:
        return np.zeros(0, dtype=np.int64)
    unique, inverse, counts = np.unique(values, axis=0, return_inverse=True, return_counts=True)
    ranks = non_domination_ranks(unique)
    scaled = _scaled(unique)
    later = np.zeros(len(unique), dtype=np.int64)
    for rank in range(int(ranks.max()) + 1):
        members = np.flatnonzero(ranks == rank)
        later[members] = RANKINGS[ranking](scaled[members])
    order = np.lexsort((later, ranks))
    keys = np.stack([ranks[order], later[order]], axis=1)
    starts = np.flatnonzero(np.concatenate([[True], np.any(keys[1:] != keys[:-1], axis=1)]))
    before = np.concatenate([[0], np.cumsum(counts[order])])
    result = np.zeros(len(unique), dtype=np.int64)
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        result[order[start:end]] = before[start]
    placed: Places = result[np.asarray(inverse).reshape(-1)]
    return placed


def non_domination_ranks(points: Floats) -> Places:
    """0 for points that none dominates, 1 for those that only these dominate, and so on (Deb et al. 2002).

    Args:
        points: Shape (n, objectives), to be maximised; equal points do not dominate each other.
    """
    if points.shape[1] == 2:
        return _ranks_of_pairs(points)
    at_least = np.all(points[:, None, :] >= points[None, :, :], axis=2)
    above = at_least & np.any(points[:, None, :] > points[None, :, :], axis=2)
    ranks = np.full(len(points), -1, dtype=np.int64)
    rank = 0
    while (ranks < 0).any():
        left = ranks < 0
        ranks[left & ~above[left].any(axis=0)] = rank
        rank += 1
    return ranks


def _ranks_of_pairs(points: Floats) -> Places:
    """The same for two objectives, in n log n: from the right to the left, each point joins the first front that it rises above."""
    ranks = np.zeros(len(points), dtype=np.int64)
    tops: list[float] = []  # the negated height of each front so far, which falls from front to front
    last, rank = None, 0
    for index in np.lexsort((-points[:, 1], -points[:, 0])):
        point = (points[index, 0], points[index, 1])
        if point != last:
            rank = bisect.bisect_right(tops, -point[1])
            if rank == len(tops):
                tops.append(-point[1])
            else:
                tops[rank] = min(tops[rank], -point[1])
        ranks[index], last = rank, point
    return ranks


def _scaled(points: Floats) -> Floats:
    """Each objective from 0 to 1 within the group."""
    low, high = points.min(axis=0), points.max(axis=0)
    scaled: Floats = (points - low) / np.where(high > low, high - low, 1.0)
    return scaled


def _by_crowding(front: Floats) -> Places:
    """Widest gap to the neighbours first; the ends of a front before all others (Deb et al. 2002)."""
    distance = np.zeros(len(front))
    for values in front.T:
        order = np.argsort(values, kind="stable")
        ordered = values[order]
        if ordered[0] == ordered[-1]:
            continue
        gaps = np.full(len(front), np.inf)
        gaps[1:-1] = ordered[2:] - ordered[:-2]
        gaps[(ordered == ordered[0]) | (ordered == ordered[-1])] = np.inf
        distance[order] += gaps
    return _dense(-np.round(distance, 12))


def _by_epsilon_net(front: Floats) -> Places:
    """The ends of the front first, then always the point that is farthest from all chosen ones (Salinas et al. 2021)."""
    ends = (front == front.max(axis=0)).any(axis=1)
    places = np.full(len(front), -1, dtype=np.int64)
    places[ends] = 0
    while (places < 0).any():
        left = np.flatnonzero(places < 0)
        gaps = np.linalg.norm(front[left][:, None, :] - front[places >= 0][None, :, :], axis=2).min(axis=1).round(12)
        places[left[gaps == gaps.max()]] = places.max() + 1
    return places


def _dense(keys: Floats) -> Places:
    places: Places = np.unique(keys, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return places


RANKINGS: dict[str, Callable[[Floats], Places]] = {"crowding": _by_crowding, "epsilon_net": _by_epsilon_net}
"""How points of one front are told apart: scaled points of the front to places, 0 first, equal places for equal need."""
