"""The front as a figure for the page: trials, controls, networks on the front, and their test accuracies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from morel_search._format import percent
from morel_search.analysis.report.labels import Place, place_labels
from morel_search.analysis.report.plotly_traces import Figure, layout_of, line, rounded, safe, short
from morel_search.analysis.run_data import POINT, TEST, Row, RunData

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "INFEASIBLE",
    "MANY_TRIALS",
    "axis_limits",
    "control_names",
    "feasible_controls",
    "front_figure",
    "obstacles",
    "other_trials",
    "step_line",
]

INFEASIBLE = "infeasible"
"""Legend of the networks that violate a constraint."""

LABELLED_MEMBERS, MANY_TRIALS = 16, 300
"""Largest front with labels, and number of trials above which the markers are smaller."""

Limits = tuple[tuple[float, float], tuple[float, float]]


def front_figure(run_data: RunData) -> Figure:
    """Draw every finished trial, the names of the controls, the front as steps, and its test accuracies."""
    limits = axis_limits(run_data)
    others, infeasible = other_trials(run_data), run_data.infeasible
    members = run_data.front[run_data.front["origin"] != "control"]
    many = len(others) > MANY_TRIALS
    data = [
        _dots(
            others,
            run_data,
            "trials",
            {"color": "@dot", "size": 5 if many else 7, "opacity": 0.6 if many else 0.9},
        )
    ]
    if len(infeasible):
        cross = {"color": "@dot", "size": 6, "symbol": "x-thin-open", "opacity": 0.8, "line": {"width": 1.2}}
        data.append(_dots(infeasible, run_data, INFEASIBLE, cross))
    if len(run_data.front):
        xs, ys = step_line(run_data.front, limits)
        data.append({**line(xs, ys, "@front", 1.6), "name": "front", "showlegend": False})
    data += _test_traces(run_data)
    if len(members):
        data.append(
            _dots(
                members,
                run_data,
                "front",
                {"color": "@front", "size": 10, "line": {"color": "@paper", "width": 1}},
            )
        )
    controls = feasible_controls(run_data)
    if len(controls):
        marker = {
            "color": "@control",
            "size": 10,
            "symbol": "diamond",
            "line": {"color": "@paper", "width": 1},
        }
        data.append(_dots(controls, run_data, "controls", marker))
    layout = layout_of("clean accuracy (%)", "robust accuracy (%)", legend=True)
    layout["xaxis"]["range"], layout["yaxis"]["range"] = [list(pair) for pair in limits]
    layout["annotations"] = _annotations(run_data, members, limits)
    return {"data": data, "layout": layout}


def other_trials(run_data: RunData) -> pd.DataFrame:
    """Return the feasible searched trials whose selected epoch is not on the front."""
    rows = run_data.feasible
    return rows[(rows["origin"] != "control").to_numpy() & ~run_data.on_front(rows)]


def feasible_controls(run_data: RunData) -> pd.DataFrame:
    """Return the feasible controls, and the networks on the front from other epochs of controls."""
    import pandas as pd

    rows, members = run_data.feasible, run_data.front[run_data.front["origin"] == "control"]
    rows = rows[(rows["origin"] == "control").to_numpy() & ~run_data.on_front(rows)]
    return pd.concat([rows, members]) if len(rows) and len(members) else members if len(members) else rows


def axis_limits(run_data: RunData) -> Limits:
    """Return the ranges of both axes, in percent, with a margin around all validation and test accuracies."""
    shown = _shown(run_data) * 100
    limits = []
    for axis in range(2):
        values = shown[~np.isnan(shown[:, axis]), axis]
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 100.0)
        margin = max(1.0, 0.06 * (high - low))
        limits.append((low - margin, high + margin))
    return limits[0], limits[1]


def step_line(front: pd.DataFrame, limits: Limits) -> tuple[list[float], list[float]]:
    """Return the border of the dominated region, in percent, from the left edge to the lower edge."""
    members = front.sort_values([POINT[0], POINT[1]], ascending=[True, False])
    xs, ys = [limits[0][0]], [float(members[POINT[1]].iloc[0] * 100)]
    for x, y in members[POINT].to_numpy(dtype=float) * 100:
        xs += [xs[-1], float(x)]
        ys += [float(y), float(y)]
    return rounded([*xs, xs[-1]], 3), rounded([*ys, limits[1][0]], 3)


def _test_traces(run_data: RunData) -> list[Figure]:
    tested = run_data.front[run_data.front[TEST].notna().all(axis=1)]
    if tested.empty:
        return []
    xs: list[float | None] = []
    ys: list[float | None] = []
    for row in (tested[[*POINT, *TEST]].to_numpy(dtype=float) * 100).round(3).tolist():
        xs += [row[0], row[2], None]
        ys += [row[1], row[3], None]
    hover = [
        f"network {run_data.network(number, epoch)}<br>test: {percent(clean)} clean, {percent(robust)} robust"
        for number, epoch, clean, robust in zip(
            *(tested[column] for column in ("number", "epoch", *TEST)), strict=True
        )
    ]
    marker = {"color": "@front", "size": 8, "symbol": "circle-open", "line": {"width": 1.3}}
    return [
        {**line(xs, ys, "@front", 0.9), "opacity": 0.55, "showlegend": False},
        {
            "type": "scatter", "mode": "markers",
            "x": rounded(tested[TEST[0]] * 100, 3), "y": rounded(tested[TEST[1]] * 100, 3),
            "name": "front, test split", "marker": marker, "hoverinfo": "text", "hovertext": hover,
        },
    ]  # fmt: skip


def control_names(run_data: RunData) -> list[tuple[float, float, str]]:
    """Return position (in percent) and name of each control; controls with equal accuracies share a label."""
    names: dict[tuple[float, float], list[str]] = {}
    for x, y, name in zip(
        run_data.controls[POINT[0]], run_data.controls[POINT[1]], run_data.controls["name"], strict=True
    ):
        names.setdefault((float(x * 100), float(y * 100)), []).append(short(str(name)))
    return [(x, y, ", ".join(together)) for (x, y), together in names.items()]


def obstacles(run_data: RunData, limits: Limits) -> list[tuple[float, float]]:
    """Return the points that a label should not cover: markers, and points along the steps of the front."""
    marks = [(float(x), float(y)) for x, y in _shown(run_data) * 100]
    if len(run_data.front):
        xs, ys = step_line(run_data.front, limits)
        for x0, x1, y0, y1 in zip(xs, xs[1:], ys, ys[1:], strict=False):
            count = 1 + round(
                abs(x1 - x0) / (limits[0][1] - limits[0][0]) * 50
                + abs(y1 - y0) / (limits[1][1] - limits[1][0]) * 35
            )
            marks += [(x0 + (x1 - x0) * k / count, y0 + (y1 - y0) * k / count) for k in range(count)]
    return [mark for mark in marks if not np.isnan(mark).any()]


def _shown(run_data: RunData) -> NDArray[np.float64]:
    """Return all pairs of accuracies in the figure: of the trials, and of the front on both splits."""
    tables = (run_data.complete[POINT], run_data.front[POINT], run_data.front[TEST])
    return np.concatenate([table.to_numpy(dtype=float) for table in tables])


def _dots(rows: pd.DataFrame, run_data: RunData, name: str, marker: Figure) -> Figure:
    return {
        "type": "scatter", "mode": "markers", "name": name,
        "x": rounded(rows[POINT[0]] * 100, 3), "y": rounded(rows[POINT[1]] * 100, 3),
        "marker": marker, "hoverinfo": "text",
        "hovertext": [_hover(row, run_data) for row in rows.to_dict("records")],
    }  # fmt: skip


def _hover(row: Row, run_data: RunData) -> str:
    title = (
        f"control {safe(row['name'])}"
        if row["origin"] == "control"
        else f"network {run_data.network(row['number'], row['epoch'])}"
    )
    lines = [
        f"<b>{title}</b>",
        f"validation: {percent(row[POINT[0]])} clean, {percent(row[POINT[1]])} robust",
    ]
    if not any(np.isnan(row[column]) for column in TEST):
        lines.append(f"test: {percent(row[TEST[0]])} clean, {percent(row[TEST[1]])} robust")
    texts = [
        (safe(parameter.name), safe(parameter.text(row.get(parameter.column))))
        for parameter in run_data.parameters
    ]
    return "<br>".join(lines + [f"{name}  {text}" for name, text in texts if text])


def _annotations(run_data: RunData, members: pd.DataFrame, limits: Limits) -> list[Figure]:
    """Return the labels of the controls, and of the networks on the front when these are few."""
    named = [(x, y, text, "@control") for x, y, text in control_names(run_data)]
    if len(members) <= LABELLED_MEMBERS:
        named += [
            (
                row[POINT[0]] * 100,
                row[POINT[1]] * 100,
                run_data.network(row["number"], row["epoch"]),
                "@front",
            )
            for _, row in members.iterrows()
        ]
    placed = place_labels([(x, y, text) for x, y, text, _ in named], limits, obstacles(run_data, limits))
    return [_annotation(*label, place) for label, place in zip(named, placed, strict=True)]


def _annotation(x: float, y: float, text: str, colour: str, place: Place) -> Figure:
    shared = {
        "x": x,
        "y": y,
        "text": safe(text),
        "font": {"color": colour, "size": 11},
        "xanchor": place.xanchor,
        "yanchor": place.yanchor,
    }
    if not place.leader:
        return {**shared, "showarrow": False, "xshift": place.xshift, "yshift": place.yshift, "borderpad": 0}
    line = {
        "arrowhead": 0,
        "arrowwidth": 0.8,
        "arrowcolor": colour,
        "standoff": 5,
        "ax": place.xshift,
        "ay": -place.yshift,
    }
    return {**shared, **line, "showarrow": True, "borderpad": 1}
