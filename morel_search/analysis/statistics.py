"""Rank correlation of two measurements of the same networks."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

__all__ = ["spearman"]


def spearman(first: ArrayLike, second: ArrayLike, fewest: int = 3) -> float | None:
    """Return Spearman's rank correlation, with average ranks for ties.

    Args:
        first: Values of shape (n,).
        second: Other values of the same networks, shape (n,).
        fewest: Smallest n for which the correlation is computed.

    Returns:
        The correlation, from -1 to 1; None for fewer values, or when all values of one side are equal.
    """
    from scipy.stats import spearmanr

    xs, ys = np.asarray(first, dtype=float), np.asarray(second, dtype=float)
    if len(xs) < fewest or np.ptp(xs) == 0 or np.ptp(ys) == 0:
        return None
    return float(spearmanr(xs, ys).statistic)
