"""Where trainings ran out of memory or diverged, so that the search does not go there again and again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

__all__ = ["FailedRegions"]


class FailedRegions:
    """Known configurations, and which of them failed for a reason that their neighbours share.

    Args:
        space: Name to distribution.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self._space = space
        self._known: list[list[float]] = []
        self._failed: list[bool] = []

    def add(self, params: Mapping[str, Any], *, failed: bool) -> None:
        """A configuration is known to fail or to work."""
        self._known.append(self._place(params))
        self._failed.append(failed)

    def near(self, params: Mapping[str, Any]) -> bool:
        """Whether a configuration is closer to one that failed than to any that works.

        Distances are Euclidean over parameters scaled to [0, 1] (on a log scale where they are searched on one); two different
        categories are 1 apart.
        """
        failed = np.array(self._failed, dtype=bool)
        if not failed.any():
            return False
        apart = np.abs(np.array(self._known) - np.array(self._place(params)))
        categorical = [isinstance(distribution, CategoricalDistribution) for distribution in self._space.values()]
        apart[:, categorical] = apart[:, categorical] > 0
        distances = np.square(apart).sum(axis=1)
        working = distances[~failed].min() if (~failed).any() else math.inf
        return bool(distances[failed].min() < working)

    def _place(self, params: Mapping[str, Any]) -> list[float]:
        return [_scaled(distribution, params[name]) for name, distribution in self._space.items()]


def _scaled(distribution: BaseDistribution, value: Any) -> float:
    internal = distribution.to_internal_repr(value)
    if isinstance(distribution, CategoricalDistribution):
        return internal
    low, high = float(distribution.low), float(distribution.high)  # type: ignore[attr-defined]
    if distribution.log:  # type: ignore[attr-defined]
        low, high, internal = math.log(low), math.log(high), math.log(internal)
    return (internal - low) / (high - low) if high > low else 0.0
