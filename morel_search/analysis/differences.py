"""Differences of accuracies in words: each with its 95 % interval, or with the reason why it has none."""

from __future__ import annotations

import math

from morel_search._format import points
from morel_search.analysis.intervals import Difference, wilson

__all__ = ["NOT_BEYOND_CHANCE", "difference_words", "interval_words", "unpaired_difference"]

NOT_BEYOND_CHANCE = "not beyond chance"
NO_INTERVAL = "no interval is known"


def difference_words(difference: Difference, what: str = "") -> str:
    """Return ``3.1 points more robust accuracy (+0.4 to +5.8)``, or that it is not beyond chance.

    Args:
        difference: The difference of two accuracies.
        what: The accuracy, such as ``robust accuracy``; empty where the sentence has named it.
    """
    interval = interval_words(difference.low, difference.high)
    if round(1000 * difference.value) == 0:
        return f"{f'equal {what}' if what else 'no difference'} ({interval})"
    more = "more" if difference.value > 0 else "less"
    chance = f", {NOT_BEYOND_CHANCE}" if difference.low <= 0 <= difference.high else ""
    return f"{points(difference.value)} {more}{f' {what}' if what else ''} ({interval}{chance})"


def interval_words(low: float, high: float) -> str:
    """Return the interval of a difference in points, as ``-0.4 to +5.8``, or that there is none (NaN)."""
    if math.isnan(low) or math.isnan(high):
        return NO_INTERVAL
    low, high = (round(100 * end, 1) + 0.0 for end in (low, high))  # + 0.0 makes -0.0 positive
    return f"{low:+.1f} to {high:+.1f}"


def unpaired_difference(first: float, second: float, images: int) -> Difference:
    """Compute the first accuracy minus the second, with the interval of Newcombe (1998), method 10.

    The interval is that of accuracies on different images. Two networks that answered the same images agree
    on many of them, so their interval is rather too wide.

    Args:
        first: An accuracy, a fraction.
        second: Another accuracy on as many images.
        images: Number of images; 0 where it is not known, and then neither is the interval (NaN).
    """
    if not images:
        return Difference(first - second, math.nan, math.nan, math.nan)
    (low1, high1), (low2, high2) = wilson(first * images, images), wilson(second * images, images)
    value = first - second
    low = value - math.hypot(first - low1, high2 - second)
    high = value + math.hypot(high1 - first, second - low2)
    return Difference(value, low, high, math.nan)
