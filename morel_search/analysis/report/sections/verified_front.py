"""The section of the verified front: accuracies under all attacks on the test split, with intervals.

A slider shows the front at the other radii that were measured.
"""

from __future__ import annotations

from morel_search._format import area_text, format_number, number_of
from morel_search.analysis.attacks_run import (
    attack_counts,
    is_complete,
    missing_checks,
    search_attack_words,
    unverified,
    weakness,
)
from morel_search.analysis.report.html import Section, figure_place, paragraphs, section, text
from morel_search.analysis.report.plotly_traces import Figures
from morel_search.analysis.report.radius_figures import ATTACK, RadiusCurves, radius_curves, radius_figure
from morel_search.analysis.report.verified_figure import verified_figure
from morel_search.analysis.verification import Network, Verification
from morel_search.results.attack_names import MULTIPLES

__all__ = ["attack_words", "front_words", "verified_front_section"]


def verified_front_section(verification: Verification, epsilon: object = None) -> Section:
    """Return the section of the verified front.

    Args:
        verification: The verification.
        epsilon: The radius of the attacks, as in the space file; None where it is not known.
    """
    networks = verification.everyone
    flagged = [_flagged(network, flag) for network in networks for flag in network.flags]
    words = paragraphs(front_words(verification))
    notes = paragraphs([*missing_checks(verification), *weakness(verification), *flagged], "note")
    caption = (
        f"Accuracies on {verification.images} test images; robust accuracy is that under all attacks that "
        "ran. Bars: 95% intervals. Line: the border of what the networks of the search dominate. Hollow: "
        "undecided, neither better than every other network nor beaten, beyond chance. A beaten network on "
        "the line leads in one accuracy within chance. Networks outside the axes are named at the edge, with "
        "clean and robust accuracy."
    )
    if verification.mixtures:
        caption += (
            " Triangles: mixtures of two networks. Each of their predictions costs two forward passes; "
            "they are not part of the line, and beat no single network."
        )
    if verification.rivals:
        caption += " Stars: rivals, networks that this search did not train; they are not part of the line."
    curves = radius_curves(verification)
    slider, figures = ("", {}) if curves is None else _slider(verification, curves, epsilon)
    caption += f" {_slider_words(curves)}"
    content = f'{notes}{slider}{figure_place("verified", "wide")}<div class="words">{words}</div>'
    figures["verified"] = verified_figure(verification)
    summary = f"{verification.images} of {verification.all_images} test images"
    return section("Verified front", content, caption, "verified", figures, summary)


def _slider_words(curves: RadiusCurves | None) -> str:
    """Return a sentence on the slider, and on the networks that it leaves out."""
    if curves is None:
        return (
            "Robust accuracy at other attack radii was not measured, so there is no slider over the radius."
        )
    words = "The slider shows other attack radii, under one attack and on the images that it names."
    if curves.left_out:
        names = ", ".join(network.reference for network in curves.left_out)
        words += f" Left out there, because not measured at these radii on the same images: {names}."
    return words


def _slider(verification: Verification, curves: RadiusCurves, epsilon: object) -> tuple[str, Figures]:
    """Return the HTML of the slider, and the figures of its positions; ``radii`` has what they show."""
    figures: Figures = {}
    positions = []
    for index, multiple in enumerate(MULTIPLES):
        name = "verified" if multiple == 1 else f"radius-{multiple:g}"
        if multiple == 1:
            note = f"All attacks that ran, on {verification.images} test images."
        else:
            figures[name] = radius_figure(verification, curves, index)
            note = (
                f"{ATTACK} alone, on {curves.images} test images; clean accuracy is that of the same images. "
                "One attack finds fewer adversarial examples than all attacks together: do not compare these "
                "figures with those at 1 ε."
            )
        positions.append({"figure": name, "radius": _radius(multiple, epsilon), "note": note})
    start = MULTIPLES.index(1.0)
    figures["radii"] = {"positions": positions}
    shown = positions[start]
    html = (
        '<div class="filter" id="radius-choice" hidden><label for="attack-radius">Attack radius</label> '
        f'<input type="range" id="attack-radius" min="0" max="{len(MULTIPLES) - 1}" step="1" value="{start}" '
        f'autocomplete="off" aria-valuetext="{text(shown["radius"])}" aria-describedby="radius-note"> '
        f'<output for="attack-radius" id="radius-shown">{text(shown["radius"])}</output>'
        f'<p id="radius-note" aria-live="polite">{text(shown["note"])}</p></div>'
    )
    return html, figures


def _radius(multiple: float, epsilon: object) -> str:
    """Return a radius as ``0.5 ε = 4/255``; without a known epsilon as ``0.5 ε``."""
    number = number_of(epsilon)
    return f"{multiple:g} ε" + ("" if number is None else f" = {format_number(multiple * number)}")


def front_words(verification: Verification) -> list[str]:
    """Return sentences on the attacks and the images of the verification, and on the hypervolume."""
    images = verification.images
    count = f"all {images}" if images == verification.all_images else f"{images} of {verification.all_images}"
    more = "" if is_complete(verification) else " The command verify attacks the images that are left."
    before, after = verification.hypervolumes
    area = area_text(after, verification.hypervolume_interval)
    return [
        f"Each network was attacked on {count} test images: {attack_counts(verification)}. PGD is the attack "
        f"of the search.{more}",
        *unverified(verification),
        f"The hypervolume of these networks above (0, 0), without flagged ones, is {area} on the "
        "test images. On the validation images, under the attack of the search, "
        f"that of the front was {before:.4f}.",
    ]


def attack_words(verification: Verification) -> list[str]:
    """Return sentences on the attack of the search, and on how the verdicts are made."""
    lines = [search_attack_words(verification)]
    if len(verification.networks) > 1:
        lines.append(
            "A network is on the front if it is better than every other network in at least one accuracy. It "
            "is beaten if another network is better in one accuracy and, in the other, worse by less than a "
            "margin (the resolution of the test, at most half of the gain, at least one point). In all other "
            "cases it is undecided. The probability that one or more of these verdicts are wrong is at most "
            "5% (McNemar's test and intervals of differences on the same images, Bonferroni correction for "
            "all pairs of networks and both accuracies)."
        )
    return lines


def _flagged(network: Network, flag: str) -> str:
    removed = " and removed from the front" if network.member else ""
    return f"{network.title} is flagged for gradient masking{removed}. {flag[0].upper()}{flag[1:]}."
