"""The section of the slices: each parameter against both accuracies."""

from __future__ import annotations

import numpy as np

from morel_search._format import percent
from morel_search.analysis.parameters import SearchedParameter
from morel_search.analysis.report.html import Section, figure_place, section, text
from morel_search.analysis.report.plotly_traces import Figure, layout_of, rounded, safe
from morel_search.analysis.run_data import RunData

__all__ = ["slice_figure", "slices_section"]

SLICE_POINTS = 300
"""Trials in a slice figure above which a subset is drawn."""

SLICES = (
    ("clean_accuracy", "clean", "@second", "circle-open", "y2"),
    ("robust_accuracy", "robust", "@front", "circle", "y"),
)


def slices_section(run_data: RunData) -> Section | None:
    """Return the section of the slices; None without a searched trial or a parameter."""
    if run_data.searched.empty or not run_data.parameters:
        return None
    figures, blocks = {}, []
    for index, parameter in enumerate(run_data.parameters):
        if run_data.searched[parameter.column].notna().any():
            ident = f"slice-{index}"
            figures[ident] = slice_figure(run_data, parameter)
            blocks.append(f"<div><h3>{text(parameter.name)}</h3>{figure_place(ident, 'small')}</div>")
    caption = (
        "Above, hollow: clean accuracy. Below, filled: robust accuracy. Both in percent on the validation "
        "split, each on its own scale, one dot of each per searched trial that finished."
    )
    if len(run_data.searched) > SLICE_POINTS:
        caption += (
            f" Of the {len(run_data.searched)} trials, those on the front and an evenly spaced part of the "
            "others are drawn."
        )
    content = f'<div class="grid">{"".join(blocks)}</div>'
    return section("Each parameter against both accuracies", content, caption, "slices", figures)


def slice_figure(run_data: RunData, parameter: SearchedParameter) -> Figure:
    """Draw both validation accuracies over one parameter.

    Of more than :data:`SLICE_POINTS` trials an evenly spaced subset is drawn, with all trials on the front.
    """
    rows = run_data.searched
    keep = rows["number"].isin(run_data.front["number"])
    if len(rows) > SLICE_POINTS:
        step = -(-len(rows) // SLICE_POINTS)
        rows = rows[keep | (np.arange(len(rows)) % step == 0)]
    rows = rows[[parameter.value(cell) is not None for cell in rows[parameter.column]]]
    values = [parameter.value(cell) for cell in rows[parameter.column]]
    texts = [
        f"network {n}: {safe(parameter.text(cell))}"
        for n, cell in zip(rows["number"], rows[parameter.column], strict=True)
    ]
    data = [
        {
            "type": "scatter", "mode": "markers", "x": values, "y": rounded(rows[column] * 100, 2),
            "name": title, "yaxis": axis,
            "marker": {"color": colour, "size": 5, "opacity": 0.75, "symbol": symbol}, "hoverinfo": "text",
            "customdata": rows["number"].astype(int).tolist(),
            "hovertext": [
                f"{text}<br>{title} {percent(value)} (validation)"
                for text, value in zip(texts, rows[column], strict=True)
            ],
        }
        for column, title, colour, symbol, axis in SLICES
    ]  # fmt: skip
    layout = layout_of("", "", legend=False)
    layout["meta"] = {"x": parameter.name, "y": "accuracy (%)"}
    layout["margin"] = {"l": 34, "r": 8, "t": 8, "b": 30}
    layout["yaxis2"] = {**layout["yaxis"], "domain": [0.6, 1.0], "nticks": 3}
    layout["yaxis"].update(domain=[0.0, 0.5], nticks=4)
    layout["xaxis"]["nticks"] = 5
    if parameter.kind == "categorical":
        layout["xaxis"].update(type="category", categoryorder="array", categoryarray=list(parameter.choices))
    elif parameter.log:
        ticks = parameter.ticks()
        layout["xaxis"].update(
            type="log",
            tickmode="array",
            tickvals=[_at(parameter, place) for place, _ in ticks],
            ticktext=[t for _, t in ticks],
        )
    return {"data": data, "layout": layout}


def _at(parameter: SearchedParameter, share: float) -> float:
    """Return the value at a position from 0 to 1 on a logarithmic axis."""
    return float(parameter.low * (parameter.high / parameter.low) ** share)
