"""Where trainings ran out of memory or diverged, so that the search does not go there again and again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution

__all__ = ["KnownFailures"]


class KnownFailures:
    """Known configurations, and which of them failed for a reason that their neighbours share.

    Args:
        space: Name to distribution.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self._scale = _SearchSpaceTransform(dict(space), transform_0_1=True)
        self._known: list[NDArray[np.float64]] = []
        self._failed: list[bool] = []

    def add(self, params: Mapping[str, Any], *, failed: bool) -> None:
        """A configuration is known to fail or to work."""
        self._known.append(self._scale.transform(dict(params)))
        self._failed.append(failed)

    def near(self, params: Mapping[str, Any]) -> bool:
        """Whether a configuration is closer to one that failed than to any that works.

        Distances are Euclidean over parameters scaled to [0, 1] (on a log scale where they are searched on one); two different
        categories are the square root of 2 apart.
        """
        failed = np.array(self._failed, dtype=bool)
        if not failed.any():
            return False
        distances = np.square(np.array(self._known) - self._scale.transform(dict(params))).sum(axis=1)
        working = distances[~failed].min() if (~failed).any() else math.inf
        return bool(distances[failed].min() < working)
