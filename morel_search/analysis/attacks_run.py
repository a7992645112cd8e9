"""Sentences on the attacks of a verification: images of each, missing checks, and the search's attack."""

from __future__ import annotations

from collections.abc import Iterable

from morel_search._format import listed, points
from morel_search.analysis.intervals import wilson
from morel_search.analysis.verification import Verification
from morel_search.results.attack_names import STAGES

__all__ = [
    "attack_counts",
    "attack_title",
    "is_complete",
    "missing_checks",
    "search_attack_words",
    "unverified",
    "weakness",
]

WEAK_POINTS, WEAK_RANKS = 0.03, 0.8
"""Mean overestimate of robust accuracy above which, and rank correlation below which, an attack is weak."""


def attack_counts(verification: Verification) -> str:
    """Return ``FGSM, PGD and APGD-CE on 300 images; FAB-T on 120 images; Square not run``."""
    groups: dict[int, list[str]] = {}
    for attack, images in verification.attacked.items():
        groups.setdefault(images, []).append(attack_title(attack))
    groups.setdefault(verification.transfer_images, []).append("transferred examples")
    absent = groups.pop(0, [])
    ran = [f"{listed(names)} on {images} images" for images, names in groups.items()]
    return "; ".join([*ran, *([f"{listed(absent)} not run"] if absent else [])])


def missing_checks(verification: Verification) -> list[str]:
    """Return a sentence for each attack that failed, and for each black-box check that is missing."""
    sentences = []
    networks = verification.everyone
    for attack in STAGES:
        failed = [network for network in networks if attack in network.not_run]
        if failed:
            where = "" if len(failed) == len(networks) else _on(network.labelled_name for network in failed)
            sentences.append(f"{attack_title(attack)} could not be run{where}: {failed[0].not_run[attack]}.")
    without = [network.labelled_name for network in networks if not network.diagnostics.transfer]
    square = verification.attacked.get("square", 0) > 0
    if not square and len(without) == len(networks):
        sentences.append("The black-box check is missing: neither Square nor transferred examples were run.")
    elif not square:
        sentences.append("The black-box check by Square is missing: it was not run.")
    if without and len(without) < len(networks):
        sentences.append(f"The black-box check by transferred examples is missing{_on(without)}.")
    elif without and square:
        sentences.append("The black-box check by transferred examples is missing: there is no other network.")
    return sentences


def unverified(verification: Verification) -> list[str]:
    """Return a sentence that names the networks that were not verified; empty without any."""
    names = [f"{entry.name} ({entry.label})" if entry.label else entry.name for entry in verification.absent]
    names += [entry.name for entry in verification.absent_mixtures]
    names += [f"{entry.name} (rival)" for entry in verification.absent_rivals]
    return [f"Not verified yet: {', '.join(names)}."] if names else []


def is_complete(verification: Verification, wanted: int | None = None) -> bool:
    """Return whether every network was attacked with every attack that can be run.

    Args:
        verification: The verification.
        wanted: Number of images; None for all of the test split.
    """
    images = min(wanted or verification.all_images, verification.all_images)
    failed = {attack for network in verification.networks for attack in network.not_run}
    ran = [count for attack, count in verification.attacked.items() if attack not in failed]
    absent = (*verification.absent, *verification.absent_mixtures, *verification.absent_rivals)
    return not absent and min(ran) >= images


def weakness(verification: Verification) -> list[str]:
    """Return a warning when the attack of the search was too weak, with the settings of stronger attacks."""
    ranks = verification.rank_correlation
    if verification.overestimate <= WEAK_POINTS and (ranks is None or ranks >= WEAK_RANKS):
        return []
    return [
        "The attack of this search was too weak to compare networks. For a stronger attack raise "
        "evaluation.final_steps or evaluation.final_restarts; where evaluation.final_steps is 0, set it "
        "to 20."
    ]


def search_attack_words(verification: Verification) -> str:
    """Compare the final attack of the search with the attacks of the verification, on the same images."""
    ranks, gaps = verification.rank_correlation, verification.overestimates
    largest = max(range(len(gaps)), key=lambda index: gaps[index])
    correlation = (
        "The rank correlation is not defined (fewer than three networks, or equal accuracies)"
        if ranks is None
        else f"Spearman's rank correlation of both is {ranks:.2f} (1 is the same order)"
    )
    # The mean over the networks lies in [0, 1] on each image, so Wilson's interval is rather too wide.
    low, high = wilson(verification.overestimate * verification.images, verification.images)
    most = f"at most by {points(gaps[largest])} ({verification.networks[largest].labelled_name})"
    return (
        "The search's final attack gives a higher robust accuracy than all attacks that ran, on the same "
        f"test images: on average by {points(verification.overestimate)} (95% interval {100 * low:.1f} to "
        f"{100 * high:.1f}), {most}. {correlation}."
    )


def attack_title(attack: str) -> str:
    """Return the name of an attack for a reader, such as ``APGD-T`` or ``Square``."""
    return "Square" if attack == "square" else attack.upper()


def _on(names: Iterable[str]) -> str:
    names = list(names)
    return f" on network{'s' if len(names) > 1 else ''} {listed(names)}"
