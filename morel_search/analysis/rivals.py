"""Rivals beside the front: which networks of the front beat a rival, and which are beaten by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from morel_search._format import inference_cost, listed, operations_text, with_interval
from morel_search.analysis.intervals import Difference
from morel_search.analysis.verdicts import contest
from morel_search.analysis.verification import Network, Verification, compare
from morel_search.results.rivals import RivalEntry

__all__ = ["Contest", "contest_words", "contests", "cost_words", "rival_sentence"]


NAMES = {"first": "rival", "second": "network"}


@dataclass(frozen=True, slots=True)
class Contest:
    """A rival and a network of the verified front, on the same images.

    Attributes:
        network: The network of the front.
        clean: Clean accuracy of the rival minus that of the network, with its 95 % interval.
        robust: The same of the robust accuracy.
        result: ``rival`` if it beats the network, ``network`` if the network beats it, ``each`` if each is
            better in one accuracy, empty if nothing was shown.
    """

    network: Network
    clean: Difference
    robust: Difference
    result: str


def contests(verification: Verification, rival: Network) -> list[Contest]:
    """Compare a rival with each network of the verified front; empty for a flagged rival.

    A network beats another one as in :func:`~morel_search.analysis.verdicts.judge`. The probability that one
    or more of these results are wrong is at most 5 %, over all rivals and all networks of the front.
    """
    if rival.flags:
        return []
    front = verification.front
    able = [other for other in verification.rivals if not other.flags]
    comparisons = 2 * len(able) * len(front)
    own = rival.clean, rival.robust
    found = []
    for network in front:
        other = network.clean, network.robust
        result = contest(own, other, comparisons)
        clean, robust = compare(rival, network)
        found.append(Contest(network, clean, robust, NAMES.get(result, result)))
    return found


def rival_sentence(verification: Verification, rival: Network) -> str:
    """Return the accuracies of a rival, and which networks of the front it beats and which beat it."""
    accuracies = (
        f"{rival.title} has {with_interval(rival.accuracy[0], rival.intervals[0])} clean and "
        f"{with_interval(rival.accuracy[1], rival.intervals[1])} robust accuracy"
    )
    if rival.flags:
        return (
            f"{accuracies}, but is flagged for gradient masking, so it is not compared with the front: "
            f"{rival.flags[0]}."
        )
    found = contests(verification, rival)
    return f"{accuracies}. {contest_words(found)}"


def contest_words(found: Sequence[Contest]) -> str:
    """Return how many networks of the front a rival beats and how many beat it, with their names."""
    if not found:
        return "There is no verified front to compare it with."
    names: dict[str, list[str]] = {"rival": [], "network": [], "each": [], "": []}
    for one in found:
        names[one.result].append(one.network.labelled_name)
    won, lost, each, rest = names.values()
    if len(found) == 1:
        name, only = found[0].network.labelled_name, "the only one of the verified front"
        return {
            "rival": f"It beats network {name}, {only}.",
            "network": f"Network {name}, {only}, beats it.",
            "each": f"Compared with network {name}, {only}, it is better in one accuracy and worse in the "
            "other.",
            "": f"The test images do not decide between it and network {name}, {only}.",
        }[found[0].result]
    beaten = f"{len(won)} ({listed(won)})" if won else "none"
    words = f"It beats {beaten} of the {len(found)} networks of the verified front, and "
    if lost:
        words += f"{len(lost)} of them ({listed(lost)}) {'beat' if len(lost) > 1 else 'beats'} it"
    else:
        words += "none of them beats it"
    if each:
        words += f"; compared with {listed(each)}, it is better in one accuracy and worse in the other"
    return f"{words}; the test images do not decide about {listed(rest)}." if rest else f"{words}."


def cost_words(entry: RivalEntry) -> str:
    """Return what a prediction of a rival costs, compared with a network of the run."""
    cost = f"{inference_cost(1, entry.parameters)}, {operations_text(entry.operations)} for each image"
    if not entry.own_operations or not entry.own_network:
        return cost
    return f"{cost}, {entry.operations / entry.own_operations:.2g} times those of network {entry.own_network}"
