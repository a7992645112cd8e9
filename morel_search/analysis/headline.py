"""The front of a run in a few words: its two ends, or the reason why there is no front."""

from __future__ import annotations

from morel_search._format import percent
from morel_search.analysis.run_data import POINT, RunData

__all__ = ["headline"]


def headline(run_data: RunData) -> str:
    """Return the number of networks on the front and its two ends, or why there is no front."""
    front = run_data.front
    if len(run_data.complete) and run_data.feasible.empty:
        return "No network satisfies the constraints"
    if run_data.complete.empty or front.empty:
        return (
            "No trial has finished yet"
            if run_data.settings.status == "running"
            else "No trial finished with a result"
        )
    best, robust = front.iloc[0], front.iloc[-1]
    if len(front) == 1:
        return f"One network on the front: {percent(best[POINT[0]])} clean, {percent(best[POINT[1]])} robust"
    return (
        f"{len(front)} networks, from {percent(best[POINT[0]])} clean and {percent(best[POINT[1]])} robust "
        f"to {percent(robust[POINT[0]])} clean and {percent(robust[POINT[1]])} robust"
    )
