"""The verified front as a figure: test accuracies with intervals, and the networks by their verdict."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from morel_search._format import inference_cost, with_interval
from morel_search.analysis.report.axes import Label, Limits, border, edge_label, limits_around, points_along
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
from morel_search.analysis.verification import Network, Verification

__all__ = [
    "MARGIN",
    "MARKERS",
    "groups",
    "labels",
    "obstacles",
    "verified_figure",
    "verified_limits",
    "verified_steps",
]

MARGIN = 0.06
"""Room around the intervals of the front, as a share of their range."""

MARKERS: dict[str, Figure] = {
    "on the front": {"color": "@front", "size": 10},
    "undecided": {"color": "@front", "size": 10, "symbol": "circle-open", "line": {"width": 2}},
    "beaten": {"color": "@dot", "size": 8},
    "controls": {"color": "@control", "size": 10, "symbol": "diamond"},
    "mixtures": {"color": "@front", "size": 11, "symbol": "triangle-up"},
    "rivals": {"color": "@ink", "size": 12, "symbol": "star"},
    "flagged": {"color": "@control", "size": 9, "symbol": "x-thin-open", "line": {"width": 2}},
}
"""Markers of the groups of networks, by the name of the group in the legend."""


def verified_figure(verification: Verification) -> Figure:
    """Draw the verified networks with their intervals, and the border of what the members dominate."""
    limits = verified_limits(verification)
    data: list[Figure] = []
    if verification.unflagged:
        data.append(
            {
                **line(*verified_steps(verification, limits), "@front", 1.6),
                "name": "front",
                "showlegend": False,
            }
        )
    grouped = groups(verification)
    data += [_trace(name, networks) for name, networks in grouped.items() if networks]
    layout = layout_of("clean accuracy (%)", "robust accuracy (%)", legend=True)
    layout["xaxis"]["range"], layout["yaxis"]["range"] = [list(pair) for pair in limits]
    named = labels(verification, limits)
    marks, thin = obstacles(verification, limits)
    placed = place_labels([label for label, _ in named], limits, marks, thin=thin)
    layout["annotations"] = [
        annotation(*label, "@muted" if group == "beaten" else str(MARKERS[group]["color"]), place)
        for (label, group), place in zip(named, placed, strict=True)
    ]
    return {"data": data, "layout": layout}


def groups(verification: Verification) -> dict[str, list[Network]]:
    """Return the networks by the group of their marker, the key of :data:`MARKERS`."""
    grouped: dict[str, list[Network]] = {name: [] for name in MARKERS}
    for network in verification.everyone:
        kind = verification.kind(network)
        if network.members and kind != "flagged":
            grouped["mixtures"].append(network)
        elif network.rival and kind != "flagged":
            grouped["rivals"].append(network)
        elif network.label and kind != "flagged":
            grouped["controls"].append(network)
        else:
            grouped[kind].append(network)
    return grouped


def verified_limits(verification: Verification) -> Limits:
    """Return the ranges of the axes, in percent: around the intervals of the front that the search found.

    Members that the verification calls beaten are inside, so that the whole trade-off is seen; controls that
    are not on the front are named at the edge.
    """
    shown = verification.members or list(verification.networks)
    shown = [*shown, *verification.mixtures, *(rival for rival in verification.rivals if not rival.flags)]
    ends = [100 * np.array(network.intervals).T for network in shown]
    return limits_around(np.concatenate(ends), MARGIN)


def verified_steps(verification: Verification, limits: Limits) -> tuple[list[float], list[float]]:
    """Return the border of the region that the unflagged members dominate by their accuracies, in percent.

    A member on it may be beaten all the same: its lead in one accuracy is then within chance.
    """
    return border([_place(network) for network in verification.unflagged], limits)


def labels(verification: Verification, limits: Limits) -> list[tuple[Label, str]]:
    """Return the label of each network with its group; those outside the axes are named at the edge."""
    return [
        (edge_label(*_place(network), short(network.label or network.name), limits), group)
        for group, networks in groups(verification).items()
        for network in networks
    ]


def obstacles(
    verification: Verification, limits: Limits
) -> tuple[list[tuple[float, float]], list[tuple[float, float]]]:
    """Return the points that a label should not cover: of markers and steps, and along the intervals."""
    thin: list[tuple[float, float]] = []
    networks = verification.everyone
    marks = [_place(network) for network in networks]
    for network in networks:
        (x, y), (across, up) = _place(network), (tuple(100 * np.array(ends)) for ends in network.intervals)
        thin += [*points_along(across, (y, y), limits), *points_along((x, x), up, limits)]
    if verification.unflagged:
        marks += points_along(*verified_steps(verification, limits), limits)
    return marks, thin


def _place(network: Network) -> tuple[float, float]:
    clean, robust = network.accuracy
    return 100 * clean, 100 * robust


def _trace(name: str, networks: Sequence[Network]) -> Figure:
    marker = MARKERS[name]
    clean, robust = ([network.accuracy[axis] for network in networks] for axis in range(2))
    colour = str(marker["color"])
    error = [bars(values, [network.intervals[axis] for network in networks], colour)
             for axis, values in enumerate((clean, robust))]  # fmt: skip
    if name in ("beaten", "controls"):
        error = [{**bar, "thickness": 0.5} for bar in error]
    hover = [
        f"<b>{safe(network.title)}</b><br>test, all attacks that ran:<br>"
        f"{with_interval(network.accuracy[0], network.intervals[0])} clean<br>"
        f"{with_interval(network.accuracy[1], network.intervals[1])} robust{_cost(network)}"
        for network in networks
    ]
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": rounded(np.multiply(clean, 100), 3),
        "y": rounded(np.multiply(robust, 100), 3), "error_x": error[0], "error_y": error[1],
        "marker": marker, "hoverinfo": "text", "hovertext": hover,
        "customdata": [None if network.number < 0 else network.number for network in networks],
    }  # fmt: skip


def _cost(network: Network) -> str:
    return f"<br>{inference_cost(network.passes, network.parameters)}" if network.parameters else ""
