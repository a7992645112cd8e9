"""Traces and layouts shared by the figures of the report, as plain Plotly dictionaries.

Colours are names such as ``@front``; the script of the page replaces them by those of its light or dark
style, so that one figure serves both styles.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from morel_search.analysis.report.labels import Place

__all__ = [
    "Figure",
    "Figures",
    "annotation",
    "bars",
    "layout_of",
    "line",
    "rounded",
    "safe",
    "short",
]

Figure = dict[str, Any]
"""A Plotly figure, trace or layout. Plotly has no types for these dictionaries."""

Figures = dict[str, Figure]
"""Figures of a page, by the id of their place. ``parallel`` has the data of the parallel coordinates,
``trials`` those of the table of all trials, ``radii`` the positions of a slider. ``customdata`` of points and
``meta`` of curves are numbers of trials."""


def line(
    xs: Sequence[float | None], ys: Sequence[float | None], colour: str, width: float, dash: str = "solid"
) -> Figure:
    """Return the trace of a line without hover text."""
    pen = {"color": colour, "width": width, "dash": dash}
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(xs),
        "y": list(ys),
        "line": pen,
        "hoverinfo": "skip",
    }


def layout_of(x: str, y: str, *, legend: bool) -> Figure:
    """Return a layout with the titles of both axes (may be empty), and with a legend above or none."""
    axis = {
        "gridcolor": "@rule", "linecolor": "@muted", "zeroline": False, "showline": True, "ticks": "outside",
        "ticklen": 4,
        "tickcolor": "@muted", "tickfont": {"color": "@muted", "size": 11}, "automargin": True,
    }  # fmt: skip
    return {
        "autosize": True, "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)",
        "hovermode": "closest", "showlegend": legend,
        "font": {"family": "@sans", "color": "@ink", "size": 12},
        "margin": {"l": 48, "r": 14, "t": 34 if legend else 12, "b": 44},
        "xaxis": {**axis, "showgrid": False,
                  "title": {"text": x, "font": {"size": 12, "color": "@muted"}, "standoff": 8}},
        "yaxis": {**axis, "showline": False, "ticks": "",
                  "title": {"text": y, "font": {"size": 12, "color": "@muted"}, "standoff": 8}},
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "xanchor": "left", "yanchor": "bottom",
                   "font": {"color": "@ink", "size": 12}},
        "hoverlabel": {"bgcolor": "@paper", "bordercolor": "@muted", "align": "left",
                       "font": {"color": "@ink", "family": "@sans", "size": 12}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "@muted", "activecolor": "@ink"}, "dragmode": "zoom",
    }  # fmt: skip


def rounded(values: ArrayLike, digits: int) -> list[float]:
    """Return the values rounded to a number of digits, which keeps the page small."""
    short: list[float] = np.asarray(values, dtype=float).round(digits).tolist()
    return short


def short(text: str) -> str:
    """Return a name for a figure, cut to 24 characters."""
    return text if len(text) <= 24 else f"{text[:23]}…"


def safe(text: object) -> str:
    """Return a text cut to 80 characters and escaped, because Plotly interprets some HTML tags."""
    plain = str(text)
    return html.escape(plain if len(plain) <= 80 else f"{plain[:79]}…")


def bars(values: Sequence[float], intervals: Sequence[tuple[float, float]], colour: str) -> Figure:
    """Return the error bars of accuracies, which are fractions, with their intervals."""
    ends = list(zip(values, intervals, strict=True))
    return {
        "type": "data", "symmetric": False, "color": colour, "thickness": 0.8, "width": 0,
        "array": rounded([100 * (high - value) for value, (_, high) in ends], 3),
        "arrayminus": rounded([100 * (value - low) for value, (low, _) in ends], 3),
    }  # fmt: skip


def annotation(x: float, y: float, text: str, colour: str, place: Place) -> Figure:
    """Return a label of a point at its place, with a line to the point where the place has one."""
    shared = {
        "x": x, "y": y, "text": safe(text), "font": {"color": colour, "size": 11},
        "xanchor": place.xanchor, "yanchor": place.yanchor,
    }  # fmt: skip
    if not place.leader:
        return {**shared, "showarrow": False, "xshift": place.xshift, "yshift": place.yshift, "borderpad": 0}
    pen = {"arrowhead": 0, "arrowwidth": 0.8, "arrowcolor": colour, "standoff": 5}
    return {**shared, **pen, "ax": place.xshift, "ay": -place.yshift, "showarrow": True, "borderpad": 1}
