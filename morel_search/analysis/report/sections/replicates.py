"""The section of the replicates: mean, standard deviation and probability of being on the front."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from morel_search._format import attack_text, percent
from morel_search.analysis.replication import Replicated, replication_words
from morel_search.analysis.report.axes import Limits, edge_label, limits_around, points_along
from morel_search.analysis.report.html import Cell, Section, figure_place, paragraphs, section, table
from morel_search.analysis.report.labels import place_labels
from morel_search.analysis.report.plotly_traces import Figure, annotation, layout_of, rounded, safe, short
from morel_search.analysis.report.seeds import Reversal, reversal_notes
from morel_search.analysis.run_data import RunData

__all__ = ["replicates_section"]


def replicates_section(
    replicated: Sequence[Replicated], run_data: RunData, again: Sequence[Reversal] = ()
) -> Section | None:
    """Return the section of the replicates; None without a replicate.

    Args:
        replicated: The networks with replicates.
        run_data: The run.
        again: Comparisons with controls that are the reverse with other seeds.
    """
    if not replicated:
        return None
    caption = (
        f"Test accuracies in percent; robust accuracy under {attack_text(run_data.section('evaluation'))}. "
        "Small markers: single trainings with other seeds (replicates). Large markers: the mean of the "
        "replicates of a network; bars: one standard deviation. "
        "Networks outside the axes are named at the edge. P(on front): the probability that a "
        "configuration is on the front when each configuration is trained once, estimated from the "
        "replicates, with a 95% interval (Wilson's, for the number of replicates)."
    )
    heads = [
        "network", "clean", "robust", "replicates", "mean clean", "±", "mean robust", "±", "P(on front)",
    ]  # fmt: skip
    rows = [_cells(network) for network in replicated]
    words = f'<div class="words">{paragraphs(replication_words(replicated))}</div>'
    words += paragraphs(reversal_notes(again), "note")
    content = f"{words}{figure_place('replicates', 'wide')}{table(heads, rows, 'Replicates of each network')}"
    figures = {"replicates": _figure(replicated)}
    counts = sorted({network.trainings for network in replicated})
    count = " to ".join(str(end) for end in dict.fromkeys((counts[0], counts[-1])))
    summary = f"{count} training{'' if count == '1' else 's'} of each of {len(replicated)} networks"
    return section("Replicates with other seeds", content, caption, "replicates", figures, summary)


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
    """Draw the single replicates, and their mean with one standard deviation; the axes follow the front."""
    known = [network for network in replicated if len(network.points)]
    front = [network for network in known if network.member] or known
    shown = [_extent(network) for network in front] or [np.empty((0, 2))]
    limits = limits_around(np.concatenate(shown), 0.08)
    data: list[Figure] = []
    for name, colour, symbol in (("front", "@front", "circle"), ("controls", "@control", "diamond")):
        if networks := [network for network in known if network.member == (name == "front")]:
            data += [_single_trace(networks, colour, symbol), _mean_trace(name, networks, colour, symbol)]
    layout = layout_of("clean accuracy (%)", "robust accuracy (%)", legend=True)
    layout["xaxis"]["range"], layout["yaxis"]["range"] = [list(pair) for pair in limits]
    labels = [
        edge_label(100 * network.mean[0], 100 * network.mean[1], short(network.label or network.name), limits)
        for network in known
    ]
    marks = [point for network in known for point in _marks(network, limits)]
    layout["annotations"] = [
        annotation(*label, "@front" if network.member else "@control", place)
        for network, label, place in zip(known, labels, place_labels(labels, limits, marks), strict=True)
    ]
    return {"data": data, "layout": layout}


def _extent(network: Replicated) -> NDArray[np.float64]:
    """Return the ends of the bars and the single replicates, in percent."""
    mean, spread = np.array(network.mean), np.nan_to_num(np.array(network.spread))
    return 100 * np.concatenate([network.points, [mean - spread, mean + spread]])


def _marks(network: Replicated, limits: Limits) -> list[tuple[float, float]]:
    """Return the points that no label should cover: the replicates and the bars."""
    *single, low, high = [(float(x), float(y)) for x, y in _extent(network)]
    x, y = 100 * network.mean[0], 100 * network.mean[1]
    return [
        *single,
        *points_along((low[0], high[0]), (y, y), limits),
        *points_along((x, x), (low[1], high[1]), limits),
    ]


def _single_trace(networks: Sequence[Replicated], colour: str, symbol: str) -> Figure:
    single = np.concatenate([network.points for network in networks])
    return {
        "type": "scatter", "mode": "markers", "x": rounded(100 * single[:, 0], 3),
        "y": rounded(100 * single[:, 1], 3), "marker": {"color": colour, "size": 4, "symbol": symbol},
        "opacity": 0.45, "showlegend": False, "hoverinfo": "skip",
    }  # fmt: skip


def _mean_trace(name: str, networks: Sequence[Replicated], colour: str, symbol: str) -> Figure:
    means, spreads = (
        np.array([getattr(network, statistic) for network in networks]) for statistic in ("mean", "spread")
    )
    error = [
        {"type": "data", "array": rounded(100 * np.nan_to_num(spreads[:, axis]), 3), "color": colour,
         "thickness": 0.8, "width": 0}
        for axis in range(2)
    ]  # fmt: skip
    return {
        "type": "scatter", "mode": "markers", "name": name, "x": rounded(100 * means[:, 0], 3),
        "y": rounded(100 * means[:, 1], 3), "error_x": error[0], "error_y": error[1],
        "marker": {"color": colour, "size": 9, "symbol": symbol}, "hoverinfo": "text",
        "hovertext": [
            f"<b>{safe(network.labelled_name)}</b><br>{percent(network.mean[0])} clean, "
            f"{percent(network.mean[1])} robust (test, mean)<br>P(on front): {network.chance_text}"
            for network in networks
        ],
    }  # fmt: skip
