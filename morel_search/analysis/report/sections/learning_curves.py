"""The section of the learning curves: both validation accuracies over the epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from morel_search._format import attack_text, points
from morel_search.analysis.differences import difference_words, interval_words, unpaired_difference
from morel_search.analysis.intervals import Difference
from morel_search.analysis.report.curves import CURVES, Curve, curve_of, member_traces, some_of, subset_words
from morel_search.analysis.report.html import Section, figure_place, section, text
from morel_search.analysis.report.plotly_traces import Figure, layout_of, line
from morel_search.analysis.run_data import LAST, POINT, RunData

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["last_epoch_words", "learning_curves_section", "learning_figures"]


STOPPED_CURVES = 60
"""Largest number of learning curves of trials stopped early."""


def learning_curves_section(run_data: RunData) -> Section | None:
    """Return the section of the learning curves; None without recorded epochs."""
    curves = learning_figures(run_data)
    if not curves:
        return None
    figures = {f"curve-{index}": figure for index, (_, figure) in enumerate(curves)}
    dots = "the selected epochs" if run_data.select_epoch != "front" else "epochs on the front"
    caption = (
        "Validation accuracies of the trials on the front over the epochs, coloured from the most accurate "
        f"on clean images (ochre) to the most robust (blue). Dots: {dots}. Attack after each epoch: "
        f"{attack_text(run_data.section('evaluation'), quick=True)}."
    )
    caption += subset_words(run_data.front["number"].nunique(), CURVES, "trials on the front")
    if count := len(run_data.stopped):
        caption += " Faint lines that end in a cross: trials stopped early."
        caption += subset_words(count, STOPPED_CURVES, "trials stopped early")
    caption += " Dotted vertical lines: the rungs of early stopping." if run_data.rungs else ""
    places = "".join(f"<div>{figure_place(ident, 'half')}</div>" for ident in figures)
    comparison = last_epoch_words(run_data)
    words = f'<div class="words"><p>{text(comparison)}</p></div>' if comparison else ""
    content = f'{words}<div class="pair">{places}</div>'
    return section("Learning curves", content, caption, "curves", figures)


def last_epoch_words(run_data: RunData) -> str:
    """Compare the front with the last epochs of its trainings; empty when these were not recorded."""
    rows = _with_quick_accuracies(run_data).dropna(subset=[*LAST, *POINT])
    if rows.empty:
        return ""
    own, last = (rows[columns].to_numpy(dtype=float) for columns in (POINT, LAST))
    earlier = int((own != last).any(axis=1).sum())
    if not earlier:
        return (
            "Selected epoch against last epoch: each network of the front has the accuracies of the last "
            "epoch of its training."
        )
    lost, images = own[:, 1] - last[:, 1], run_data.validation_images or 0
    # As on different images; the mean of the ends holds for any dependence between the networks.
    changes = [
        unpaired_difference(after, before, images)
        for before, after in zip(own[:, 1], last[:, 1], strict=True)
    ]
    value, low, high = np.mean([change[:3] for change in changes], axis=0).tolist()
    mean = Difference(value, low, high, np.nan)
    worst = int(lost.argmax())
    row, at_most = rows.iloc[worst], changes[worst].reversed
    most = (
        f"; network {run_data.network(row['number'], row['epoch'])} would lose the most, "
        f"{points(lost.max())} ({interval_words(at_most.low, at_most.high)})"
        if lost.max() > 0
        else ""
    )
    return (
        f"Selected epoch against last epoch: for {earlier} of {len(rows)} networks an earlier epoch was "
        f"selected. With the last epochs, the front would have "
        f"{difference_words(mean, 'robust validation accuracy')} on average{most}. In parentheses: 95% "
        "intervals, as on different images, so rather too wide."
    )


def _with_quick_accuracies(run_data: RunData) -> pd.DataFrame:
    """Return the front with the accuracies of the selected epochs under the quick attack.

    Those of the last epochs are measured in the same way. Where ``epochs.csv`` lacks an epoch, the row of
    ``front.csv`` stays as it is.
    """
    front = run_data.front.copy()
    quick = run_data.epochs.set_index(["number", "epoch"])[POINT]
    for index, row in front.iterrows():
        key = (row["number"], row["epoch"])
        if key in quick.index:
            front.loc[index, POINT] = quick.loc[key].to_numpy()
    return front


def learning_figures(run_data: RunData) -> list[tuple[str, Figure]]:
    """Draw the validation accuracies over the epochs: clean, then robust; empty without recorded epochs.

    The trials on the front have a dot at each epoch on the front. The trials that were stopped early are
    drawn as faint lines.
    """
    numbers = some_of(list(dict.fromkeys(run_data.front["number"].astype(int))), CURVES)
    on_front = {
        number: set(rows["epoch"].dropna().astype(int)) for number, rows in run_data.front.groupby("number")
    }
    stopped = some_of(run_data.stopped["number"].astype(int).tolist(), STOPPED_CURVES)
    shown = run_data.epochs[run_data.epochs["number"].isin([*numbers, *stopped])]
    known = {number: shown[shown["number"] == number].sort_values("epoch") for number in [*stopped, *numbers]}
    figures = []
    for column, title in (("clean_accuracy", "clean accuracy"), ("robust_accuracy", "robust accuracy")):
        curves = {
            number: curve_of(rows, column) for number, rows in known.items() if rows[column].notna().any()
        }
        data = _stopped_curves({number: curves[number] for number in stopped if number in curves})
        for index, number in enumerate(numbers):
            if number in curves:
                data += member_traces(
                    number, curves[number], on_front[number], index / max(1, len(numbers) - 1)
                )
        if data:
            layout = layout_of("epoch", f"{title}, validation (%)", legend=False)
            pen = {"color": "@dot", "width": 1, "dash": "dot"}
            layout["shapes"] = [
                {"type": "line", "x0": rung, "x1": rung, "y0": 0, "y1": 1, "yref": "paper", "line": pen,
                 "layer": "below"}
                for rung in run_data.rungs
            ]  # fmt: skip
            figures.append((title, {"data": data, "layout": layout}))
    return figures


def _stopped_curves(curves: Mapping[int, Curve]) -> list[Figure]:
    """Return the curves of trials stopped early as one faint line with gaps, and a cross at each end."""
    if not curves:
        return []
    xs: list[int | None] = []
    ys: list[float | None] = []
    hover: list[str | None] = []
    for number, curve in curves.items():
        xs += [*curve[0], None]
        ys += [*curve[1], None]
        hover += [
            *(f"network {number}, stopped early, epoch {x}: {y:.1f}%" for x, y in zip(*curve, strict=True)),
            None,
        ]
    ends = [(curve[0][-1], curve[1][-1]) for curve in curves.values()]
    faint = {
        **line(xs, ys, "@dot", 0.8),
        "opacity": 0.55,
        "hoverinfo": "text",
        "hovertext": hover,
        "name": "stopped early",
    }
    marker = {"color": "@dot", "size": 4, "symbol": "x-thin-open"}
    cross = {"type": "scatter", "mode": "markers", "x": [x for x, _ in ends], "y": [y for _, y in ends]}
    return [faint, {**cross, "marker": marker, "opacity": 0.8, "hoverinfo": "skip"}]
