"""The parallel coordinates of all searched trials, as plain data that the page's script draws.

Plotly's own kind needs WebGL, which many a remote desktop lacks, and shows nothing under the pointer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from morel_search._format import percent
from morel_search.analysis.parameters import nice_values
from morel_search.analysis.run_data import POINT, RunData

__all__ = ["parallel_data"]


def parallel_data(run_data: RunData) -> dict[str, Any]:
    """Place every complete trial of the search on an axis a parameter and one an objective.

    Returns:
        ``axes``: label and ticks (place from 0 to 1, text). ``rows``: number, places (None where a parameter
        is not active), texts, whether it is on the front, and its share of the range of robust accuracy,
        which colours it. The front's rows come last, so on top.
    """
    rows = run_data.searched
    members = set(run_data.front["number"])
    limits = [_limits(rows[column].to_numpy(dtype=float)) for column in POINT]
    axes: list[dict[str, Any]] = [
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
    return {"axes": axes, "rows": sorted(drawn, key=lambda one: (one["front"], one["share"]))}


def _limits(values: np.ndarray[Any, Any]) -> tuple[float, float]:
    if not len(values):
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    return (low, high) if high > low else (low - 0.01, high + 0.01)
