"""Configurations that ran out of memory or diverged, so that the search avoids their neighbours."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution

from morel_search.search.distributions import Params
from morel_search.search.optuna_private import UnitCube

__all__ = ["KnownFailures"]


class KnownFailures:
    """Finished configurations, and which of them failed for a reason that similar configurations share.

    Args:
        space: Name to distribution of every parameter.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self._scale = UnitCube(space)
        self._known: list[NDArray[np.float64]] = []
        self._failed: list[bool] = []

    def add(self, params: Params, *, failed: bool) -> None:
        """Record that a configuration failed or finished."""
        self._known.append(self._scale.transform(params))
        self._failed.append(failed)

    def near(self, params: Params) -> bool:
        """Return whether the nearest finished configuration failed.

        Distances are Euclidean. Each parameter is scaled to [0, 1], on the logarithmic scale if it is
        searched on that scale; the distance of two different categories is the square root of 2.
        """
        failed = np.array(self._failed, dtype=bool)
        if not failed.any():
            return False
        distances = np.square(np.array(self._known) - self._scale.transform(params)).sum(axis=1)
        nearest_success = distances[~failed].min() if (~failed).any() else math.inf
        return bool(distances[failed].min() < nearest_success)
