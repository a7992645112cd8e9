"""The section of the gain over the controls: the front against each control, under all attacks."""

from __future__ import annotations

from collections.abc import Sequence

from morel_search._format import percent
from morel_search.analysis.differences import difference_words
from morel_search.analysis.replication import Replicated
from morel_search.analysis.report.html import Section, paragraphs, section, text
from morel_search.analysis.report.seeds import (
    ACCURACIES,
    Claim,
    Reversal,
    reversal_reference,
    reversals,
    seed_clause,
)
from morel_search.analysis.verification import Network, Verification, compare

__all__ = ["gain_claims", "gain_sentences", "gains_section", "verified_claims"]


def gains_section(verification: Verification, replicated: Sequence[Replicated] = ()) -> Section | None:
    """Return the section of the gain over the controls; None without a verified, unflagged control."""
    gains = gain_sentences(verification, replicated)
    if not gains:
        return None
    lines = "".join(f"<div><dt>{text(name)}</dt><dd>{paragraphs(lines)}</dd></div>" for name, lines in gains)
    reversed_pairs = reversals(verified_claims(verification), replicated)
    caption = (
        f"Accuracies on {verification.images} test images under all attacks that ran. Each control is "
        "compared twice: with the most robust network of the front among those whose clean accuracy is at "
        "least the control's, and with the most accurate one among those whose robust accuracy is. These are "
        "selected by validation accuracies, so that the differences on test images are not biased; a "
        "selected network may be one that the verification found beaten. "
        "In parentheses: 95% intervals in points, for differences on the same images, and between seeds by "
        "Welch's t. Each interval holds by itself: of twenty, one misses the truth on average."
    )
    content = f'{reversal_reference(reversed_pairs)}<dl class="controls">{lines}</dl>'
    return section(
        "Gain over the controls",
        content,
        caption,
        "gains-verified",
        summary=_summary(verification, reversed_pairs),
    )


def verified_claims(verification: Verification) -> list[Claim]:
    """Return the differences between the front and the controls that the page states or shows.

    These are the gains, and the accuracies in which a network of the verified front is better than a control
    that it dominates, as the figure shows it.
    """
    claims = []
    for control in verification.controls:
        claims += gain_claims(verification, control)
        for network in verification.front:
            ahead = compare(network, control)
            if not network.label and min(difference.value for difference in ahead) >= 0:
                claims += [_claim(network, control, axis) for axis in (1, 0) if ahead[axis].value > 0]
    return claims


def gain_sentences(
    verification: Verification, replicated: Sequence[Replicated] = ()
) -> list[tuple[str, list[str]]]:
    """Compare each control with the front, at equal clean accuracy and at equal robust accuracy.

    The network of the front is selected by its validation accuracies, and the difference is measured on the
    test split: a selection on the test split would bias the difference in favour of the search.

    Returns:
        Name of the control and sentences, for each control without signs of gradient masking.
    """
    gains = []
    for control in verification.controls:
        clean, robust = control.accuracy
        sentences = [f"{percent(clean)} clean, {percent(robust)} robust."]
        claims = {claim.axis: claim for claim in gain_claims(verification, control)}
        for axis, equal in ((1, "clean"), (0, "robust")):
            claim = claims.get(axis)
            sentences.append(
                f"No searched network on the front has at least the same {equal} validation accuracy."
                if claim is None
                else f"At the same or higher {equal} validation accuracy, network {claim.network} has "
                f"{difference_words(claim.difference, ACCURACIES[axis])}{seed_clause(claim, replicated)}."
            )
        gains.append((control.label, sentences))
    return gains


def gain_claims(verification: Verification, control: Network) -> list[Claim]:
    """Return the differences between a control and the front: robust accuracy first, then clean accuracy."""
    able = [network for network in verification.unflagged if not network.label]
    claims = []
    for axis in (1, 0):
        equal = 1 - axis
        rivals = [network for network in able if network.validation[equal] >= control.validation[equal]]
        if rivals:
            best = max(rivals, key=lambda network: network.validation[axis])
            claims.append(_claim(best, control, axis))
    return claims


def _claim(network: Network, control: Network, axis: int) -> Claim:
    difference = compare(network, control)[axis]
    return Claim(network.name, control.label, control.name, axis, difference, "in the verification")


def _summary(verification: Verification, reversed_pairs: Sequence[Reversal]) -> str:
    """Name the controls over which there is a gain beyond chance, the others, and those reversed by seeds."""
    gained: list[str] = []
    not_gained: list[str] = []
    for control in verification.controls:
        beyond = any(claim.difference.low > 0 for claim in gain_claims(verification, control))
        (gained if beyond else not_gained).append(control.label)
    parts = [f"beyond chance over {', '.join(gained)}"] if gained else ["none beyond chance"]
    parts += [f"not over {', '.join(not_gained)}"] if gained and not_gained else []
    again = dict.fromkeys(reversal.claim.control for reversal in reversed_pairs)
    return "; ".join([*parts, *([f"reversed with other seeds: {', '.join(again)}"] if again else [])])
