"""The front as a figure for a paper: PNG, SVG and PDF, drawn by matplotlib without its global state."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from morel_search.analysis.report.front_figure import (
    INFEASIBLE,
    MANY_TRIALS,
    Limits,
    axis_limits,
    control_names,
    feasible_controls,
    obstacles,
    other_trials,
    step_line,
)
from morel_search.analysis.report.labels import WIDTH, place_labels
from morel_search.analysis.run_data import POINT, TEST, RunData

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["FORMATS", "paper_figure"]

FORMATS = ("png", "svg", "pdf")

SIZE = (4.6, 3.4)
"""Width and height in inches: one and a half columns of a paper."""

FONT = 8.5
"""Size of the names of the controls, in points."""

LABEL_SCALE = FONT / 11 * WIDTH / (0.86 * 72 * SIZE[0])
"""Size of the labels relative to the page, where they have 11 pixels in a figure of width WIDTH."""

FRONT, CONTROL, TRIAL = "#0b5a8a", "#c4501b", "#a9a59c"
"""Blue, vermilion and grey: colour-blind readers and black-and-white print can tell them apart."""

STYLE = {
    "font.family": "STIXGeneral",  # ships with matplotlib, so the figure is the same on every machine
    "mathtext.fontset": "stix",
    "font.size": 10,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,  # TrueType inside the file; publishers reject Type 3
    "svg.fonttype": "path",
    "svg.hashsalt": "morel_search",
}


def paper_figure(run_data: RunData) -> dict[str, bytes]:
    """Draw every finished trial, the controls, the front, and its test accuracies.

    Returns:
        The contents of the files by format; the same run gives the same bytes.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasAgg(figure)
        _draw(figure.add_subplot(), run_data)
        drawn = {}
        for kind, empty in zip(
            FORMATS, ({"Software": None}, {"Date": None}, {"CreationDate": None}), strict=True
        ):
            buffer = io.BytesIO()
            figure.savefig(buffer, format=kind, dpi=300, metadata=empty)
            drawn[kind] = buffer.getvalue()
    return drawn


def _draw(axes: Axes, run_data: RunData) -> None:
    limits = axis_limits(run_data)
    others, infeasible = _xy(other_trials(run_data)), _xy(run_data.infeasible)
    axes.scatter(
        *others,
        s=11 if len(others[0]) <= MANY_TRIALS else 4,
        color=TRIAL,
        linewidths=0,
        alpha=0.8,
        label="trials",
        zorder=2,
    )
    if len(infeasible[0]):
        axes.scatter(
            *infeasible, s=12, marker="x", color=TRIAL, linewidths=0.6, alpha=0.8, label=INFEASIBLE, zorder=2
        )
    if len(run_data.front):
        axes.plot(*step_line(run_data.front, limits), color=FRONT, linewidth=1.0, zorder=3)
    tested = run_data.front[run_data.front[TEST].notna().all(axis=1)]
    if len(tested):
        _draw_tested(axes, tested)
    members = _xy(run_data.front[run_data.front["origin"] != "control"])
    if len(members[0]):
        axes.scatter(*members, s=26, color=FRONT, edgecolors="white", linewidths=0.6, label="front", zorder=5)
    controls = _xy(feasible_controls(run_data))
    if len(controls[0]):
        axes.scatter(
            *controls,
            s=30,
            marker="D",
            color=CONTROL,
            edgecolors="white",
            linewidths=0.6,
            label="controls",
            zorder=6,
        )
    if len(run_data.controls):
        _name_controls(axes, run_data, limits)
    axes.set(xlim=limits[0], ylim=limits[1], xlabel="clean accuracy (%)", ylabel="robust accuracy (%)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e1da", linewidth=0.5, zorder=0)
    axes.set_axisbelow(True)
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=3 if len(infeasible[0]) else 4,  # as many entries as fit the width
        frameon=False,
        fontsize=9,
        handletextpad=0.1,
        columnspacing=1.0,
        borderaxespad=0.2,
    )


def _draw_tested(axes: Axes, tested: pd.DataFrame) -> None:
    for row in tested[[*POINT, *TEST]].to_numpy(dtype=float) * 100:
        axes.plot(row[[0, 2]], row[[1, 3]], color=FRONT, linewidth=0.5, alpha=0.6, zorder=3)
    x, y = (tested[column].to_numpy(dtype=float) * 100 for column in TEST)
    axes.scatter(
        x, y, s=18, facecolors="white", edgecolors=FRONT, linewidths=0.8, label="front, test split", zorder=4
    )


def _name_controls(axes: Axes, run_data: RunData, limits: Limits) -> None:
    from matplotlib.patheffects import withStroke

    named = [(x, y, _plain(name)) for x, y, name in control_names(run_data)]
    placed = place_labels(named, limits, obstacles(run_data, limits), LABEL_SCALE)
    for (x, y, text), place in zip(named, placed, strict=True):
        up = "center" if place.yanchor == "middle" else place.yanchor
        line = (
            {"arrowstyle": "-", "color": CONTROL, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3.5}
            if place.leader
            else None
        )
        label = axes.annotate(
            text,
            (x, y),
            xytext=(place.xshift * FONT / 11, place.yshift * FONT / 11),
            textcoords="offset points",
            arrowprops=line,
            ha=place.xanchor,
            va=up,
            color=CONTROL,
            fontsize=FONT,
            zorder=7,
            parse_math=False,
        )
        label.set_path_effects([withStroke(linewidth=1.6, foreground="white")])


def _xy(rows: pd.DataFrame) -> tuple[list[float], list[float]]:
    x, y = ((rows[column].to_numpy(dtype=float) * 100).tolist() for column in POINT)
    return x, y


def _plain(name: str) -> str:
    """Return a name without the characters that the font does not have."""
    return "".join(
        letter for letter in name if letter == "…" or (letter.isprintable() and ord(letter) < 0x2000)
    )
