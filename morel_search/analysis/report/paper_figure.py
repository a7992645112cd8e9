"""The front as a figure for a paper: PNG, SVG and PDF, drawn by matplotlib without its global state.

Where networks were verified, it shows the verified front, and the search's own view only faintly.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from morel_search.analysis.report import verified_figure as verified
from morel_search.analysis.report.axes import Label, Limits
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
from morel_search.analysis.report.labels import WIDTH, place_labels
from morel_search.analysis.run_data import POINT, TEST, RunData
from morel_search.analysis.verification import Network, Verification

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

__all__ = ["FORMATS", "paper_figure"]

FORMATS = ("png", "svg", "pdf")

SIZE = (4.6, 3.4)
"""Width and height in inches: one and a half columns of a paper."""

FONT = 8.5
"""Size of the names of the controls, in points."""

SIGNS = "…←→↑↓"
"""Characters above U+2000 that the font has and the labels use."""

FAINT = "search, validation"
"""Legend of the points of the search behind the verified front."""

LABEL_SCALE = FONT / 11 * WIDTH / (0.86 * 72 * SIZE[0])
"""Size of the labels relative to the page, where they have 11 pixels in a figure of width WIDTH."""

FRONT, CONTROL, TRIAL, DARK, INK = "#0b5a8a", "#c4501b", "#a9a59c", "#7d796f", "#1f1d19"
"""Blue, vermilion, greys and near black: colour-blind readers and black-and-white print tell them apart."""

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


def paper_figure(run_data: RunData, verification: Verification | None = None) -> dict[str, bytes]:
    """Draw the verified front with its intervals; without a verification, every trial and the front.

    Args:
        run_data: The run.
        verification: The verification with which the report leads; None without one.

    Returns:
        The contents of the files by format; the same run gives the same bytes.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        if verification is None:
            _draw(axes, run_data)
        else:
            _draw_verified(axes, run_data, verification)
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
    named = [(x, y, _plain(name)) for x, y, name in control_names(run_data, limits)]
    _name(axes, named, limits, [CONTROL] * len(named), obstacles(run_data, limits))
    _finish(axes, limits, "validation images, not verified", 3 if len(infeasible[0]) else 4)


def _draw_verified(axes: Axes, run_data: RunData, verification: Verification) -> None:
    limits = verified.verified_limits(verification)
    axes.scatter(
        *_xy(run_data.feasible), s=7, color=TRIAL, linewidths=0, alpha=0.45, zorder=1,
        label=FAINT,
    )  # fmt: skip
    if verification.unflagged:
        axes.plot(*verified.verified_steps(verification, limits), color=FRONT, linewidth=1.0, zorder=3)
    colours = {"beaten": TRIAL, "controls": CONTROL, "flagged": CONTROL, "rivals": INK}
    grouped = {name: networks for name, networks in verified.groups(verification).items() if networks}
    for name, networks in grouped.items():
        _draw_networks(axes, networks, name, colours.get(name, FRONT))
    named = verified.labels(verification, limits)
    _name(
        axes,
        [(x, y, _plain(text)) for (x, y, text), _ in named],
        limits,
        [DARK if group == "beaten" else colours.get(group, FRONT) for _, group in named],
        *verified.obstacles(verification, limits),
    )
    _finish(axes, limits, f"{verification.images} test images, 95% intervals", 4)


def _draw_networks(axes: Axes, networks: Sequence[Network], name: str, colour: str) -> None:
    """Draw the networks of one group with their intervals."""
    values = 100 * np.array([network.accuracy for network in networks])
    ends = 100 * np.array([network.intervals for network in networks])
    below, above = (values - ends[:, :, 0]).T, (ends[:, :, 1] - values).T
    xs, ys = values.T.tolist()
    axes.errorbar(
        xs,
        ys, xerr=(below[0], above[0]), yerr=(below[1], above[1]), fmt="none", ecolor=colour,
        elinewidth=0.5 if name == "controls" else 0.8, alpha=0.55 if name == "controls" else 0.8, zorder=4,
    )  # fmt: skip
    marker = {"controls": "D", "flagged": "x", "mixtures": "^", "rivals": "*"}.get(name, "o")
    hollow = name == "undecided"
    axes.scatter(
        xs,
        ys, s=60 if name == "rivals" else 24, marker=marker, facecolors="white" if hollow else colour,
        edgecolors=None if marker == "x" else colour if hollow else "white",
        linewidths=1.0 if hollow or marker == "x" else 0.6, label=name, zorder=5,
    )  # fmt: skip


def _finish(axes: Axes, limits: Limits, where: str, columns: int) -> None:
    axes.set(
        xlim=limits[0], ylim=limits[1], xlabel=f"clean accuracy (%), {where}", ylabel="robust accuracy (%)"
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e4e1da", linewidth=0.5, zorder=0)
    axes.set_axisbelow(True)
    handles, names = axes.get_legend_handles_labels()
    faint = names.index(FAINT) if FAINT in names else None
    order = sorted(range(len(names)), key=lambda index: index == faint)  # the faint points come last
    axes.legend(
        [handles[index] for index in order],
        [names[index] for index in order],
        loc="lower left",
        bbox_to_anchor=(0.0, 1.0),
        ncols=columns,  # as many entries as fit the width
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


def _name(
    axes: Axes,
    named: Sequence[Label],
    limits: Limits,
    colours: Sequence[str],
    marks: Sequence[tuple[float, float]],
    thin: Sequence[tuple[float, float]] = (),
) -> None:
    """Write the names beside their points, where they cover the least."""
    from matplotlib.patheffects import withStroke

    placed = place_labels(named, limits, marks, LABEL_SCALE, thin)
    for (x, y, text), place, colour in zip(named, placed, colours, strict=True):
        up = "center" if place.yanchor == "middle" else place.yanchor
        line = (
            {"arrowstyle": "-", "color": colour, "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3.5}
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
            color=colour,
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
    shown = [letter for letter in name if letter in SIGNS or (letter.isprintable() and ord(letter) < 0x2000)]
    return "".join(shown)
