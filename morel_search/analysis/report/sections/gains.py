"""The section of the gain over the controls: the front against each control, under all attacks."""

from __future__ import annotations

from collections.abc import Sequence

from morel_search._format import percent, points
from morel_search.analysis.intervals import Difference
from morel_search.analysis.report.html import Section, section, text
from morel_search.analysis.verification import Network, Verification, compare

__all__ = ["gain_sentences", "gains_section"]


def gains_section(verification: Verification) -> Section | None:
    """Return the section of the gain over the controls; None without a verified, unflagged control."""
    gains = gain_sentences(verification)
    if not gains:
        return None
    lines = "".join(f"<div><dt>{text(name)}</dt><dd>{text(sentence)}</dd></div>" for name, sentence in gains)
    caption = (
        "Test accuracies under all attacks; differences on the same images, with 95% intervals in points. "
        "Each interval holds by itself; their family-wise error is not controlled."
    )
    return section("Gain over the controls", f'<dl class="controls">{lines}</dl>', caption, "gains")


def gain_sentences(verification: Verification) -> list[tuple[str, str]]:
    """Compare each control with the front, at equal clean accuracy and at equal robust accuracy.

    The network of the front is selected by its validation accuracies, and the difference is measured on the
    test split: a selection on the test split would bias the difference in favour of the search.

    Returns:
        Name of the control and sentences, for each control without signs of gradient masking.
    """
    gains = []
    for control in verification.networks:
        if not control.label or control.flags:
            continue
        clean, robust = control.accuracy
        sentences = [f"{percent(clean)} clean, {percent(robust)} robust."]
        able = [network for network in verification.unflagged if not network.label]
        as_clean, as_robust = (
            [network for network in able if network.validation[axis] >= control.validation[axis]]
            for axis in range(2)
        )
        sentences.append(_gain("clean", "robust", as_clean, control, 1))
        sentences.append(_gain("robust", "clean", as_robust, control, 0))
        gains.append((control.label or control.name, " ".join(sentences)))
    return gains


def _gain(equal: str, gained: str, able: Sequence[Network], control: Network, axis: int) -> str:
    if not able:
        return f"No searched network on the front has at least the same {equal} validation accuracy."
    best = max(able, key=lambda network: network.validation[axis])
    return (
        f"At the same or higher {equal} validation accuracy: network {best.name}, "
        f"{_difference(compare(best, control)[axis], gained)}."
    )


def _difference(difference: Difference, gained: str) -> str:
    direction = "more" if difference.value >= 0 else "less"
    return (
        f"{points(abs(difference.value))} {direction} {gained} accuracy "
        f"({100 * difference.low:+.1f} to {100 * difference.high:+.1f})"
    )
