"""The front of the search as a figure: trials, controls, networks on the front, and their test accuracies."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from morel_search._format import inference_cost, percent
from morel_search.analysis.report.axes import Limits
from morel_search.analysis.report.front_view import (
    INFEASIBLE,
    MANY_TRIALS,
    axis_limits,
    control_names,
    feasible_controls,
    obstacles,
    other_trials,
    step_line,
)
from morel_search.analysis.report.labels import place_labels
from morel_search.analysis.report.plotly_traces import (
    Figure,
    annotation,
    layout_of,
    line,
    rounded,
    safe,
)
from morel_search.analysis.run_data import LAST, POINT, TEST, Row, RunData

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["front_figure"]

LABELLED_MEMBERS = 16
"""Largest front whose networks have labels."""


def front_figure(run_data: RunData) -> Figure:
    """Draw every finished trial, the names of the controls, the front as steps, and its test accuracies."""
    limits = axis_limits(run_data)
    others, infeasible = other_trials(run_data), run_data.infeasible
    members = run_data.front[run_data.front["origin"] != "control"]
    many = len(others) > MANY_TRIALS
    data = [*_stopped_trace(run_data)]
    data.append(
        _dots(
            others,
            run_data,
            "trials",
            {"color": "@dot", "size": 5 if many else 6, "opacity": 0.5 if many else 0.7},
        )
    )
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
    data += _mixture_trace(run_data)
    layout = layout_of("clean accuracy (%)", "robust accuracy (%)", legend=True)
    layout["xaxis"]["range"], layout["yaxis"]["range"] = [list(pair) for pair in limits]
    layout["annotations"] = _annotations(run_data, members, limits)
    return {"data": data, "layout": layout}


def _stopped_trace(run_data: RunData) -> list[Figure]:
    """Return the trials that were stopped early, at their last epoch; empty without any."""
    rows = run_data.stopped.dropna(subset=LAST)
    if rows.empty:
        return []
    xs, ys = (rounded(rows[column] * 100, 3) for column in LAST)
    hover = [
        f"trial {number}, stopped early after epoch {epochs}<br>quick attack, validation: {x:.1f}% clean, "
        f"{y:.1f}% robust"
        for number, epochs, x, y in zip(rows["number"], rows["epochs"], xs, ys, strict=True)
    ]
    marker = {"color": "@dot", "size": 5, "symbol": "x-thin-open", "opacity": 0.45, "line": {"width": 1}}
    return [
        {
            "type": "scatter", "mode": "markers", "name": "stopped early", "x": xs, "y": ys,
            "marker": marker, "hoverinfo": "text", "hovertext": hover, "customdata": _numbers(rows),
        }
    ]  # fmt: skip


def _numbers(rows: pd.DataFrame) -> list[int]:
    """Return the trials of the points, by which the script of the page marks a selected one."""
    numbers: list[int] = rows["number"].astype(int).tolist()
    return numbers


def _mixture_trace(run_data: RunData) -> list[Figure]:
    """Return the mixtures at their validation accuracies; empty without any."""
    if not run_data.mixtures:
        return []
    clean, robust = (
        rounded(np.array([entry.validation[axis] for entry in run_data.mixtures]) * 100, 3)
        for axis in range(2)
    )
    hover = [
        f"<b>Mixture {safe(entry.name)}</b><br>validation: {percent(entry.validation[0])} clean, "
        f"{percent(entry.validation[1])} robust<br>{inference_cost(entry.passes, entry.parameters)}"
        for entry in run_data.mixtures
    ]
    marker = {"color": "@front", "size": 11, "symbol": "triangle-up"}
    return [
        {
            "type": "scatter", "mode": "markers", "name": "mixtures", "x": clean, "y": robust,
            "marker": marker, "hoverinfo": "text", "hovertext": hover,
        }
    ]  # fmt: skip


def _test_traces(run_data: RunData) -> list[Figure]:
    """Return the test accuracies of front and controls, each with a line from the validation accuracies."""
    controls = feasible_controls(run_data)
    controls = controls[~controls["number"].isin(run_data.front["number"])]
    return [
        *_tested(run_data.front, run_data, "front, test split", "@front", "circle-open"),
        *_tested(controls, run_data, "controls, test split", "@control", "diamond-open"),
    ]


def _tested(rows: pd.DataFrame, run_data: RunData, name: str, colour: str, symbol: str) -> list[Figure]:
    tested = rows[rows[TEST].notna().all(axis=1)]
    if tested.empty:
        return []
    xs: list[float | None] = []
    ys: list[float | None] = []
    for row in (tested[[*POINT, *TEST]].to_numpy(dtype=float) * 100).round(3).tolist():
        xs += [row[0], row[2], None]
        ys += [row[1], row[3], None]
    hover = [
        f"{_title(row, run_data)}<br>test: {percent(row[TEST[0]])} clean, {percent(row[TEST[1]])} robust"
        for row in tested.to_dict("records")
    ]
    marker = {"color": colour, "size": 8, "symbol": symbol, "line": {"width": 1.3}}
    return [
        {**line(xs, ys, colour, 0.9), "opacity": 0.55, "showlegend": False},
        {
            "type": "scatter", "mode": "markers",
            "x": rounded(tested[TEST[0]] * 100, 3), "y": rounded(tested[TEST[1]] * 100, 3),
            "name": name, "marker": marker, "hoverinfo": "text", "hovertext": hover,
            "customdata": _numbers(tested),
        },
    ]  # fmt: skip


def _dots(rows: pd.DataFrame, run_data: RunData, name: str, marker: Figure) -> Figure:
    return {
        "type": "scatter", "mode": "markers", "name": name,
        "x": rounded(rows[POINT[0]] * 100, 3), "y": rounded(rows[POINT[1]] * 100, 3),
        "marker": marker, "hoverinfo": "text", "customdata": _numbers(rows),
        "hovertext": [_hover(row, run_data) for row in rows.to_dict("records")],
    }  # fmt: skip


def _title(row: Row, run_data: RunData) -> str:
    if row["origin"] == "control":
        return f"control {safe(row['name'])}"
    return f"network {run_data.network(row['number'], row['epoch'])}"


def _hover(row: Row, run_data: RunData) -> str:
    lines = [
        f"<b>{_title(row, run_data)}</b>",
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
    named = [(*label, "@control") for label in control_names(run_data, limits)]
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
    return [annotation(*label, place) for label, place in zip(named, placed, strict=True)]
