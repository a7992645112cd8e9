"""Who of a front is ahead of whom: two ways to keep it spread."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["DIVERSITY_RANKINGS"]

Floats = NDArray[np.float64]
Places = NDArray[np.int64]


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
        gaps = (
            np.linalg.norm(front[left][:, None, :] - front[places >= 0][None, :, :], axis=2)
            .min(axis=1)
            .round(12)
        )
        places[left[gaps == gaps.max()]] = places.max() + 1
    return places


def _dense(keys: Floats) -> Places:
    places: Places = np.unique(keys, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return places


DIVERSITY_RANKINGS: dict[str, Callable[[Floats], Places]] = {
    "crowding": _by_crowding,
    "epsilon_net": _by_epsilon_net,
}
"""How points of one front are told apart: scaled points of the front to places, 0 first, equal places for equal need."""
