"""Confidence intervals of accuracies, and tests of the difference between two networks on the same images."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LEVEL",
    "Difference",
    "mcnemar",
    "normal_quantile",
    "paired_covariance",
    "paired_difference",
    "ratio_interval",
    "wilson",
]

LEVEL = 0.95
"""Confidence level of every interval. A test is significant when its p-value is below 1 - LEVEL."""

Flags = NDArray[np.bool_]


class Difference(NamedTuple):
    """Difference of two accuracies on the same images.

    Attributes:
        value: The difference, a fraction.
        low: Lower end of its confidence interval.
        high: Upper end of its confidence interval.
        p: P-value of the hypothesis that both networks have the same accuracy.
    """

    value: float
    low: float
    high: float
    p: float

    @property
    def reversed(self) -> Difference:
        """The accuracy of the second network minus that of the first."""
        return Difference(-self.value, -self.high, -self.low, self.p)


def normal_quantile(probability: float) -> float:
    """Return the quantile of the standard normal distribution."""
    from scipy.special import ndtri

    return float(ndtri(probability))


def wilson(correct: float, images: int) -> tuple[float, float]:
    """Compute the score interval of an accuracy or of another mean of values from 0 to 1 (Wilson, 1927).

    Args:
        correct: Number of correctly classified images, or the sum of the values.
        images: Number of images, or of values.

    Returns:
        Lower and upper end, fractions; (0, 1) without images.

    >>> [round(bound, 4) for bound in wilson(50, 100)]
    [0.4038, 0.5962]
    """
    if images == 0:
        return 0.0, 1.0
    quantile = normal_quantile((1 + LEVEL) / 2)
    share, ratio = correct / images, quantile**2 / images
    middle = (share + ratio / 2) / (1 + ratio)
    half_width = math.sqrt(ratio * (share * (1 - share) + ratio / 4)) / (1 + ratio)
    # Rounding errors must not take the ends of 0 and of all images away from 0 and 1.
    low = 0.0 if correct <= 0 else max(0.0, middle - half_width)
    return low, 1.0 if correct >= images else min(1.0, middle + half_width)


def mcnemar(only_first: int, only_second: int) -> float:
    """Compute the two-sided p-value of the exact test of McNemar (1947).

    Args:
        only_first: Number of images that only the first network classifies correctly.
        only_second: Number of images that only the second network classifies correctly.
    """
    from scipy.special import bdtr

    tail = float(bdtr(min(only_first, only_second), only_first + only_second, 0.5))
    return min(1.0, 2 * tail)


def paired_difference(first: Flags, second: Flags, level: float = LEVEL) -> Difference:
    """Compute the accuracy of the first network minus that of the second, on the same images.

    The interval is that of Bonett and Price (2012): Wald's interval, after one image is added to each of the
    two cells in which the networks differ.

    Args:
        first: Whether the first network classifies each image correctly, shape (N,), N >= 1.
        second: The same for the second network, shape (N,).
        level: Confidence level of the interval.
    """
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    count = len(first)
    p_first, p_second = (only_first + 1) / (count + 2), (only_second + 1) / (count + 2)
    half_width = normal_quantile((1 + level) / 2) * math.sqrt(
        (p_first + p_second - (p_first - p_second) ** 2) / (count + 2)
    )
    low, high = max(-1.0, p_first - p_second - half_width), min(1.0, p_first - p_second + half_width)
    return Difference((only_first - only_second) / count, low, high, mcnemar(only_first, only_second))


def paired_covariance(first: tuple[Flags, Flags], second: tuple[Flags, Flags]) -> NDArray[np.float64]:
    """Compute the covariance of the differences in two accuracies between networks on the same images.

    Args:
        first: Whether the first network classifies each image correctly without and under attack, both of
            shape (N,).
        second: The same for the second network.

    Returns:
        Covariance of the differences in clean and in robust accuracy, shape (2, 2).
    """
    changes = np.array(first, dtype=float) - np.array(second, dtype=float)
    return np.asarray(np.cov(changes, bias=True) / changes.shape[1])


def ratio_interval(
    numerator: float, denominator: float, variances: tuple[float, float], covariance: float
) -> tuple[float, float] | None:
    """Compute the interval of the ratio of two normally distributed estimates (Fieller, 1954).

    Args:
        numerator: Estimate of the numerator.
        denominator: Estimate of the denominator.
        variances: Variances of both estimates.
        covariance: Covariance of both estimates.

    Returns:
        Lower and upper end; None when the interval of the denominator contains 0, because then the ratio is
        not bounded.
    """
    square = normal_quantile((1 + LEVEL) / 2) ** 2
    curvature = denominator**2 - square * variances[1]
    if curvature <= 0:
        return None
    middle = numerator * denominator - square * covariance
    constant = numerator**2 - square * variances[0]
    root = math.sqrt(max(0.0, middle**2 - curvature * constant))
    return (middle - root) / curvature, (middle + root) / curvature
