"""What the figures of the search's front have in common: their networks, axes, steps and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from morel_search.analysis.report.axes import (
    Label,
    Limits,
    border,
    edge_label,
    inside,
    limits_around,
    points_along,
)
from morel_search.analysis.report.plotly_traces import short
from morel_search.analysis.run_data import POINT, TEST, RunData

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "INFEASIBLE",
    "MANY_TRIALS",
    "axis_limits",
    "control_names",
    "feasible_controls",
    "obstacles",
    "other_trials",
    "outside_words",
    "step_line",
]

INFEASIBLE = "infeasible"
"""Legend of the networks that violate a constraint."""

MANY_TRIALS = 300
"""Number of trials above which their markers are smaller."""

MARGIN = 0.25
"""Room around the front, as a share of its range; points farther away are outside the axes."""


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
    """Return the ranges of both axes, in percent: around the front on both splits, else around all trials."""
    front = run_data.front
    if front.empty:
        return limits_around(run_data.complete[POINT].to_numpy(dtype=float) * 100, 0.06)
    shown = [table.to_numpy(dtype=float) * 100 for table in (front[POINT], front[TEST])]
    if run_data.mixtures:
        shown.append(np.array([entry.validation for entry in run_data.mixtures]) * 100)
    return limits_around(np.concatenate(shown), MARGIN)


def outside_words(run_data: RunData) -> str:
    """Return how many finished trials lie outside the axes of the figure; empty when all are inside."""
    shown = inside(run_data.complete[POINT].to_numpy(dtype=float) * 100, axis_limits(run_data))
    count = int((~shown).sum())
    if not count:
        return ""
    lie = "lies" if count == 1 else "lie"
    return (
        f"The axes follow the front: {count} of {len(shown)} networks {lie} outside; controls outside are "
        "named at the edge."
    )


def step_line(front: pd.DataFrame, limits: Limits) -> tuple[list[float], list[float]]:
    """Return the border of the dominated region, in percent, from the left edge to the lower edge."""
    return border(front[POINT].to_numpy(dtype=float) * 100, limits)


def control_names(run_data: RunData, limits: Limits) -> list[Label]:
    """Return position (in percent) and name of each control; controls with equal accuracies share a label.

    A control outside the axes has its label at the edge.
    """
    names: dict[tuple[float, float], list[str]] = {}
    for x, y, name in zip(
        run_data.controls[POINT[0]], run_data.controls[POINT[1]], run_data.controls["name"], strict=True
    ):
        names.setdefault((float(x * 100), float(y * 100)), []).append(short(str(name)))
    return [edge_label(x, y, ", ".join(together), limits) for (x, y), together in names.items()]


def obstacles(run_data: RunData, limits: Limits) -> list[tuple[float, float]]:
    """Return the points that a label should not cover: markers, and points along the steps of the front."""
    marks = [(float(x), float(y)) for x, y in _shown(run_data) * 100]
    if len(run_data.front):
        marks += points_along(*step_line(run_data.front, limits), limits)
    return [mark for mark in marks if not np.isnan(mark).any()]


def _shown(run_data: RunData) -> NDArray[np.float64]:
    """Return all pairs of accuracies in the figure: of the trials, the front on both splits, and mixtures."""
    tables = (run_data.complete[POINT], run_data.front[POINT], run_data.front[TEST])
    mixtures = np.array([entry.validation for entry in run_data.mixtures], dtype=float).reshape(-1, 2)
    return np.concatenate([*(table.to_numpy(dtype=float) for table in tables), mixtures])
