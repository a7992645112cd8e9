"""Verdicts on networks: on the front, beaten or undecided, with control of the family-wise error."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from morel_search._format import points
from morel_search.analysis.intervals import LEVEL, Difference, normal_quantile, paired_difference

__all__ = ["MARGIN", "Results", "Verdict", "contest", "judge"]

MARGIN = 0.01
"""Smallest margin of the non-inferiority test, and the largest measured loss that it passes."""

SHARE_OF_GAIN = 0.5
"""Largest margin of the non-inferiority test above :data:`MARGIN`, in units of the gain."""

POWER = 0.95
"""Probability with which the test finds a difference as large as its resolution."""

ACCURACIES = ("clean", "robust")

Flags = NDArray[np.bool_]

Results = tuple[Flags, Flags]
"""Whether each of N images is correctly classified without an attack and under attack, shapes (N,)."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict on a network.

    Attributes:
        kind: ``on the front``: better than every rival in at least one accuracy, beyond chance. ``beaten``: a
            rival is better in one accuracy beyond chance, and not worse in the other by more than a margin
            (its measured loss is at most one point).
            ``undecided``: neither of both was shown.
        rival: The rival that beats the network by the largest difference, or the rival ahead of which an
            undecided network is least; empty on the front.
        axis: Index of the accuracy in which the rival is better, or in which the undecided network leads.
        value: Observed difference in that accuracy: the gain of the rival, or the lead of the network (at
            most 0 when it leads in neither accuracy).
        loss: The largest loss of the rival in the other accuracy that its interval includes; only of
            ``beaten``.
        images: Number of images.
    """

    kind: Literal["on the front", "beaten", "undecided"]
    rival: str = ""
    axis: int = 0
    value: float = 0.0
    loss: float = 0.0
    images: int = 0

    @property
    def text(self) -> str:
        """The verdict in words, with the rival and the differences."""
        return self.words(self.rival)

    def words(self, rival: str) -> str:
        """Return the verdict in words.

        Args:
            rival: The name of the rival for a reader, such as ``2 (pgd)``.
        """
        if self.kind == "on the front":
            return self.kind
        accuracy, other = ACCURACIES[self.axis], ACCURACIES[1 - self.axis]
        if self.kind == "beaten":
            return (
                f"beaten by {rival}: {points(self.value)} more {accuracy} accuracy, at most "
                f"{points(self.loss)} less {other} accuracy"
            )
        lead = round(self.value * self.images)
        if lead <= 0:
            return f"undecided: not ahead of {rival} in either accuracy, but not behind it beyond chance"
        return (
            f"undecided: ahead of {rival} by {lead} image{'' if lead == 1 else 's'} in {accuracy} "
            "accuracy, not beyond chance"
        )


Pair = tuple[Difference, Difference]
"""Differences of two networks in clean and in robust accuracy."""


def judge(networks: Mapping[str, tuple[Flags, Flags]], rivals: Collection[str]) -> dict[str, Verdict]:
    """Judge each network against all rivals.

    Every pair of networks is compared in both accuracies, by McNemar's exact test and by the interval of the
    difference on the same images, both at the level 0.05 / (k (k - 1)) for k networks (Bonferroni). The
    probability that any verdict ``on the front`` or ``beaten`` is wrong is therefore at most 5 %.

    The margin of the non-inferiority test is the resolution of the test, the smallest difference that it
    finds with a probability of 95 %, but at most half of the observed gain in the other accuracy, and at
    least one point. The intervals hold simultaneously, so the margin may depend on the images. A margin of
    one point alone is too small: at 2,000 images and 90 % clean accuracy, twelve networks of equal clean
    accuracy are compared with intervals of plus or minus 2.5 points. But a rival whose measured loss is more
    than one point beats no network, however little the images show about that loss.

    Args:
        networks: For each network, whether each of N images is correctly classified without an attack and
            under attack, two arrays of shape (N,), N >= 1.
        rivals: Names of the networks that may beat others.

    Returns:
        The verdict on each network, by name.
    """
    tests = max(1, len(networks) * (len(networks) - 1))
    level = 1 - (1 - LEVEL) / tests
    differences: dict[tuple[str, str], Pair] = {}
    for first, second in combinations(networks, 2):
        clean, robust = (
            paired_difference(networks[first][axis], networks[second][axis], level) for axis in range(2)
        )
        differences[first, second] = clean, robust
        differences[second, first] = clean.reversed, robust.reversed
    return {
        name: _verdict(
            {rival: differences[rival, name] for rival in networks if rival in rivals and rival != name},
            level,
            len(results[0]),
        )
        for name, results in networks.items()
    }


def contest(first: Results, second: Results, comparisons: int) -> Literal["first", "second", "each", ""]:
    """Compare two networks: which one beats the other, better in one accuracy and not worse in the other.

    The tests and the margin are those of :func:`judge`.

    Args:
        first: The results of the first network.
        second: Those of the second, on the same images.
        comparisons: Number of accuracies that are compared in all (Bonferroni).

    Returns:
        ``first`` or ``second``, the network that beats the other; ``each`` if each is better in one accuracy,
        beyond chance; empty if nothing was shown.
    """
    level = 1 - (1 - LEVEL) / max(1, comparisons)
    pair = tuple(paired_difference(first[axis], second[axis], level) for axis in range(2))
    reverse = tuple(difference.reversed for difference in pair)
    if any(_wins(pair, axis, level) for axis in range(2)):
        return "first"
    if any(_wins(reverse, axis, level) for axis in range(2)):
        return "second"
    each = all(any(_better(difference, level) for difference in own) for own in (pair, reverse))
    return "each" if each else ""


def _wins(pair: Sequence[Difference], axis: int, level: float) -> bool:
    """Return whether a network beats another one by one accuracy, for its accuracies minus the other's."""
    return _better(pair[axis], level) and _not_worse(pair[1 - axis], pair[axis].value, level)


def _verdict(ahead: Mapping[str, Pair], level: float, images: int) -> Verdict:
    """Judge one network.

    Args:
        ahead: Accuracies of each rival minus those of the network.
        level: Level of the intervals.
        images: Number of images.
    """
    beaten = [
        Verdict("beaten", rival, axis, pair[axis].value, max(0.0, -pair[1 - axis].low), images)
        for rival, pair in ahead.items()
        for axis in range(2)
        if _wins(pair, axis, level)
    ]
    if beaten:
        return max(beaten, key=lambda verdict: verdict.value)
    undecided = [
        _lead(rival, pair, images)
        for rival, pair in ahead.items()
        if not any(_better(difference.reversed, level) for difference in pair)
    ]
    return min(undecided, key=lambda verdict: verdict.value, default=Verdict("on the front"))


def _lead(rival: str, pair: Sequence[Difference], images: int) -> Verdict:
    axis = min(range(2), key=lambda index: pair[index].value)
    return Verdict("undecided", rival, axis, -pair[axis].value, images=images)


def _better(difference: Difference, level: float) -> bool:
    return difference.value > 0 and difference.p < 1 - level


def _not_worse(difference: Difference, gain: float, level: float) -> bool:
    """Test whether the loss in one accuracy is below the margin, for a gain in the other accuracy.

    A measured loss of more than :data:`MARGIN` is a loss, whatever the interval is.
    """
    half_width = (difference.high - difference.low) / 2
    resolution = half_width * (1 + normal_quantile(POWER) / normal_quantile((1 + level) / 2))
    margin = max(MARGIN, min(resolution, SHARE_OF_GAIN * gain))
    return difference.value >= -MARGIN and difference.low > -margin
