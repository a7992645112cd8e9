"""The parallel coordinates of all searched trials, as plain data that the script of the page draws.

The parallel coordinates of Plotly need WebGL, which many remote desktops lack, and have no hover text.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from morel_search._format import percent
from morel_search.analysis.parameters import nice_values
from morel_search.analysis.report.plotly_traces import Figure
from morel_search.analysis.run_data import POINT, RunData

__all__ = ["parallel_data"]


def parallel_data(run_data: RunData) -> Figure:
    """Place every finished searched trial on one axis per parameter and one per objective.

    Returns:
        ``axes``: label and ticks (position from 0 to 1, text). ``rows``: number, positions (None where a
        parameter is not active), texts, whether the trial is on the front, and its position in the range of
        robust accuracy, which sets its colour. Trials on the front come last, so they are drawn on top.
    """
    rows = run_data.searched
    members = set(run_data.front["number"])
    limits = [_limits(rows[column].to_numpy(dtype=float)) for column in POINT]
    axes: list[Figure] = [
        {"label": parameter.name, "ticks": parameter.ticks()} for parameter in run_data.parameters
    ]
    for title, (low, high) in zip(("clean", "robust"), limits, strict=True):
        axes.append(
            {
                "label": title,
                "ticks": [((value - low) / (high - low), percent(value)) for value in nice_values(low, high)],
            }
        )
    drawn = []
    for row in rows.to_dict("records"):
        shares = [
            (row[column] - low) / (high - low) for column, (low, high) in zip(POINT, limits, strict=True)
        ]
        cells = [row.get(parameter.column) for parameter in run_data.parameters]
        places = [
            parameter.position(cell) for parameter, cell in zip(run_data.parameters, cells, strict=True)
        ]
        texts = [parameter.text(cell) for parameter, cell in zip(run_data.parameters, cells, strict=True)]
        drawn.append(
            {
                "number": int(row["number"]),
                "places": [None if place is None else round(place, 4) for place in places]
                + [round(share, 4) for share in shares],
                "texts": [*texts, *(percent(row[column]) for column in POINT)],
                "front": row["number"] in members,
                "share": round(shares[1], 3),
            }
        )
    return {"axes": axes, "rows": sorted(drawn, key=lambda row: (row["front"], row["share"]))}


def _limits(values: NDArray[np.float64]) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.01, high + 0.01)
