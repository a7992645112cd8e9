"""Figures of the report: hypervolume, parameter importance, slices, learning curves, gradient shares."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from morel_search._format import percent
from morel_search.analysis.hypervolume import hypervolume_history
from morel_search.analysis.importance import FEWEST_TRIALS
from morel_search.analysis.parameters import SearchedParameter
from morel_search.analysis.report.plotly_traces import Figure, layout_of, line, rounded, safe, short
from morel_search.analysis.run_data import RunData

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["gradient_figures", "history_figure", "importance_figure", "learning_figures", "slice_figure"]

SLICE_POINTS = 300
"""Trials in a slice figure above which a subset is drawn."""

CURVES, STOPPED_CURVES = 24, 60
"""Largest number of learning curves of trials on the front, and of trials stopped early."""

TERMS = {
    "accuracy_gradient": "accuracy objective",
    "cosine_gradient": "cosine term",
    "contrastive_gradient": "contrastive term",
}
SLICES = (
    ("clean_accuracy", "clean", "@second", "circle-open"),
    ("robust_accuracy", "robust", "@front", "circle"),
)


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


def importance_figure(table: pd.DataFrame) -> Figure:
    """Draw the importance of each parameter for each objective, without parameters with too few trials."""
    table = table[table["trials"] >= FEWEST_TRIALS]
    shares = table.pivot_table(index="parameter", columns="objective", values="importance", dropna=False)
    shares = shares.loc[shares.mean(axis=1).sort_values(kind="stable").index]
    labels = [short(str(name)) for name in shares.index]
    data = [
        {
            "type": "bar", "orientation": "h", "name": title, "y": labels,
            "x": rounded(shares[objective] * 100, 2),
            "marker": {"color": colour},
            "text": [f"{value:.0f}%" for value in shares[objective] * 100], "textposition": "outside",
            "cliponaxis": False,
            "hoverinfo": "skip", "textfont": {"color": "@muted", "size": 11},
        }
        for objective, title, colour in (
            ("robust_accuracy", "robust accuracy", "@front"),
            ("clean_accuracy", "clean accuracy", "@second"),
        )
    ]  # fmt: skip
    layout = layout_of("share of the variance explained (%)", "", legend=True)
    layout.update(barmode="group", bargap=0.35, bargroupgap=0.12)
    layout["legend"]["traceorder"] = "reversed"
    layout["yaxis"].update(showgrid=False, automargin=True, type="category", ticks="")
    layout["xaxis"].update(
        range=[0, max(10.0, float(np.nanmax(shares.to_numpy())) * 112)], zeroline=True, zerolinecolor="@muted"
    )
    return {"data": data, "layout": layout, "rows": len(labels)}


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
            "name": title,
            "marker": {"color": colour, "size": 5, "opacity": 0.75, "symbol": symbol}, "hoverinfo": "text",
            "hovertext": [
                f"{text}<br>{title} {percent(value)} (validation)"
                for text, value in zip(texts, rows[column], strict=True)
            ],
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
            type="log",
            tickmode="array",
            tickvals=[_at(parameter, place) for place, _ in ticks],
            ticktext=[t for _, t in ticks],
        )
    return {"data": data, "layout": layout}


def learning_figures(run_data: RunData) -> list[tuple[str, Figure]]:
    """Draw the validation accuracies over the epochs: clean, then robust; empty without recorded epochs.

    The trials on the front have a dot at each epoch on the front. The trials that were stopped early are
    drawn as faint lines.
    """
    numbers = _some(list(dict.fromkeys(run_data.front["number"].astype(int))), CURVES)
    on_front = {
        number: set(rows["epoch"].dropna().astype(int)) for number, rows in run_data.front.groupby("number")
    }
    stopped = _some(run_data.stopped["number"].astype(int).tolist(), STOPPED_CURVES)
    shown = run_data.epochs[run_data.epochs["number"].isin([*numbers, *stopped])]
    known = {number: shown[shown["number"] == number].sort_values("epoch") for number in [*stopped, *numbers]}
    figures = []
    for column, title in (("clean_accuracy", "clean accuracy"), ("robust_accuracy", "robust accuracy")):
        curves = {
            number: _curve(rows, column) for number, rows in known.items() if rows[column].notna().any()
        }
        data = _stopped_curves({number: curves[number] for number in stopped if number in curves})
        for index, number in enumerate(numbers):
            if number in curves:
                data += _member_curve(
                    number, curves[number], on_front[number], index / max(1, len(numbers) - 1)
                )
        if data:
            layout = layout_of("epoch", f"{title}, validation (%)", legend=False)
            pen = {"color": "@dot", "width": 1, "dash": "dot"}
            layout["shapes"] = [
                {
                    "type": "line",
                    "x0": rung,
                    "x1": rung,
                    "y0": 0,
                    "y1": 1,
                    "yref": "paper",
                    "line": pen,
                    "layer": "below",
                }
                for rung in run_data.rungs
            ]
            figures.append((title, {"data": data, "layout": layout}))
    return figures


def gradient_figures(run_data: RunData) -> list[tuple[str, Figure]]:
    """Draw the gradient share of each robust term over the epochs, for the trials on the front.

    Empty when the gradients were not recorded.
    """
    numbers = _some(list(dict.fromkeys(run_data.front["number"].astype(int))), CURVES)
    rows = run_data.epochs[run_data.epochs["number"].isin(numbers)].dropna(subset=list(TERMS))
    total = rows[list(TERMS)].sum(axis=1)
    shares = (
        rows[list(TERMS)]
        .div(total.where(total > 0), axis=0)
        .assign(number=rows["number"], epoch=rows["epoch"])
    )
    figures = []
    for column, title in list(TERMS.items())[1:]:
        known = shares[shares[column].notna()].sort_values("epoch")
        data: list[Figure] = []
        for index, number in enumerate(numbers):
            if (own := known[known["number"] == number]).empty:
                continue
            data += _member_curve(number, _curve(own, column), (), index / max(1, len(numbers) - 1))
        if data:
            figures.append(
                (
                    title,
                    {
                        "data": data,
                        "layout": layout_of("epoch", f"{title} (% of the gradient)", legend=False),
                    },
                )
            )
    return figures


Curve = tuple[list[int], list[float]]


def _curve(rows: pd.DataFrame, column: str) -> Curve:
    """Return the epochs with a value in a column, and these values in percent."""
    rows = rows[rows[column].notna()]
    return rows["epoch"].astype(int).tolist(), rounded(rows[column] * 100, 2)


def _member_curve(number: int, curve: Curve, on_front: Container[int], share: float) -> list[Figure]:
    colour = f"@mix{share:.3f}"
    hover = [f"network {number}, epoch {x}: {y:.1f}%" for x, y in zip(*curve, strict=True)]
    curve_line: Figure = {**line(*curve, colour, 1.4), "hoverinfo": "text", "hovertext": hover}
    counted = [(x, y) for x, y in zip(*curve, strict=True) if x in on_front]
    if not counted:
        return [curve_line]
    xs, ys = (list(values) for values in zip(*counted, strict=True))
    marker = {"color": colour, "size": 7}
    return [
        curve_line,
        {"type": "scatter", "mode": "markers", "x": xs, "y": ys, "marker": marker, "hoverinfo": "skip"},
    ]


def _stopped_curves(curves: Mapping[int, Curve]) -> list[Figure]:
    """Return the curves of trials stopped early as one faint line with gaps, and a cross at each end."""
    if not curves:
        return []
    xs: list[int | None] = []
    ys: list[float | None] = []
    hover: list[str | None] = []
    for number, curve in curves.items():
        xs += [*curve[0], None]
        ys += [*curve[1], None]
        hover += [
            *(f"network {number}, stopped early, epoch {x}: {y:.1f}%" for x, y in zip(*curve, strict=True)),
            None,
        ]
    ends = [(curve[0][-1], curve[1][-1]) for curve in curves.values()]
    faint = {
        **line(xs, ys, "@dot", 0.8),
        "opacity": 0.55,
        "hoverinfo": "text",
        "hovertext": hover,
        "name": "stopped early",
    }
    marker = {"color": "@dot", "size": 4, "symbol": "x-thin-open"}
    cross = {"type": "scatter", "mode": "markers", "x": [x for x, _ in ends], "y": [y for _, y in ends]}
    return [faint, {**cross, "marker": marker, "opacity": 0.8, "hoverinfo": "skip"}]


def _some(numbers: Sequence[int], most: int) -> list[int]:
    """Return an evenly spaced subset with both ends, of at most ``most`` numbers."""
    if len(numbers) <= most:
        return list(numbers)
    return [numbers[index] for index in np.unique(np.linspace(0, len(numbers) - 1, most).round().astype(int))]


def _at(parameter: SearchedParameter, share: float) -> float:
    """Return the value at a position from 0 to 1 on a logarithmic axis."""
    return float(parameter.low * (parameter.high / parameter.low) ** share)
