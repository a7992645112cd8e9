"""The cost of robust accuracy in clean accuracy along the front of the search, on validation images."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from morel_search.analysis.intervals import LEVEL, normal_quantile

__all__ = ["exchange_rate", "exchange_rate_interval", "exchange_rate_words", "rate_words"]

_DRAWS = 1000
"""Number of draws of the bootstrap."""


def exchange_rate_words(front: NDArray[np.float64], images: int | None) -> list[str]:
    """Return a sentence on the cost of robust accuracy, with its interval or why there is none.

    Args:
        front: Clean and robust validation accuracies of the front, as fractions, shape (n, 2).
        images: Number of validation images; None when it is not known.

    Returns:
        Empty for a front without two different robust accuracies.
    """
    rate = exchange_rate(front)
    if rate is None:
        return []
    if images is None:
        return ["The cost of robust accuracy is not known: the number of validation images is not recorded."]
    interval = exchange_rate_interval(front, images)
    if interval is None:
        return [
            "No cost of robust accuracy was measurable: on the validation images, the robust accuracies of "
            "the two ends of the front differ within chance."
        ]
    where = "in the middle of the front" if len(front) > 2 else "between its ends"
    given = f"95% interval {interval[0]:.2f} to {interval[1]:.2f}"
    if interval[0] <= 0:
        return [
            f"No cost of robust accuracy was measurable: {where}, one more point of it goes with "
            f"{rate:.2f} points less clean accuracy on {images} validation images ({given}, which includes "
            "0)."
        ]
    return [
        f"{where[0].upper()}{where[1:]}, one more point of robust accuracy costs about {rate_words(rate)} of "
        f"clean accuracy ({given}, for {images} validation images and one training of each network)."
    ]


def rate_words(rate: float) -> str:
    """Return a cost in points of clean accuracy as ``0.3 points``."""
    shown = f"{rate:.1f}" if rate >= 0.095 else f"{rate:.2f}"
    return f"{shown} point" if shown == "1.0" else f"{shown} points"


def exchange_rate(front: NDArray[np.float64]) -> float | None:
    """Return the clean accuracy that one unit of robust accuracy costs in the middle half of the front.

    Args:
        front: Clean and robust accuracies of the front, as fractions, shape (n, 2).

    Returns:
        The slope of the front, interpolated linearly, between 25 % and 75 % of the range of its robust
        accuracies; None when all robust accuracies are equal.
    """
    order = np.argsort(front[:, 1], kind="stable")
    clean, robust = front[order, 0], front[order, 1]
    if len(front) < 2 or robust[-1] <= robust[0]:
        return None
    ends = robust[0] + (robust[-1] - robust[0]) * np.array([0.25, 0.75])
    at = np.interp(ends, robust, clean)
    return float((at[0] - at[1]) / (ends[1] - ends[0]))


def exchange_rate_interval(front: NDArray[np.float64], images: int) -> tuple[float, float] | None:
    """Return the 95 % interval of :func:`exchange_rate`, by a parametric bootstrap.

    The results of each network are drawn again for its accuracies, independently of the other networks. The
    networks answered the same images, so the interval is rather too wide.

    Args:
        front: Clean and robust accuracies of the front, as fractions, shape (n, 2).
        images: Number of images.

    Returns:
        Lower and upper end; None when the interval of the difference of the lowest and the highest robust
        accuracy contains 0.
    """
    clean, robust = front.T
    ends = robust.min(), robust.max()
    error = np.sqrt(sum(end * (1 - end) for end in ends) / images)
    if ends[1] - ends[0] <= normal_quantile((1 + LEVEL) / 2) * error:
        return None
    random = np.random.default_rng(0)
    robust_correct = random.binomial(images, robust, (_DRAWS, len(front)))
    # The images that are correctly classified without an attack only, among those that an attack broke.
    clean_only = np.clip((clean - robust) / np.maximum(1 - robust, 1e-12), 0, 1)
    correct = robust_correct + random.binomial(images - robust_correct, clean_only)
    draws = np.stack([correct, robust_correct], axis=2) / images
    rates = [rate for draw in draws if (rate := exchange_rate(draw)) is not None]
    low, high = np.quantile(rates, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)
