"""How sure an accuracy is, and whether two networks differ on the same images."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["LEVEL", "Difference", "mcnemar", "paired_difference", "wilson"]

LEVEL = 0.95
"""Confidence of every interval; a test is significant below 1 - LEVEL."""

Flags = NDArray[np.bool_]


class Difference(NamedTuple):
    """A difference of two accuracies on the same images, in fractions, with its interval and the p-value of no difference."""

    value: float
    low: float
    high: float
    p: float


def wilson(right: int, images: int) -> tuple[float, float]:
    """Wilson's (1927) score interval of an accuracy, as fractions; of no image it is (0, 1).

    >>> [round(bound, 4) for bound in wilson(50, 100)]
    [0.4038, 0.5962]
    """
    from scipy.stats import binomtest

    if images == 0:
        return 0.0, 1.0
    interval = binomtest(right, images).proportion_ci(LEVEL, method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(only_first: int, only_second: int) -> float:
    """P-value of McNemar's (1947) exact test, two-sided.

    Args:
        only_first: Images that the first network alone gets right.
        only_second: Images that the second alone gets right.
    """
    from scipy.stats import binomtest

    different = only_first + only_second
    return 1.0 if different == 0 else float(binomtest(only_first, different).pvalue)


def paired_difference(first: Flags, second: Flags) -> Difference:
    """Accuracy of the first network minus that of the second, on the same images; both of shape (N,), N >= 1.

    The interval is Bonett and Price's (2012), Wald's with one more image in each of the two cells in which
    the networks differ.
    """
    from scipy.stats import norm

    ahead, behind, count = int((first & ~second).sum()), int((~first & second).sum()), len(first)
    more, less = (ahead + 1) / (count + 2), (behind + 1) / (count + 2)
    possible_values = float(norm.ppf((1 + LEVEL) / 2)) * math.sqrt(
        (more + less - (more - less) ** 2) / (count + 2)
    )
    low, high = max(-1.0, more - less - possible_values), min(1.0, more - less + possible_values)
    return Difference((ahead - behind) / count, low, high, mcnemar(ahead, behind))
