"""Rules that pick a network of a front by its accuracies."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from morel_search._format import percent
from morel_search.analysis.front import front_mask
from morel_search.analysis.members import COMPARED, Member
from morel_search.errors import RunFolderError

__all__ = [
    "Candidate",
    "Choice",
    "Rule",
    "best_weighted_sum",
    "candidate",
    "candidates",
    "choose",
    "compared_kind",
    "knee_distances",
    "knee_point",
    "most_accurate",
    "most_robust",
    "nondominated",
]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network of the front, with its clean and robust accuracy of one kind.

    Attributes:
        name: Name of the network.
        clean: Clean accuracy, a fraction.
        robust: Robust accuracy, a fraction.
        images: Number of images; None when it is not known.
    """

    name: str
    clean: float
    robust: float
    images: int | None = None


Choice = tuple[Candidate, str]
"""The picked candidate, and the reason as a sentence."""

Rule = Callable[[Sequence[Candidate]], Choice]
"""A function that picks one of the given candidates, of which there is at least one."""


def choose(members: Sequence[Member], rule: Rule) -> tuple[Member, str, str]:
    """Apply a rule to the accuracies of :func:`compared_kind`.

    Returns:
        The picked member, the kind of accuracies, and the reason.

    Raises:
        RunFolderError: Every network was flagged or beaten, or no network satisfies the rule.
    """
    kind = compared_kind(members)
    eligible = candidates(members, kind)
    if not eligible:
        reasons = ", ".join(f"{member.name} is {member.left_out}" for member in members if member.left_out)
        raise RunFolderError(
            f"each {'verified ' if kind == 'verified' else ''}network was flagged or beaten by another "
            f"network ({reasons}); pick one with --member"
        )
    chosen, reason = rule(eligible)
    return next(member for member in members if member.name == chosen.name), kind, reason


def compared_kind(members: Sequence[Member]) -> str:
    """Return the kind of accuracies to choose by: verified, or validation where no network is verified."""
    return next(kind for kind in COMPARED if any(kind in member.figures for member in members))


def candidates(members: Sequence[Member], kind: str) -> list[Candidate]:
    """Return the members that a rule may pick: with accuracies of this kind, neither flagged nor beaten."""
    return [candidate(member, kind) for member in members if kind in member.figures and not member.left_out]


def candidate(member: Member, kind: str) -> Candidate:
    """Return a member with its accuracies of one kind."""
    figures = member.figures[kind]
    return Candidate(member.name, figures.clean, figures.robust, figures.images)


def most_accurate(among: Sequence[Candidate], robust_at_least: float) -> Choice:
    """Pick the candidate with the highest clean accuracy among those with at least this robust accuracy.

    Of equal clean accuracies, the higher robust accuracy decides.

    Args:
        among: The candidates.
        robust_at_least: Lower bound of the robust accuracy, a fraction.

    Raises:
        RunFolderError: No candidate has this robust accuracy.
    """
    eligible = [network for network in among if network.robust >= robust_at_least]
    if not eligible:
        best = max(among, key=lambda network: network.robust)
        raise _unsatisfied("robust", robust_at_least, best, best.robust)
    chosen = max(eligible, key=lambda network: (network.clean, network.robust))
    bound = _exact(robust_at_least)
    return (
        chosen,
        f"It is the most accurate of the {_networks(eligible)} with a robust accuracy of at least {bound}.",
    )


def most_robust(among: Sequence[Candidate], clean_at_least: float) -> Choice:
    """Pick the candidate with the highest robust accuracy among those with at least this clean accuracy.

    Of equal robust accuracies, the higher clean accuracy decides.

    Args:
        among: The candidates.
        clean_at_least: Lower bound of the clean accuracy, a fraction.

    Raises:
        RunFolderError: No candidate has this clean accuracy.
    """
    eligible = [network for network in among if network.clean >= clean_at_least]
    if not eligible:
        best = max(among, key=lambda network: network.clean)
        raise _unsatisfied("clean", clean_at_least, best, best.clean)
    chosen = max(eligible, key=lambda network: (network.robust, network.clean))
    bound = _exact(clean_at_least)
    return (
        chosen,
        f"It is the most robust of the {_networks(eligible)} with a clean accuracy of at least {bound}.",
    )


def knee_point(among: Sequence[Candidate]) -> Choice:
    """Pick the knee: the candidate farthest above the straight line between the two ends of the front.

    The ends are the most accurate and the most robust candidate that no other candidate dominates. When no
    candidate lies above the line, the end with the higher sum of both accuracies is picked.
    """
    front = nondominated(among)
    if len({(network.clean, network.robust) for network in front}) == 1:
        return front[0], "Of the networks to choose from, no other one is better in either accuracy."
    distances = knee_distances(_pairs(front)).round(9)  # a rounding error is not a distance from the line
    index = max(
        range(len(front)), key=lambda i: (distances[i], front[i].clean + front[i].robust, front[i].robust)
    )
    line = (
        "the straight line between the two ends of the front, with both axes scaled to the front's own range"
    )
    if distances[index] > 0:
        return front[index], f"It is the knee: it lies farthest above {line}."
    return (
        front[index],
        f"No network lies above {line}, so there is no knee; this end has the higher sum of both accuracies.",
    )


def knee_distances(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the distances of the points of a front above the straight line between its two ends.

    Args:
        pairs: Clean and robust accuracies, shape (n, 2), n >= 1; no point dominates another point.

    Returns:
        Shape (n,): distances after both axes are scaled to the range of the front; negative below the line, 0
        at the ends.
    """
    low, span = pairs.min(axis=0), np.ptp(pairs, axis=0)
    if not span.all():
        return np.zeros(len(pairs))  # all points are equal
    distances: NDArray[np.float64] = (((pairs - low) / span).sum(axis=1) - 1) / math.sqrt(2)
    return distances


def best_weighted_sum(among: Sequence[Candidate], clean: float, robust: float) -> Choice:
    """Pick the candidate with the highest weighted mean of both accuracies.

    Of equal means, the higher sum of both accuracies decides.

    Args:
        among: The candidates.
        clean: Weight of the clean accuracy, at least 0.
        robust: Weight of the robust accuracy, at least 0. At least one of the weights is above 0.
    """
    clean, robust = clean / (clean + robust), robust / (clean + robust)

    def value(network: Candidate) -> float:
        return clean * network.clean + robust * network.robust

    chosen = max(among, key=lambda network: (value(network), network.clean + network.robust))
    weights = f"{clean:.3g} x clean + {robust:.3g} x robust"
    return chosen, f"It has the highest weighted accuracy: {weights} = {percent(value(chosen))}."


def _unsatisfied(accuracy: str, bound: float, best: Candidate, value: float) -> RunFolderError:
    return RunFolderError(
        f"no network of the front has a {accuracy} accuracy of at least {_exact(bound)}: network {best.name} "
        f"comes nearest with {_exact(value)}, which is {100 * (bound - value):.3g} points less"
    )


def _exact(value: float) -> str:
    return f"{100 * value:.4g}%"


def _networks(eligible: Sequence[Candidate]) -> str:
    return f"{len(eligible)} network{'' if len(eligible) == 1 else 's'}"


def _pairs(among: Sequence[Candidate]) -> NDArray[np.float64]:
    return np.array([(network.clean, network.robust) for network in among], dtype=float)


def nondominated(among: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that no other candidate dominates."""
    return [network for network, kept in zip(among, front_mask(_pairs(among)), strict=True) if kept]
