"""Networks against controls with other seeds: the difference of their replicates, and reversed orders."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from morel_search.analysis.differences import difference_words
from morel_search.analysis.intervals import LEVEL, Difference
from morel_search.analysis.replication import Replicated
from morel_search.analysis.report.html import text

__all__ = [
    "ACCURACIES",
    "Claim",
    "Reversal",
    "reversal_notes",
    "reversal_reference",
    "reversals",
    "seed_clause",
    "seed_difference",
]

ACCURACIES = ("clean accuracy", "robust accuracy")
"""Names of the two accuracies, by their index."""

MOST_SENTENCES = 6
"""Largest number of reversed claims with a sentence, and of pairs that a reference names."""

SMALLEST = 0.0005
"""Smallest difference with a sign: half of the last digit that is printed."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A difference between a network of the front and a control that the page states.

    Attributes:
        network: Name of the network.
        control: Name of the control, such as ``trades``.
        control_network: Name of the control's network.
        axis: Index of the accuracy.
        difference: The accuracy of the network minus that of the control.
        view: Where it was measured, such as ``in the verification``.
    """

    network: str
    control: str
    control_network: str
    axis: int
    difference: Difference
    view: str


@dataclass(frozen=True, slots=True)
class Reversal:
    """A claim whose order is the reverse with other seeds, and a sentence that says so."""

    claim: Claim
    sentence: str


def seed_difference(first: NDArray[np.float64], second: NDArray[np.float64]) -> Difference:
    """Compute the mean of the first values minus that of the second, with Welch's 95 % interval.

    Args:
        first: An accuracy of each replicate of a network, shape (n,), n >= 1.
        second: The same of another network, shape (m,), m >= 1.

    Returns:
        The difference; its interval is NaN when a network has one replicate only.
    """
    from scipy.special import stdtrit

    value = float(first.mean() - second.mean())
    if min(len(first), len(second)) < 2:
        return Difference(value, math.nan, math.nan, math.nan)
    errors = [values.var(ddof=1) / len(values) for values in (first, second)]
    total = float(sum(errors))
    if total == 0:
        return Difference(value, value, value, math.nan)
    freedom = total**2 / sum(
        error**2 / (len(values) - 1) for error, values in zip(errors, (first, second), strict=True)
    )
    half_width = float(stdtrit(freedom, (1 + LEVEL) / 2)) * math.sqrt(total)
    return Difference(value, value - half_width, value + half_width, math.nan)


def seed_clause(claim: Claim, replicated: Sequence[Replicated]) -> str:
    """Return what the replicates say of a claim, as part of a sentence; empty without replicates of both."""
    pair = _pair(claim, replicated)
    if pair is None:
        return ""
    first, second = pair
    difference = seed_difference(first, second)
    begin = "with other seeds the reverse" if _reversed(claim.difference, difference) else "with other seeds"
    trainings = f"{len(first)} and {len(second)} trainings"
    if len(first) == len(second):
        trainings = f"{len(first)} training{'' if len(first) == 1 else 's'} of each"
    return f"; {begin}, {difference_words(difference)}, {trainings}"


def reversals(claims: Sequence[Claim], replicated: Sequence[Replicated]) -> list[Reversal]:
    """Return the claims whose order is the reverse with other seeds, each pair and accuracy once."""
    found: dict[tuple[str, str, int], Reversal] = {}
    for claim in claims:
        pair = _pair(claim, replicated)
        if pair is None:
            continue
        first, second = pair
        difference = seed_difference(first, second)
        if not _reversed(claim.difference, difference):
            continue
        accuracy = ACCURACIES[claim.axis]
        sentence = (
            f"Network {claim.network} against control {claim.control}: {claim.view}, network {claim.network} "
            f"has {difference_words(claim.difference, accuracy)}; with other seeds it is the reverse, "
            f"{difference_words(difference, accuracy)} on average{_all_words(first, second, claim)}."
        )
        found.setdefault((claim.network, claim.control, claim.axis), Reversal(claim, sentence))
    return list(found.values())


def reversal_notes(found: Sequence[Reversal]) -> list[str]:
    """Return the sentences of the reversed claims, and how to read them; empty without any.

    They stand once on the page, in the section of the replicates; elsewhere :func:`reversal_reference` does.
    """
    if not found:
        return []
    more = len(found) - MOST_SENTENCES
    return [
        *(reversal.sentence for reversal in found[:MOST_SENTENCES]),
        *([f"{more} more such pairs are reversed with other seeds."] if more > 0 else []),
        "This run does not rank such a pair: the first figure is about these two sets of weights, the second "
        "about their settings, trained again.",
    ]


def reversal_reference(found: Sequence[Reversal]) -> str:
    """Return HTML that names the reversed pairs and links to their sentences; empty without any."""
    if not found:
        return ""
    accuracies: dict[str, list[str]] = {}
    for reversal in found:
        pair = f"network {reversal.claim.network} and control {reversal.claim.control}"
        accuracies.setdefault(pair, []).append(ACCURACIES[reversal.claim.axis])
    pairs = [f"{pair} in {' and '.join(names)}" for pair, names in accuracies.items()]
    more = len(pairs) - MOST_SENTENCES
    listed = "; ".join([*pairs[:MOST_SENTENCES], *([f"{more} more pairs"] if more > 0 else [])])
    words = f"With other seeds the order is the reverse, so this run does not rank the two: {listed}."
    return f'<p class="note">{text(words)} See <a href="#replicates">the replicates</a>.</p>'


def _pair(
    claim: Claim, replicated: Sequence[Replicated]
) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Return the accuracy of the replicates of the network and of the control; None without one of them."""
    by_name: Mapping[str, Replicated] = {network.name: network for network in replicated}
    if claim.network not in by_name or claim.control_network not in by_name:
        return None
    first, second = (
        by_name[name].points.reshape(-1, 2)[:, claim.axis] for name in (claim.network, claim.control_network)
    )
    return (first, second) if len(first) and len(second) else None


def _reversed(claimed: Difference, again: Difference) -> bool:
    small = min(abs(claimed.value), abs(again.value)) < SMALLEST
    return not small and (claimed.value > 0) != (again.value > 0)


def _all_words(first: NDArray[np.float64], second: NDArray[np.float64], claim: Claim) -> str:
    """Return that all replicates of one are above all of the other; empty when they overlap."""
    if min(len(first), len(second)) < 2:
        return ""
    if first.min() > second.max():
        return (
            f", and all {len(first)} trainings of {claim.network} are above all {len(second)} of the control"
        )
    if second.min() > first.max():
        return (
            f", and all {len(second)} trainings of the control are above all {len(first)} of {claim.network}"
        )
    return ""
