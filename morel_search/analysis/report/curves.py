"""Curves over the epochs of trials on the front, as traces: shared by learning curves and gradient shares."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from morel_search.analysis.report.plotly_traces import Figure, line, rounded

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CURVES", "Curve", "curve_of", "member_traces", "some_of", "subset_words"]

T = TypeVar("T")

CURVES = 24
"""Largest number of trials on the front whose curves are drawn."""

Curve = tuple[list[int], list[float]]
"""Epochs, and values in percent."""


def curve_of(rows: pd.DataFrame, column: str) -> Curve:
    """Return the epochs with a value in a column, and these values in percent."""
    rows = rows[rows[column].notna()]
    return rows["epoch"].astype(int).tolist(), rounded(rows[column] * 100, 2)


def member_traces(number: int, curve: Curve, on_front: Container[int], share: float) -> list[Figure]:
    """Return the traces of a trial on the front: its curve, and dots at some epochs.

    Args:
        number: The trial.
        curve: Its curve.
        on_front: Epochs with a dot.
        share: Its position on the colour scale, from 0 to 1.
    """
    colour = f"@mix{share:.3f}"
    hover = [f"network {number}, epoch {x}: {y:.1f}%" for x, y in zip(*curve, strict=True)]
    curve_line: Figure = {
        **line(*curve, colour, 1.4),
        "hoverinfo": "text",
        "hovertext": hover,
        "meta": number,
    }
    counted = [(x, y) for x, y in zip(*curve, strict=True) if x in on_front]
    if not counted:
        return [curve_line]
    xs, ys = (list(values) for values in zip(*counted, strict=True))
    marker = {"color": colour, "size": 7}
    return [
        curve_line,
        {"type": "scatter", "mode": "markers", "x": xs, "y": ys, "marker": marker, "hoverinfo": "skip"},
    ]


def some_of(items: Sequence[T], most: int) -> list[T]:
    """Return an evenly spaced subset with both ends, of at most ``most`` items."""
    if len(items) <= most:
        return list(items)
    return [items[index] for index in np.unique(np.linspace(0, len(items) - 1, most).round().astype(int))]


def subset_words(total: int, most: int, name: str) -> str:
    """Return a sentence for a caption, after a space, that :func:`some_of` left some out; else nothing."""
    return f" {most} of {total} {name} are drawn, evenly spaced." if total > most else ""
