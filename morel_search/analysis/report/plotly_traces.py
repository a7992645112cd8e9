"""The pieces that the report's figures share, as Plotly's plain dictionaries.

Colours are names such as ``@front``; the page puts in those of its light or dark style, so that a figure is
made once for both.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["Figure", "layout_of", "line", "rounded", "safe", "short"]

Figure = dict[str, Any]


def line(xs: Sequence[Any], ys: Sequence[Any], colour: str, width: float, dash: str = "solid") -> Figure:
    """Draw a line that does not react to the pointer."""
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
    """Lay out a figure: titles of the axes (may be empty), a legend above or none."""
    axis = {
        "gridcolor": "@rule", "linecolor": "@muted", "zeroline": False, "showline": True, "ticks": "outside", "ticklen": 4,
        "tickcolor": "@muted", "tickfont": {"color": "@muted", "size": 11}, "automargin": True,
    }  # fmt: skip
    return {
        "autosize": True, "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "hovermode": "closest", "showlegend": legend,
        "font": {"family": "@sans", "color": "@ink", "size": 12}, "margin": {"l": 48, "r": 14, "t": 34 if legend else 12, "b": 44},
        "xaxis": {**axis, "showgrid": False, "title": {"text": x, "font": {"size": 12, "color": "@muted"}, "standoff": 8}},
        "yaxis": {**axis, "showline": False, "ticks": "", "title": {"text": y, "font": {"size": 12, "color": "@muted"}, "standoff": 8}},
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "xanchor": "left", "yanchor": "bottom", "font": {"color": "@ink", "size": 12}},
        "hoverlabel": {"bgcolor": "@paper", "bordercolor": "@muted", "align": "left",
                       "font": {"color": "@ink", "family": "@sans", "size": 12}},
        "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": "@muted", "activecolor": "@ink"}, "dragmode": "zoom",
    }  # fmt: skip


def rounded(values: Any, digits: int) -> list[float]:
    """Round numbers, so that the page stays small."""
    short: list[float] = np.asarray(values, dtype=float).round(digits).tolist()
    return short


def short(text: str) -> str:
    """Cut a name that stands in a figure."""
    return text if len(text) <= 24 else f"{text[:23]}…"


def safe(text: Any) -> str:
    """Escape a text for Plotly, which reads a little HTML; a long one is cut."""
    plain = str(text)
    return html.escape(plain if len(plain) <= 80 else f"{plain[:79]}…")
