"""The verified front at other radii of the attack: one figure for each measured radius.

At epsilon the verification runs all attacks. At the other radii one attack ran, on some of the images: PGD,
among the checks for gradient masking. The two are never drawn in one figure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from morel_search._format import with_interval
from morel_search.analysis.intervals import wilson
from morel_search.analysis.report.axes import Limits, border, edge_label, limits_around, points_along
from morel_search.analysis.report.labels import place_labels
from morel_search.analysis.report.plotly_traces import (
    Figure,
    annotation,
    bars,
    layout_of,
    line,
    rounded,
    safe,
    short,
)
from morel_search.analysis.report.verified_figure import MARGIN, MARKERS, groups
from morel_search.analysis.verification import Network, Verification
from morel_search.results.attack_names import CURVE_STEPS, MULTIPLES

__all__ = ["ATTACK", "RadiusCurves", "radius_curves", "radius_figure"]

ATTACK = f"PGD with {CURVE_STEPS} steps"
"""The attack at the other radii; see :func:`morel_search.verification.masking.diagnose_masking`."""

SEARCHED = "networks of the search"
"""Name in the legend of the groups of :data:`_VERDICTS`, which are one here: the verdicts hold at epsilon."""

FEW = 20
"""Largest number of networks that all have a label, which also avoids the intervals. Of more, the networks of
the search that are not on the line have none: placing all labels of 66 networks at seven radii took 14 s.
"""

_VERDICTS = ("on the front", "undecided", "beaten")


@dataclass(frozen=True, slots=True)
class RadiusCurves:
    """The networks whose accuracies at every radius are known on the same images.

    Attributes:
        networks: These networks.
        images: Number of the images.
        left_out: The other networks.
    """

    networks: tuple[Network, ...]
    images: int
    left_out: tuple[Network, ...]


@dataclass(frozen=True, slots=True)
class _Place:
    """Clean and robust accuracy of a network at one radius, as fractions, with their intervals."""

    network: Network
    accuracy: tuple[float, float]
    intervals: tuple[tuple[float, float], tuple[float, float]]

    @property
    def percent(self) -> tuple[float, float]:
        return 100 * self.accuracy[0], 100 * self.accuracy[1]


def radius_curves(verification: Verification) -> RadiusCurves | None:
    """Return the networks that are drawn at other radii; None if no network of the front is among them."""
    known = [
        network
        for network in verification.everyone
        if network.diagnostics.curve and network.curve_clean is not None
    ]
    if not known:
        return None
    ((images, _),) = Counter(network.diagnostics.images for network in known).most_common(1)
    networks = tuple(network for network in known if network.diagnostics.images == images)
    if not any(network.member and not network.flags for network in networks):
        return None
    left_out = tuple(network for network in verification.everyone if network not in networks)
    return RadiusCurves(networks, images, left_out)


def radius_figure(verification: Verification, curves: RadiusCurves, index: int) -> Figure:
    """Draw clean accuracy against the robust accuracy at one of :data:`MULTIPLES`, with intervals.

    Args:
        verification: The verification.
        curves: The networks that are drawn.
        index: Index of the radius in :data:`MULTIPLES`.
    """
    places = {network.name: _place(network, index) for network in curves.networks}
    grouped = _groups(verification, places)
    front = [place for place in places.values() if place.network.member and not place.network.flags]
    around = [place for name in (SEARCHED, "mixtures", "rivals") for place in grouped[name]]
    ends = [100 * np.array(place.intervals).T for place in [*around, *front]]
    limits = limits_around(np.concatenate(ends), MARGIN)
    steps = border([place.percent for place in front], limits)
    data: list[Figure] = [{**line(*steps, "@front", 1.6), "name": "front", "showlegend": False}]
    data += [_trace(name, group, index, curves.images) for name, group in grouped.items() if group]
    layout = layout_of(
        "clean accuracy (%)", f"robust accuracy under PGD at {MULTIPLES[index]:g} ε (%)", legend=True
    )
    layout["xaxis"]["range"], layout["yaxis"]["range"] = [list(pair) for pair in limits]
    layout["annotations"] = _labels(grouped, limits, steps)
    return {"data": data, "layout": layout}


def _place(network: Network, index: int) -> _Place:
    images = network.diagnostics.images
    assert network.curve_clean is not None
    robust = round(network.diagnostics.curve[index] * images)
    return _Place(
        network,
        (network.curve_clean / images, robust / images),
        (wilson(network.curve_clean, images), wilson(robust, images)),
    )


def _groups(verification: Verification, places: dict[str, _Place]) -> dict[str, list[_Place]]:
    """Return the places by the name of their group in the legend."""
    grouped: dict[str, list[_Place]] = {SEARCHED: []}
    for name, networks in groups(verification).items():
        shown = [places[network.name] for network in networks if network.name in places]
        grouped.setdefault(SEARCHED if name in _VERDICTS else name, []).extend(shown)
    return grouped


def _marker(name: str) -> Figure:
    return MARKERS.get(name, MARKERS["on the front"])


def _trace(name: str, places: Sequence[_Place], index: int, images: int) -> Figure:
    marker = _marker(name)
    error = [
        bars([place.accuracy[axis] for place in places], [place.intervals[axis] for place in places],
             str(marker["color"]))
        for axis in range(2)
    ]  # fmt: skip
    hover = [
        f"<b>{safe(place.network.title)}</b><br>{images} test images, {ATTACK} alone, {MULTIPLES[index]:g} ε:"
        f"<br>{with_interval(place.accuracy[0], place.intervals[0])} clean<br>"
        f"{with_interval(place.accuracy[1], place.intervals[1])} robust"
        for place in places
    ]
    return {
        "type": "scatter", "mode": "markers", "name": name,
        "x": rounded([place.percent[0] for place in places], 3),
        "y": rounded([place.percent[1] for place in places], 3),
        "error_x": error[0], "error_y": error[1], "marker": marker, "hoverinfo": "text", "hovertext": hover,
        "customdata": [None if place.network.number < 0 else place.network.number for place in places],
    }  # fmt: skip


def _labels(
    grouped: dict[str, list[_Place]], limits: Limits, steps: tuple[list[float], list[float]]
) -> list[Figure]:
    few = sum(map(len, grouped.values())) <= FEW
    corners = set(zip(*steps, strict=True))
    named = [
        (edge_label(*place.percent, short(place.network.label or place.network.name), limits), name)
        for name, places in grouped.items()
        for place in places
        if few or name != SEARCHED or tuple(rounded(place.percent, 3)) in corners
    ]
    shown = [place for places in grouped.values() for place in places]
    marks = [place.percent for place in shown] + list(points_along(*steps, limits))
    thin: list[tuple[float, float]] = []
    for place in shown if few else ():
        (x, y), (across, up) = (
            place.percent,
            [[100 * end for end in interval] for interval in place.intervals],
        )
        thin += [*points_along(across, (y, y), limits), *points_along((x, x), up, limits)]
    placed = place_labels([label for label, _ in named], limits, marks, thin=thin)
    return [
        annotation(*label, str(_marker(name)["color"]), place)
        for (label, name), place in zip(named, placed, strict=True)
    ]
