"""The first configurations: spread evenly over the space instead of by chance."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution, CategoricalDistribution

__all__ = ["sobol_point"]


def sobol_point(space: Mapping[str, BaseDistribution], seed: int, index: int) -> dict[str, Any]:
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
    shares = dict(zip(space, point, strict=True))
    numbers = {name: one for name, one in space.items() if not isinstance(one, CategoricalDistribution)}
    values = (
        _SearchSpaceTransform(numbers, transform_0_1=True).untransform(
            np.array([shares[name] for name in numbers])
        )
        if numbers
        else {}
    )
    choices = {name: one.choices for name, one in space.items() if isinstance(one, CategoricalDistribution)}
    return {**values, **{name: every[int(shares[name] * len(every))] for name, every in choices.items()}}
