"""The first configurations: spread evenly over the space instead of by chance."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

__all__ = ["design_point"]


def design_point(space: Mapping[str, BaseDistribution], seed: int, index: int) -> dict[str, Any]:
    """A point of a scrambled Sobol sequence (Owen 1998) in the space.

    Args:
        space: Name to distribution.
        seed: Seed of the scrambling.
        index: Which point, from 0; each is what it is whatever others were asked for.

    Returns:
        Optuna's values. Every choice and every step of a grid has the same share of the sequence.
    """
    from scipy.stats import qmc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about numbers of points that are no power of 2
        sequence = qmc.Sobol(len(space), scramble=True, seed=seed)
        point = sequence.fast_forward(index).random(1)[0] if index else sequence.random(1)[0]
    return {name: _value(distribution, float(share)) for (name, distribution), share in zip(space.items(), point, strict=True)}


def _value(distribution: BaseDistribution, share: float) -> Any:
    """The value below which that share of the range lies."""
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices[min(int(share * len(distribution.choices)), len(distribution.choices) - 1)]
    assert isinstance(distribution, (FloatDistribution, IntDistribution))
    low, high = distribution.low, distribution.high
    if isinstance(distribution, IntDistribution) and distribution.log:
        value = math.exp(math.log(low - 0.5) + share * (math.log(high + 0.5) - math.log(low - 0.5)))
        return min(max(round(value), int(low)), int(high))
    if distribution.step is not None:
        steps = round((high - low) / distribution.step) + 1
        value = low + min(int(share * steps), steps - 1) * distribution.step
        return int(value) if isinstance(distribution, IntDistribution) else min(float(value), float(high))
    if distribution.log:
        return min(max(math.exp(math.log(low) + share * (math.log(high) - math.log(low))), low), high)
    return low + share * (high - low)
