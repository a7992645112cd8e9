"""The section of the radius: robust accuracy under PGD against the radius of the attack."""

from __future__ import annotations

from collections.abc import Sequence

from morel_search.analysis.report.curves import some_of, subset_words
from morel_search.analysis.report.html import Section, figure_place, section
from morel_search.analysis.report.plotly_traces import Figure, layout_of, line, rounded, safe, short
from morel_search.analysis.verification import Network, Verification
from morel_search.results.attack_names import MULTIPLES

__all__ = ["radius_section"]

MOST_CURVES = 12
"""Largest number of networks of the front in the figure; it has all controls."""

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "triangle-down", "cross", "x", "star")
"""Markers of the curves, so that they differ without colour as well."""


def radius_section(verification: Verification, epsilon: str) -> Section | None:
    """Return the section of the radius; None without a measured curve.

    Args:
        verification: The verification.
        epsilon: The radius of the attacks, as in the space file.
    """
    if not _drawable(verification.networks):
        return None
    images = min(network.diagnostics.images for network in verification.networks)
    caption = (
        f"Robust accuracy under PGD at several radii, on {images} test images; radius 1 is ε = {epsilon}. A "
        "curve that does not fall with the radius is a sign of gradient masking. Solid: the networks of the "
        "front, from the most accurate on clean images (ochre) to the most robust (blue); dotted: controls."
    )
    caption += subset_words(len(_drawable(verification.members)), MOST_CURVES, "networks of the front")
    content, figures = figure_place("radius", "wide tall"), {"radius": _figure(verification)}
    flagged = verification.flagged
    summary = (
        f"flagged for gradient masking: {', '.join(flagged)}" if flagged else "no sign of gradient masking"
    )
    return section("Robust accuracy against the radius", content, caption, "radius", figures, summary)


def _drawable(networks: Sequence[Network]) -> list[Network]:
    return [network for network in networks if network.diagnostics.curve]


def _figure(verification: Verification) -> Figure:
    """Draw robust accuracy over the radius.

    The clean accuracy of these images alone is not recorded, so a curve begins at the smallest radius.
    """
    members = some_of(_drawable(verification.members), MOST_CURVES)
    shown = [*members, *_drawable([network for network in verification.networks if not network.member])]
    data = []
    for index, network in enumerate(shown):
        values = rounded([100 * value for value in network.diagnostics.curve], 2)
        share = members.index(network) / max(1, len(members) - 1) if network.member else 0.0
        colour = f"@mix{share:.3f}" if network.member else "@control"
        pen = line(MULTIPLES, values, colour, 1.6, "solid" if network.member else "dot")
        hover = f"<b>{safe(network.title)}</b><br>%{{x}} ε: %{{y:.1f}}%<extra></extra>"
        marker = {"color": colour, "size": 7, "symbol": SYMBOLS[index % len(SYMBOLS)]}
        data.append(
            {
                **pen, "mode": "lines+markers", "marker": marker, "hoverinfo": "all",
                "hovertemplate": hover, "name": safe(short(network.label or network.name)),
            }
        )  # fmt: skip
    layout = layout_of("radius, in units of ε", "robust accuracy (%)", legend=True)
    layout["xaxis"]["range"] = [0, MULTIPLES[-1] * 1.02]
    return {"data": data, "layout": layout}
