"""The report's smaller figures: hypervolume, importance, slices, learning curves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from morel_search.analysis.hypervolume import hypervolume_history
from morel_search.analysis.importance import FEWEST_TRIALS
from morel_search.analysis.parameters import SearchedParameter
from morel_search.analysis.pieces import Figure, layout_of, line, rounded, safe, short
from morel_search.analysis.summary import RunSummary
from morel_search.analysis.wording import percent

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["history_figure", "importance_figure", "learning_figures", "slice_figure"]

SLICE_POINTS = 300
CURVES = 24
SLICES = (("clean_accuracy", "clean", "@second", "circle-open"), ("robust_accuracy", "robust", "@front", "circle"))


def history_figure(summary: RunSummary) -> Figure:
    """Draw the hypervolume over the trials, and that of the controls alone."""
    history, numbers = hypervolume_history(summary.trials), summary.trials["number"].astype(int).tolist()
    rises = np.flatnonzero(np.diff(history, prepend=0.0) > 0)
    data: list[Figure] = [
        {
            **line(numbers, rounded(history, 5), "@front", 1.8),
            "line": {"color": "@front", "width": 1.8, "shape": "hv"},
            "hoverinfo": "text",
            "hovertext": [f"after trial {number}: {value:.4f}" for number, value in zip(numbers, history, strict=True)],
            "name": "all trials",
        },
        {
            "type": "scatter", "mode": "markers", "x": [numbers[i] for i in rises], "y": rounded(history[rises], 5),
            "name": "the front moved",
            "marker": {"color": "@front", "size": 6}, "hoverinfo": "skip",
        },
    ]  # fmt: skip
    control = summary.control_hypervolume
    if control and numbers:
        ends = [numbers[0], max(numbers[-1], numbers[0] + 1)]
        data.append({**line(ends, [control] * 2, "@control", 1.2, "dot"), "name": f"controls alone: {control:.4f}"})
    layout = layout_of("trial", "hypervolume", legend=True)
    return {"data": data, "layout": layout}


def importance_figure(table: pd.DataFrame) -> Figure:
    """Draw a bar for each parameter and objective; only parameters with enough trials."""
    table = table[table["trials"] >= FEWEST_TRIALS]
    shares = table.pivot_table(index="parameter", columns="objective", values="importance", dropna=False)
    shares = shares.loc[shares.mean(axis=1).sort_values(kind="stable").index]
    labels = [short(str(name)) for name in shares.index]
    data = [
        {
            "type": "bar", "orientation": "h", "name": title, "y": labels, "x": rounded(shares[objective] * 100, 2),
            "marker": {"color": colour},
            "text": [f"{value:.0f}%" for value in shares[objective] * 100], "textposition": "outside", "cliponaxis": False,
            "hoverinfo": "skip", "textfont": {"color": "@muted", "size": 11},
        }
        for objective, title, colour in (("robust_accuracy", "robust accuracy", "@front"), ("clean_accuracy", "clean accuracy", "@second"))
    ]  # fmt: skip
    layout = layout_of("share of the variance explained (%)", "", legend=True)
    layout.update(barmode="group", bargap=0.35, bargroupgap=0.12)
    layout["legend"]["traceorder"] = "reversed"
    layout["yaxis"].update(showgrid=False, automargin=True, type="category", ticks="")
    layout["xaxis"].update(range=[0, max(10.0, float(np.nanmax(shares.to_numpy())) * 112)], zeroline=True, zerolinecolor="@muted")
    return {"data": data, "layout": layout, "rows": len(labels)}


def slice_figure(summary: RunSummary, parameter: SearchedParameter) -> Figure:
    """Draw both accuracies over one parameter; at most :data:`SLICE_POINTS` trials, spread evenly, the front's among them."""
    rows = summary.searched
    keep = rows["number"].isin(summary.front["number"])
    if len(rows) > SLICE_POINTS:
        step = -(-len(rows) // SLICE_POINTS)
        rows = rows[keep | (np.arange(len(rows)) % step == 0)]
    rows = rows[[parameter.value(cell) is not None for cell in rows[parameter.column]]]
    values = [parameter.value(cell) for cell in rows[parameter.column]]
    texts = [f"network {n}: {safe(parameter.text(cell))}" for n, cell in zip(rows["number"], rows[parameter.column], strict=True)]
    data = [
        {
            "type": "scatter", "mode": "markers", "x": values, "y": rounded(rows[column] * 100, 2), "name": title,
            "marker": {"color": colour, "size": 5, "opacity": 0.75, "symbol": symbol}, "hoverinfo": "text",
            "hovertext": [f"{text}<br>{title} {percent(value)}" for text, value in zip(texts, rows[column], strict=True)],
        }
        for column, title, colour, symbol in SLICES
    ]  # fmt: skip
    layout = layout_of("", "", legend=False)
    layout["margin"] = {"l": 30, "r": 8, "t": 8, "b": 30}
    layout["yaxis"].update(range=[-3, 103], tickmode="array", tickvals=[0, 50, 100])
    layout["xaxis"]["nticks"] = 5
    if parameter.kind == "categorical":
        layout["xaxis"].update(type="category", categoryorder="array", categoryarray=list(parameter.choices))
    elif parameter.log:
        ticks = parameter.ticks()
        layout["xaxis"].update(
            type="log", tickmode="array", tickvals=[_at(parameter, place) for place, _ in ticks], ticktext=[t for _, t in ticks]
        )
    return {"data": data, "layout": layout}


def learning_figures(summary: RunSummary) -> list[tuple[str, Figure]]:
    """Draw the validation accuracies of the front's members over their epochs: clean, then robust; empty where no epoch is known."""
    members = summary.front
    if len(members) > CURVES:
        members = members.iloc[np.unique(np.linspace(0, len(members) - 1, CURVES).round().astype(int))]
    known = {number: rows.sort_values("epoch") for number, rows in summary.epochs.groupby("number")}
    figures = []
    for column, title in (("clean_accuracy", "clean accuracy"), ("robust_accuracy", "robust accuracy")):
        data: list[Figure] = []
        for index, (_, member) in enumerate(members.iterrows()):
            rows = known.get(member["number"])
            if rows is not None and rows[column].notna().any():
                data += _curve(rows[rows[column].notna()], column, member, index / max(1, len(members) - 1))
        if data:
            figures.append((title, {"data": data, "layout": layout_of("epoch", f"{title} (%)", legend=False)}))
    return figures


def _curve(rows: pd.DataFrame, column: str, member: pd.Series[Any], share: float) -> list[Figure]:
    colour, number = f"@mix{share:.3f}", member["number"]
    xs, ys = rows["epoch"].astype(int).tolist(), rounded(rows[column] * 100, 2)
    hover = [f"network {number}, epoch {x}: {y:.1f}%" for x, y in zip(xs, ys, strict=True)]
    curve = {**line(xs, ys, colour, 1.4), "hoverinfo": "text", "hovertext": hover}
    counted = [(x, y) for x, y in zip(xs, ys, strict=True) if x == member["epoch"]]
    if not counted:
        return [curve]
    dot = {
        "type": "scatter",
        "mode": "markers",
        "x": [counted[0][0]],
        "y": [counted[0][1]],
        "marker": {"color": colour, "size": 7},
        "hoverinfo": "skip",
    }
    return [curve, dot]


def _at(parameter: SearchedParameter, share: float) -> float:
    """Find the value at a place from 0 to 1 of a logarithmic axis."""
    return float(parameter.low * (parameter.high / parameter.low) ** share)
