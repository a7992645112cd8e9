"""The section of the replicates: mean, standard deviation and probability of being on the front."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from morel_search._format import attack_text, percent
from morel_search.analysis.replication import Replicated, replication_words
from morel_search.analysis.report.html import Cell, Section, figure_place, paragraphs, section, table
from morel_search.analysis.report.plotly_traces import Figure, layout_of, rounded, safe
from morel_search.analysis.run_data import RunData

__all__ = ["replicates_section"]


def replicates_section(replicated: Sequence[Replicated], run_data: RunData) -> Section | None:
    """Return the section of the replicates; None without a replicate."""
    if not replicated:
        return None
    caption = (
        f"Test accuracies in percent; robust accuracy under {attack_text(run_data.section('evaluation'))}. "
        "Small markers: single trainings with other seeds (replicates). Large markers: the mean of the "
        "replicates of a network; bars: one standard deviation. P(on front): the probability that a "
        "configuration is on the front when each configuration is trained once, estimated from the "
        "replicates, with a 95% interval (Wilson's, for the number of replicates)."
    )
    heads = [
        "network", "clean", "robust", "replicates", "mean clean", "±", "mean robust", "±", "P(on front)",
    ]  # fmt: skip
    rows = [_cells(network) for network in replicated]
    words = f'<div class="words">{paragraphs(replication_words(replicated))}</div>'
    content = f"{words}{figure_place('replicates', 'wide')}{table(heads, rows)}"
    figures = {"replicates": _figure(replicated)}
    return section("Replicates with other seeds", content, caption, "replicates", figures)


def _cells(network: Replicated) -> list[Cell]:
    count = len(network.points)
    of_all = f" of {count + network.failed}" if network.failed else ""
    return [
        (network.labelled_name, network.number),
        *(_cell(value) for value in network.own or (math.nan, math.nan)),
        (f"{count}{of_all}", count),
        *(_cell(value) for axis in range(2) for value in (network.mean[axis], network.spread[axis])),
        (network.chance_text, network.chance),
    ]


def _cell(value: float) -> Cell:
    return "–" if math.isnan(value) else (percent(value), value)


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
                    f"<b>{safe(network.labelled_name)}</b><br>{percent(network.mean[0])} clean, "
                    f"{percent(network.mean[1])} robust (test, mean)<br>"
                    f"P(on front): {network.chance_text}"
                    for network in networks
                ],
            }
        )  # fmt: skip
    return {"data": data, "layout": layout_of("clean accuracy (%)", "robust accuracy (%)", legend=True)}
