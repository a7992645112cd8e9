"""The section of the replicates: mean, standard deviation and probability of being on the front."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from morel_search._format import percent, points
from morel_search.analysis.replication import Replicated
from morel_search.analysis.report.html import figure_place, section, table, text
from morel_search.analysis.report.plotly_traces import Figure, Figures, layout_of, rounded, safe

__all__ = ["replication_section", "replication_text", "replication_words"]

LIKELY = 0.5
"""Probability from which a network is listed as likely to be on the front."""


def replication_section(replicated: Sequence[Replicated], attack: str, figures: Figures) -> str:
    """Return the section of the replicates.

    Args:
        replicated: The networks, at least one.
        attack: The attack of the search, as text.
        figures: Figures of the page; the figure of this section is added.
    """
    figures["replicates"] = _figure(replicated)
    words = "".join(f"<p>{text(sentence)}</p>" for sentence in replication_words(replicated))
    caption = (
        f"Test accuracies in percent; robust accuracy under {attack}. Small markers: single trainings with "
        "other "
        "seeds (replicates). Large markers: the mean of the replicates of a network; bars: one standard "
        "deviation. "
        "P(on front): the probability that a configuration is on the front when each configuration is "
        "trained once, "
        "estimated from the replicates."
    )
    heads = ["network", "clean", "robust", "replicates", "mean clean", "±", "mean robust", "±", "P(on front)"]
    rows = [
        [
            (_name(network), network.number),
            *(_cell(value) for value in network.own or (math.nan, math.nan)),
            (
                str(len(network.points))
                + (f" of {len(network.points) + network.failed}" if network.failed else ""),
                len(network.points),
            ),
            *(_cell(value) for axis in range(2) for value in (network.mean[axis], network.spread[axis])),
            _cell(network.chance),
        ]
        for network in replicated
    ]
    content = f'<div class="words">{words}</div>{figure_place("replicates", "wide")}{table(heads, rows)}'
    return section("Replicates with other seeds", content, caption, "replicates")


def replication_words(replicated: Sequence[Replicated]) -> list[str]:
    """Return sentences on the effect of the seed, the selection bias, and the probabilities of the front."""
    lines = []
    spreads = np.array([network.spread for network in replicated if len(network.points) > 1])
    if len(spreads):
        clean, robust = np.sqrt((spreads**2).mean(axis=0))
        lines.append(
            f"Between seeds, the standard deviation of clean accuracy is {points(clean)} and that of robust "
            f"accuracy is {points(robust)}."
        )
    biases = np.array(
        [
            np.subtract(network.own, network.mean)
            for network in replicated
            if network.member and network.own is not None and len(network.points)
        ]
    )
    if len(biases):
        clean, robust = biases.mean(axis=0)
        lines.append(
            f"On average, the networks of the front have {_more(clean)} clean accuracy and {_more(robust)} "
            "robust "
            "accuracy than their replicates."
        )
    members = [network for network in replicated if network.member]
    if members:
        likely = [network.name for network in members if network.chance >= LIKELY]
        unlikely = [network.name for network in members if network.chance < LIKELY]
        lines.append(
            f"Networks whose probability of being on the front again is at least {percent(LIKELY)}: "
            f"{', '.join(likely) or 'none'}; below {percent(LIKELY)}: {', '.join(unlikely) or 'none'}."
        )
    if failed := sum(network.failed for network in replicated):
        lines.append(f"{failed} of the trainings failed; the reasons are in replicates.csv.")
    return lines


def replication_text(replicated: Sequence[Replicated]) -> str:
    """Return the replicates as a table for the terminal."""
    width = max(7, *(len(network.name) for network in replicated))
    rows = ["", "replicates with other seeds: test accuracy, robust under the attack of the search", ""]
    rows.append(f"{'network':>{width}}  {'':<13} {'clean':>15} {'robust':>15} {'P(on front)':>12}")
    for network in replicated:
        cells = []
        for mean, spread in zip(network.mean, network.spread, strict=True):
            if math.isnan(mean):
                cells.append("–")
            else:
                cells.append(percent(mean) if math.isnan(spread) else f"{percent(mean)} ± {percent(spread)}")
        rows.append(
            f"{network.name:>{width}}  {network.label:<13.13} {cells[0]:>15} {cells[1]:>15} "
            f"{percent(network.chance):>12}"
        )
    return "\n".join([*rows, *replication_words(replicated), ""])


def _name(network: Replicated) -> str:
    return f"{network.name} ({network.label})" if network.label else network.name


def _cell(value: float) -> str | tuple[str, float]:
    return "–" if math.isnan(value) else (percent(value), value)


def _more(value: float) -> str:
    return f"{points(value)} {'more' if value >= 0 else 'less'}"


def _figure(replicated: Sequence[Replicated]) -> Figure:
    data: list[Figure] = []
    known = [network for network in replicated if len(network.points)]
    groups = (
        ("front", [network for network in known if network.member], "@front", "circle"),
        ("controls", [network for network in known if not network.member], "@control", "diamond"),
    )
    for name, networks, colour, symbol in groups:
        if not networks:
            continue
        single = np.concatenate([network.points for network in networks])
        data.append(
            {
                "type": "scatter", "mode": "markers", "x": rounded(100 * single[:, 0], 3),
                "y": rounded(100 * single[:, 1], 3),
                "marker": {"color": colour, "size": 4, "symbol": symbol}, "opacity": 0.45,
                "showlegend": False, "hoverinfo": "skip",
            }
        )  # fmt: skip
        means, spreads = (
            np.array([getattr(network, statistic) for network in networks])
            for statistic in ("mean", "spread")
        )
        bars = [
            {
                "type": "data",
                "array": rounded(100 * np.nan_to_num(spreads[:, axis]), 3),
                "color": colour,
                "thickness": 0.8,
                "width": 0,
            }
            for axis in range(2)
        ]
        data.append(
            {
                "type": "scatter", "mode": "markers+text", "name": name, "x": rounded(100 * means[:, 0], 3),
                "y": rounded(100 * means[:, 1], 3), "error_x": bars[0], "error_y": bars[1],
                "marker": {"color": colour, "size": 9, "symbol": symbol}, "textposition": "top right",
                "text": [safe(network.label or network.name) for network in networks],
                "textfont": {"color": colour, "size": 11}, "hoverinfo": "text",
                "hovertext": [
                    f"<b>{safe(_name(network))}</b><br>{percent(network.mean[0])} clean, "
                    f"{percent(network.mean[1])} robust (test, mean)<br>"
                    f"P(on front): {percent(network.chance)}"
                    for network in networks
                ],
            }
        )  # fmt: skip
    return {"data": data, "layout": layout_of("clean accuracy (%)", "robust accuracy (%)", legend=True)}
