"""Which network of a front to take: rules on what the networks were measured to have, and what those beside it cost."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from morel_search._format import percent, points
from morel_search.analysis.front import front_mask
from morel_search.analysis.members import KINDS, Member
from morel_search.errors import RunFolderError

__all__ = [
    "Candidate",
    "Choice",
    "Rule",
    "best_weighted_sum",
    "candidate",
    "candidates",
    "choose",
    "cost_sentences",
    "knee_distances",
    "knee_point",
    "most_accurate",
    "most_robust",
]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A network of the front, as figures of one kind show it."""

    name: str
    clean: float
    robust: float


Choice = tuple[Candidate, str]
"""A candidate, and why it was taken, as a sentence."""

Rule = Callable[[Sequence[Candidate]], Choice]
"""Candidates, at least one, to one of them."""


def choose(members: Sequence[Member], rule: Rule) -> tuple[Member, str, str]:
    """Apply a rule to the best kind of figures that any member has.

    Returns:
        The member, the kind of figures, and why this one.

    Raises:
        RunFolderError: The verification flagged every network, or none meets the rule.
    """
    kind = next(kind for kind in KINDS if any(kind in member.figures for member in members))
    among = candidates(members, kind)
    if not among:
        flagged = ", ".join(member.name for member in members if member.flags)
        raise RunFolderError(
            f"the verification flagged every network that it looked at ({flagged}): --member picks one all the same"
        )
    chosen, why = rule(among)
    return next(member for member in members if member.name == chosen.name), kind, why


def candidates(members: Sequence[Member], kind: str) -> list[Candidate]:
    """The members that a rule chooses among: those with figures of a kind and without a flag."""
    return [candidate(member, kind) for member in members if kind in member.figures and not member.flags]


def candidate(member: Member, kind: str) -> Candidate:
    """A member as its figures of a kind show it."""
    return Candidate(member.name, member.figures[kind].clean, member.figures[kind].robust)


def most_accurate(among: Sequence[Candidate], robust_at_least: float) -> Choice:
    """The most accurate candidate that is at least so robust; of equally accurate ones the more robust."""
    able = [one for one in among if one.robust >= robust_at_least]
    if not able:
        best = max(among, key=lambda one: one.robust)
        raise _unmet("robust", robust_at_least, best, best.robust)
    chosen = max(able, key=lambda one: (one.clean, one.robust))
    return (
        chosen,
        f"It is the most accurate of the {_networks(able)} with a robust accuracy of at least {_exact(robust_at_least)}.",
    )


def most_robust(among: Sequence[Candidate], clean_at_least: float) -> Choice:
    """The most robust candidate that is at least so accurate; of equally robust ones the more accurate."""
    able = [one for one in among if one.clean >= clean_at_least]
    if not able:
        best = max(among, key=lambda one: one.clean)
        raise _unmet("clean", clean_at_least, best, best.clean)
    chosen = max(able, key=lambda one: (one.robust, one.clean))
    return (
        chosen,
        f"It is the most robust of the {_networks(able)} with a clean accuracy of at least {_exact(clean_at_least)}.",
    )


def knee_point(among: Sequence[Candidate]) -> Choice:
    """The knee: the candidate that lies farthest above the straight line between the two ends of the front.

    The ends are the most accurate and the most robust of the candidates that no other dominates. Where no
    candidate lies above the line, it is the end with the higher sum of both accuracies.
    """
    front = _nondominated(among)
    if len({(one.clean, one.robust) for one in front}) == 1:
        return front[0], "No other network is better than it in anything."
    distances = knee_distances(_pairs(front)).round(9)  # points on the line are on it
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
        f"No network lies above {line}, so there is no knee; of its ends this one has the higher sum of both accuracies.",
    )


def knee_distances(pairs: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far points lie above the straight line between the two ends of the front that they are.

    Args:
        pairs: Clean and robust accuracies, shape (n, 2), n >= 1, of which none dominates another.

    Returns:
        Shape (n,): distances in units of the front's own range on both axes; negative below the line, 0 for
        the ends.
    """
    low, span = pairs.min(axis=0), np.ptp(pairs, axis=0)
    if not span.all():
        return np.zeros(len(pairs))  # one point, perhaps several times
    distances: NDArray[np.float64] = (((pairs - low) / span).sum(axis=1) - 1) / math.sqrt(2)
    return distances


def best_weighted_sum(among: Sequence[Candidate], clean: float, robust: float) -> Choice:
    """The candidate with the highest weighted accuracy; of equal ones the one with the higher sum.

    Args:
        among: The candidates.
        clean: Weight of the clean accuracy, at least 0.
        robust: Weight of the robust accuracy, at least 0; one of the two is above 0.
    """
    clean, robust = clean / (clean + robust), robust / (clean + robust)
    chosen = max(among, key=lambda one: (clean * one.clean + robust * one.robust, one.clean + one.robust))
    value = percent(clean * chosen.clean + robust * chosen.robust)
    return (
        chosen,
        f"It has the highest weighted accuracy: {clean:.3g} x clean + {robust:.3g} x robust = {value}.",
    )


def cost_sentences(chosen: Candidate, among: Sequence[Candidate]) -> list[str]:
    """What the next networks on either side of the front give and cost.

    Args:
        chosen: The network in question.
        among: The candidates; those that another one dominates are no neighbours.
    """
    front = _nondominated([chosen, *(one for one in among if one != chosen)])
    if chosen not in front:
        better = next(one for one in front if one.clean >= chosen.clean and one.robust >= chosen.robust)
        return [
            f"It is not on the front of these figures: network {better.name} has {percent(better.clean)} and {percent(better.robust)}."
        ]
    robuster = min(
        (one for one in front if one.robust > chosen.robust), key=lambda one: one.robust, default=None
    )
    cleaner = min((one for one in front if one.clean > chosen.clean), key=lambda one: one.clean, default=None)
    if robuster is None and cleaner is None:
        return ["It has no neighbour: no other network of the front is better than it in anything."]
    return [
        "It is the most robust network of the front."
        if robuster is None
        else _price(
            "robustness",
            "clean accuracy",
            robuster,
            robuster.robust - chosen.robust,
            chosen.clean - robuster.clean,
        ),
        "It is the most accurate network of the front."
        if cleaner is None
        else _price(
            "clean accuracy",
            "robustness",
            cleaner,
            cleaner.clean - chosen.clean,
            chosen.robust - cleaner.robust,
        ),
    ]


def _price(gained: str, paid: str, neighbour: Candidate, gain: float, cost: float) -> str:
    rate = cost / gain
    shown = points(rate / 100) if rate >= 0.095 else f"{rate:.2g} points"
    return (
        f"One point of {gained} costs {shown} of {paid} here: network {neighbour.name}, the next one, "
        f"has {points(gain)} more of it and {points(cost)} less {paid}."
    )


def _unmet(what: str, bound: float, best: Candidate, value: float) -> RunFolderError:
    return RunFolderError(
        f"no network of the front has a {what} accuracy of at least {_exact(bound)}: network {best.name} comes nearest with "
        f"{_exact(value)}, which is {100 * (bound - value):.3g} points less"
    )


def _exact(value: float) -> str:
    return f"{100 * value:.4g}%"


def _networks(able: Sequence[Candidate]) -> str:
    return f"{len(able)} network{'' if len(able) == 1 else 's'}"


def _pairs(among: Sequence[Candidate]) -> NDArray[np.float64]:
    return np.array([(one.clean, one.robust) for one in among], dtype=float)


def _nondominated(among: Sequence[Candidate]) -> list[Candidate]:
    return [one for one, kept in zip(among, front_mask(_pairs(among)), strict=True) if kept]
