"""The section of the radius: robust accuracy under PGD against the radius of the attack."""

from __future__ import annotations

from collections.abc import Sequence

from morel_search.analysis.report.html import Section, figure_place, section, text
from morel_search.analysis.report.plotly_traces import Figure, colour_of, layout_of, line, rounded
from morel_search.analysis.verification import Verification
from morel_search.results.attack_names import MULTIPLES

__all__ = ["radius_section"]

MOST_CURVES, LABEL_GAP = 12, 6.5
"""Largest number of curves in the figure, and smallest distance of their labels in percentage points."""


def radius_section(verification: Verification, epsilon: str) -> Section | None:
    """Return the section of the radius; None without a measured curve.

    Args:
        verification: The verification.
        epsilon: The radius of the attacks, as in the space file.
    """
    if not any(network.diagnostics.curve for network in verification.networks):
        return None
    images = min(network.diagnostics.images for network in verification.networks)
    caption = (
        f"Robust accuracy under PGD at several radii, on {images} test images; radius 1 is ε = {epsilon}. A "
        "curve that does not fall with the radius is a sign of gradient masking."
    )
    content, figures = figure_place("radius", "wide"), {"radius": _figure(verification, MULTIPLES)}
    return section("Robust accuracy against the radius", content, caption, "radius", figures)


def _figure(verification: Verification, multiples: Sequence[float]) -> Figure:
    """Draw robust accuracy over the radius.

    The clean accuracy of these images alone is not recorded, so a curve begins at the smallest radius.
    """
    shown = [network for network in verification.networks if network.diagnostics.curve][:MOST_CURVES]
    data = []
    for network in shown:
        values = rounded([100 * value for value in network.diagnostics.curve], 2)
        pen = line(
            list(multiples),
            values,
            colour_of(member=network.member),
            1.4 if network.member else 1.2,
            "solid" if network.member else "dot",
        )
        hover = f"<b>{text(network.title)}</b><br>%{{x}} ε: %{{y:.1f}}%<extra></extra>"
        data.append({**pen, "hoverinfo": "all", "hovertemplate": hover, "showlegend": False, "opacity": 0.85})
    layout = layout_of("radius, in units of ε", "robust accuracy (%)", legend=False)
    begins = [100 * network.diagnostics.curve[0] for network in shown]
    layout["annotations"] = [
        {"x": multiples[0], "y": place, "text": text(network.label or network.name), "showarrow": False,
         "xanchor": "right", "xshift": -6, "font": {"size": 10, "color": colour_of(member=network.member)}}
        for network, place in zip(shown, _apart(begins, LABEL_GAP), strict=True)
    ]  # fmt: skip
    layout["xaxis"]["range"] = [0, multiples[-1] * 1.01]
    return {"data": data, "layout": layout}


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """Return positions for labels: each at its value, or lower where it would overlap the label above it."""
    places, above = dict[int, float](), float("inf")
    for index in sorted(range(len(values)), key=lambda label: -values[label]):
        above = places[index] = min(values[index], above - gap)
    return [places[index] for index in range(len(values))]
