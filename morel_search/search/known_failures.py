"""Configurations that ran out of memory or diverged, so that the search avoids their neighbours."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution

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

    def add(self, params: Mapping[str, Any], *, failed: bool) -> None:
        """Record that a configuration failed or finished."""
        self._known.append(self._scale.transform(params))
        self._failed.append(failed)

    def near(self, params: Mapping[str, Any]) -> bool:
        """Return whether the nearest finished configuration failed.

        Distances are Euclidean over parameters scaled to [0, 1] (on a log scale where they are searched on
        one); two different categories are the square root of 2 apart.
        """
        failed = np.array(self._failed, dtype=bool)
        if not failed.any():
            return False
        distances = np.square(np.array(self._known) - self._scale.transform(params)).sum(axis=1)
        working = distances[~failed].min() if (~failed).any() else math.inf
        return bool(distances[failed].min() < working)
