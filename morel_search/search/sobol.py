"""The first configurations of a search: a Sobol sequence, which covers the space evenly."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from morel_search.search.optuna_private import UnitCube

__all__ = ["sobol_point"]


def sobol_point(space: Mapping[str, BaseDistribution], seed: int, index: int) -> dict[str, Any]:
    """Return a point of a scrambled Sobol sequence (Owen 1998) in the space.

    Args:
        space: Name to distribution of every parameter.
        seed: Random seed of the scrambling.
        index: Number of the point, from 0. A point does not depend on which other points are drawn.

    Returns:
        Optuna's values. Every choice, and every step of a grid, gets the same share of the sequence.
    """
    from scipy.stats import qmc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about numbers of points that are not a power of 2
        sequence = qmc.Sobol(len(space), scramble=True, seed=seed)
        point = sequence.fast_forward(index).random(1)[0] if index else sequence.random(1)[0]
    shares = dict(zip(space, point, strict=True))
    numbers = {name: one for name, one in space.items() if not isinstance(one, CategoricalDistribution)}
    values = UnitCube(numbers).untransform(np.array([shares[name] for name in numbers])) if numbers else {}
    choices = {name: one.choices for name, one in space.items() if isinstance(one, CategoricalDistribution)}
    return {**values, **{name: every[int(shares[name] * len(every))] for name, every in choices.items()}}
