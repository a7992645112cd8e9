"""The cost of robustness in clean accuracy, and of clean accuracy in robustness, at a network of a front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from morel_search._format import percent, points
from morel_search.analysis.intervals import paired_covariance, ratio_interval
from morel_search.analysis.picking import Candidate, nondominated

__all__ = ["ImageResults", "cost_sentences"]

ImageResults = Mapping[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]
"""By the name of a network: whether each of N images is correctly classified without an attack and under
attack, two arrays of shape (N,)."""


def cost_sentences(
    chosen: Candidate, among: Sequence[Candidate], results: ImageResults | None = None
) -> list[str]:
    """Return sentences on the trade-off between a network and its neighbours on both sides of the front.

    A cost has a 95 % interval by Fieller's theorem. Where the difference in the gained accuracy is within
    chance, the sentence says that no cost was measurable.

    Args:
        chosen: The network.
        among: The candidates; those that another candidate dominates are not neighbours.
        results: Results on the same images, for the networks for which they are known. Other networks are
            compared as on different images, which makes the interval wider.
    """
    front = nondominated([chosen, *(network for network in among if network != chosen)])
    if chosen not in front:
        better = next(
            network for network in front if network.clean >= chosen.clean and network.robust >= chosen.robust
        )
        return [
            f"It is not on the front of these figures: network {better.name} has {percent(better.clean)} and "
            f"{percent(better.robust)}."
        ]
    more_robust = min(
        (network for network in front if network.robust > chosen.robust),
        key=lambda network: network.robust,
        default=None,
    )
    more_accurate = min(
        (network for network in front if network.clean > chosen.clean),
        key=lambda network: network.clean,
        default=None,
    )
    if more_robust is None and more_accurate is None:
        return ["It has no neighbour: no other network of the front is better in either accuracy."]
    images = results or {}
    sentences = []
    if more_robust is None:
        sentences.append("It is the most robust network of the front.")
    else:
        sentences.append(_trade_off(chosen, more_robust, 1, images))
    if more_accurate is None:
        sentences.append("It is the most accurate network of the front.")
    else:
        sentences.append(_trade_off(chosen, more_accurate, 0, images))
    return sentences


_ACCURACIES = ("clean accuracy", "robustness")


def _trade_off(chosen: Candidate, neighbour: Candidate, axis: int, results: ImageResults) -> str:
    """Return the cost of the neighbour's gain, per point.

    Args:
        chosen: The network.
        neighbour: A network that is better in one accuracy and worse in the other.
        axis: Index of the accuracy in which it is better.
        results: Results on the same images.
    """
    gained, paid = _ACCURACIES[axis], _ACCURACIES[1 - axis]
    changes = neighbour.clean - chosen.clean, neighbour.robust - chosen.robust
    gain, cost = changes[axis], -changes[1 - axis]
    comparison = f"network {neighbour.name}, the next one, has {points(gain)} more of it and "
    comparison += f"{points(cost)} less {paid}"
    covariance = _covariance(chosen, neighbour, results)
    if covariance is None:
        return f"The number of images is not known, so the cost of {gained} is not: {comparison}."
    variances = float(covariance[1 - axis, 1 - axis]), float(covariance[axis, axis])
    interval = ratio_interval(cost, gain, variances, -float(covariance[0, 1]))
    if interval is None:
        return f"No cost of {gained} was measurable here, because the gain is within chance: {comparison}."
    ends = f"95% interval {interval[0]:.2g} to {interval[1]:.2g}"
    if interval[0] <= 0:
        return f"No cost of {gained} was measurable here ({ends}, which includes 0): {comparison}."
    rate = cost / gain
    shown = points(rate / 100) if rate >= 0.095 else f"{rate:.2g} points"
    return f"One point of {gained} costs {shown} of {paid} here ({ends}): {comparison}."


def _covariance(chosen: Candidate, neighbour: Candidate, results: ImageResults) -> NDArray[np.float64] | None:
    """Return the covariance matrix of the differences in clean and robust accuracy, shape (2, 2)."""
    if chosen.name in results and neighbour.name in results:
        return paired_covariance(results[neighbour.name], results[chosen.name])
    if chosen.images is None or neighbour.images is None:
        return None
    total = np.zeros((2, 2))
    for network in (chosen, neighbour):
        # A robust image is correctly classified: the product of both results is the robust one.
        shared = network.robust * (1 - network.clean)
        spread = [
            [network.clean * (1 - network.clean), shared],
            [shared, network.robust * (1 - network.robust)],
        ]
        total += np.array(spread) / (network.images or 1)
    return total
