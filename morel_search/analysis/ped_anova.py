"""PED-ANOVA: how much each parameter decides whether a trial is among the best, for many weightings at once.

Watanabe, Bansal and Hutter, "PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary
Subspaces" (IJCAI 2023, arXiv 2304.10255), and for conditional parameters "Conditional PED-ANOVA" (arXiv
2601.20800). With ``same_bandwidth=False`` the results are those of Optuna's ``PedAnovaImportanceEvaluator``,
which a test checks. Optuna's evaluator takes one study at a time: for 1,000 trials of 10 parameters, a study
and its evaluation need about 0.15 s, so that 100 bootstrap samples and 100 shuffles for three targets would
need more than a minute; this module needs about 0.2 s (one core, Optuna 5.0).

Optuna smooths the density of the best trials with a larger bandwidth than that of all trials, because they
are fewer. NSGA-II repeats values, so that the density of all trials is narrow and almost 0 between clusters;
even a fair sample of the trials then looks different. On ``results/example``, a parameter without rank
correlation with robust accuracy (beta, 0.00; epsilon has 0.64) came first for this reason. With the bandwidth
of the best trials for both, epsilon is first, also when any one of the trials is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["GRID", "Cells", "best_trials", "categorical_cells", "importances", "numeric_cells"]

GRID = 50
"""Largest number of cells into which a numeric range is divided, as in Optuna."""

FEWEST_ACTIVE = 2
"""Fewest trials in which a parameter is active for an importance other than 0, as in Optuna."""

_NARROWEST = 0.5 / 1.64
"""Smallest bandwidth in cells: 90 % of a kernel are then within its own cell."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Cells:
    """The values of one parameter on its grid.

    Attributes:
        index: Cell of each trial's value, shape (trials,); -1 where the parameter is not active.
        count: Number of cells of the grid.
        categorical: Whether the cells are unordered.
    """

    index: NDArray[np.int64]
    count: int
    categorical: bool = False


def categorical_cells(indices: Sequence[int | None], count: int) -> Cells:
    """Return the cells of a categorical parameter: the index of each trial's choice, or None."""
    return Cells(np.array([-1 if index is None else index for index in indices], np.int64), count, True)


def numeric_cells(
    values: Sequence[float | None], low: float, high: float, *, log: bool, step: float | None
) -> Cells:
    """Return the cells of a numeric parameter.

    Args:
        values: Value of each trial; None where the parameter is not active.
        low: Smallest value of the range.
        high: Largest value of the range.
        log: Whether the range is logarithmic.
        step: Distance between the values, 1 for whole numbers; None when every value is allowed.
    """
    count = 1
    if high > low:
        count = GRID
        if step is not None and log:
            count = min(GRID, math.ceil(math.log2(high - low + 1)) + 1)
        elif step is not None:
            count = min(GRID, round((high - low) / step) + 1)
    active = np.array([value is not None for value in values], dtype=bool)
    index = np.full(len(values), -1, np.int64)
    numbers = np.array([value for value in values if value is not None], dtype=float)
    if count > 1:
        numbers = np.clip(numbers, low, high)
        if log:
            numbers, low, high = np.log(numbers), math.log(low), math.log(high)
        width = (high - low) / (count - 1)
        index[active] = np.clip(np.ceil((numbers - low) / width - 0.5), 0, count - 1)
    else:
        index[active] = 0
    return Cells(index, count)


def best_trials(scores: Floats, weights: Floats, quantile: float) -> NDArray[np.bool_]:
    """Return the best trials of each weighting: the highest scores, with all that equal the last of them.

    Args:
        scores: Score of each trial, shape (trials,); higher is better.
        weights: How often each weighting counts each trial, shape (weightings, trials).
        quantile: Fraction of the trials, rounded up.

    Returns:
        Shape (weightings, trials).
    """
    order = np.argsort(-scores, kind="stable")
    wanted = np.ceil(quantile * weights.sum(axis=1, keepdims=True) - 1e-9)
    last = np.argmax(np.cumsum(weights[:, order], axis=1) >= wanted, axis=1)
    return np.asarray(scores[None, :] >= scores[order][last][:, None])


def importances(
    cells: Cells, weights: Floats, best: Sequence[NDArray[np.bool_]], *, same_bandwidth: bool = True
) -> list[Floats]:
    """Compute the importance of one parameter for each target and weighting.

    The importance is the variance over the parameter of the probability that a trial is among the best
    (Theorem 4.2 of arXiv 2601.20800), divided by the variance of being among the best, p (1 - p). Optuna's
    value is not divided.

    Args:
        cells: The values of the parameter.
        weights: How often each weighting counts each trial, shape (weightings, trials).
        best: For each target, which trials are among the best, shape (weightings, trials). Either ``weights``
            or a target may have one row, which is then used for each row of the other.
        same_bandwidth: Whether the density of all trials has the bandwidth of the best trials; Optuna gives
            each its own (see the module).

    Returns:
        For each target the importance, shape (weightings,).
    """
    marks = (cells.index[:, None] == np.arange(cells.count)[None, :]).astype(float)
    everywhere = weights @ marks
    active, total = everywhere.sum(axis=1), weights.sum(axis=1)
    results = []
    for chosen in best:
        top_weights = weights * chosen
        counts = top_weights @ marks
        top_active, top = counts.sum(axis=1), top_weights.sum(axis=1)
        densities = _densities(everywhere, counts, cells.categorical, same_bandwidth)
        pdf_active, pdf_top = (density + 1e-12 for density in densities)
        divergence = (pdf_active * (pdf_top / pdf_active - 1) ** 2).sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            quantile = top / total
            share = (top_active / top) ** 2 / (active / total) * divergence * quantile / (1 - quantile)
        usable = (active >= FEWEST_ACTIVE) & (top_active > 0) & (top < total) & (cells.count > 1)
        results.append(np.where(usable, share, 0.0))
    return results


def _densities(
    everywhere: Floats, counts: Floats, categorical: bool, same_bandwidth: bool
) -> tuple[Floats, Floats]:
    """Estimate the densities of all trials and of the best, from the numbers of them in each cell."""
    if categorical:
        return _categorical_density(everywhere), _categorical_density(counts)
    bandwidth = _bandwidth(counts)
    if same_bandwidth:
        everywhere = np.broadcast_to(everywhere, counts.shape)
        return _numeric_density(everywhere, bandwidth), _numeric_density(counts, bandwidth)
    return _numeric_density(everywhere, _bandwidth(everywhere)), _numeric_density(counts, bandwidth)


def _categorical_density(counts: Floats) -> Floats:
    """Estimate densities with one kernel for each trial and one for the prior, which has weight 1."""
    total, size = counts.sum(axis=1, keepdims=True), counts.shape[1]
    per_kernel = 1 / ((counts > 0).sum(axis=1, keepdims=True) + 1)
    kernels = (counts + total * per_kernel) / (1 + size * per_kernel)
    return np.asarray((kernels + 1 / size) / (total + 1))


def _numeric_density(counts: Floats, bandwidth: Floats) -> Floats:
    """Estimate densities with one kernel for each trial and one for the prior, which has weight 1.

    Args:
        counts: Number of trials in each cell, shape (weightings, cells).
        bandwidth: In cells, shape (weightings, 1).
    """
    from scipy.special import ndtr

    size = counts.shape[1]
    places = np.arange(size)
    edges = np.arange(-size, size + 1) + 0.5  # distances from a kernel's centre to the edges of cells
    below = ndtr(edges / bandwidth)
    mass = below[:, 1:] - below[:, :-1]
    # The kernel at m gives the cell g the mass at distance g - m, divided by its mass within the range.
    within = below[:, size + size - 1 - places] - below[:, size - 1 - places]
    spread = mass[:, size - 1 + places[:, None] - places[None, :]]
    kernels = np.einsum("rgm,rm->rg", spread, counts / within)
    prior_edges = ndtr((np.arange(size + 1) - 0.5 - (size - 1) / 2) / size)
    prior = (prior_edges[1:] - prior_edges[:-1]) / (prior_edges[-1] - prior_edges[0])
    return np.asarray((kernels + prior) / (counts.sum(axis=1, keepdims=True) + 1))


def _bandwidth(counts: Floats) -> Floats:
    """Return the bandwidth by Scott's rule, 1.059 min(IQR / 1.34, deviation) n^(-1/5), in cells.

    Args:
        counts: Number of trials in each cell, shape (weightings, cells).

    Returns:
        Shape (weightings, 1).
    """
    places = np.arange(counts.shape[1])
    total = counts.sum(axis=1)
    number = np.maximum(total, 1)
    mean = counts @ places / number
    squares = (counts * (places[None, :] - mean[:, None]) ** 2).sum(axis=1)
    deviation = np.sqrt(squares / np.maximum(1, total - 1))
    running = np.cumsum(counts, axis=1)
    first = np.argmax((running >= total[:, None] // 4) & (counts > 0), axis=1)
    third = np.argmax(running > total[:, None] * 3 // 4, axis=1)
    scott = 1.059 * np.minimum((third - first) / 1.34, deviation) * number**-0.2
    return np.asarray(np.maximum(scott, _NARROWEST)[:, None])
