"""The section of the search: the hypervolume over the trials."""

from __future__ import annotations

import numpy as np

from morel_search.analysis.hypervolume import hypervolume_history
from morel_search.analysis.report.html import Section, figure_place, section
from morel_search.analysis.report.plotly_traces import Figure, layout_of, line, rounded
from morel_search.analysis.run_data import RunData

__all__ = ["history_figure", "hypervolume_section"]


def hypervolume_section(run_data: RunData) -> Section | None:
    """Return the section of the hypervolume; None without a feasible network."""
    if run_data.feasible.empty:
        return None
    caption = (
        "Hypervolume above (0, 0) of the feasible networks up to each trial, on the validation split: the "
        "area that they dominate, at most 1. Each dot is a trial that increased it."
    )
    figures = {"history": history_figure(run_data)}
    return section("Hypervolume over the trials", figure_place("history", "wide"), caption, "search", figures)


def history_figure(run_data: RunData) -> Figure:
    """Draw the hypervolume above (0, 0) over the trials, and that of the controls alone."""
    counted, numbers = run_data.counted, run_data.trials["number"].astype(int).tolist()
    history = hypervolume_history([counted.get(number, ()) for number in numbers])
    rises = np.flatnonzero(np.diff(history, prepend=0.0) > 0)
    data: list[Figure] = [
        {
            **line(numbers, rounded(history, 5), "@front", 1.8),
            "line": {"color": "@front", "width": 1.8, "shape": "hv"},
            "hoverinfo": "text",
            "hovertext": [
                f"hypervolume after trial {number}: {value:.4f}"
                for number, value in zip(numbers, history, strict=True)
            ],
            "name": "all trials",
        },
        {
            "type": "scatter", "mode": "markers", "x": [numbers[i] for i in rises],
            "y": rounded(history[rises], 5),
            "name": "hypervolume increased",
            "marker": {"color": "@front", "size": 6}, "hoverinfo": "skip",
        },
    ]  # fmt: skip
    control = run_data.control_hypervolume
    if control and numbers:
        ends = [numbers[0], max(numbers[-1], numbers[0] + 1)]
        data.append(
            {**line(ends, [control] * 2, "@control", 1.2, "dot"), "name": f"controls alone: {control:.4f}"}
        )
    layout = layout_of("trial", "hypervolume above (0, 0)", legend=True)
    return {"data": data, "layout": layout}
