"""The first configurations of a search: a Sobol sequence, which covers the space evenly."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution

from morel_search.search.distributions import ParamValue
from morel_search.search.optuna_private import UnitCube

__all__ = ["sobol_point"]


def sobol_point(space: Mapping[str, BaseDistribution], seed: int, index: int) -> dict[str, ParamValue]:
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
    coordinates = dict(zip(space, point, strict=True))
    choices = {
        name: distribution.choices
        for name, distribution in space.items()
        if isinstance(distribution, CategoricalDistribution)
    }
    numeric = {name: distribution for name, distribution in space.items() if name not in choices}
    values: dict[str, ParamValue] = {}
    if numeric:
        values |= UnitCube(numeric).untransform(np.array([coordinates[name] for name in numeric]))
    for name, options in choices.items():
        values[name] = options[int(coordinates[name] * len(options))]
    return values
