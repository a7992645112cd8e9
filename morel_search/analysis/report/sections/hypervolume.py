"""The section of the search: the hypervolume over the trials."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from morel_search._format import duration
from morel_search.analysis.hypervolume import hypervolume_history
from morel_search.analysis.report.html import Section, figure_place, paragraphs, section
from morel_search.analysis.report.plotly_traces import Figure, layout_of, line, rounded
from morel_search.analysis.run_data import RunData
from morel_search.analysis.spent import HOUR, Spent, hours_of_training, spent

__all__ = ["history_figure", "hours_of_trainings", "hypervolume_section"]


def hypervolume_section(run_data: RunData) -> Section | None:
    """Return the section of the hypervolume; None without a feasible network."""
    if run_data.feasible.empty:
        return None
    cost = hours_of_trainings(run_data)
    caption = (
        "Hypervolume above (0, 0) of the feasible networks up to each trial, on the validation split: the "
        "area that they dominate, at most 1. Each dot is a trial that increased it."
    )
    if cost is not None:
        caption += (
            f" Right: the same over the {cost[0]} of all trainings up to that trial, in the order of their "
            "numbers, also of those that were stopped or failed."
        )
    figures = {"history": history_figure(run_data)}
    content = figure_place("history", "wide")
    if cost is not None:
        figures["history-cost"] = history_figure(run_data, cost)
        content = (
            f'<div class="pair">{figure_place("history", "half")}{figure_place("history-cost", "half")}</div>'
        )
    total = spent(run_data)
    content = f'<div class="words">{paragraphs([_cost_words(run_data, total)])}</div>{content}'
    summary = f"{total.trainings:,} trainings, {total.epochs:,} epochs"
    if cost is not None:
        summary += f", {cost[1][-1]:.3g} {cost[0]}"
    return section(
        "Cost, and hypervolume over trials and hours", content, caption, "search", figures, summary
    )


def _cost_words(run_data: RunData, total: Spent) -> str:
    """Return a sentence on the trainings and the hours of a search."""
    words = (
        f"The search trained {total.trainings:,} networks for {total.epochs:,} epochs, controls included: "
        f"{total.complete:,} finished, {total.stopped:,} were stopped early, {total.failed:,} failed."
    )
    if seconds := float(run_data.trials["seconds"].sum()):
        hours = [f"{total.core_hours:.3g} core-hours"]
        if total.gpu_hours:
            hours.append(f"{total.gpu_hours:.3g} GPU-hours")
        words += f" The trainings took {duration(seconds)} in sum, which is {' and '.join(hours)}."
    return f"{words} Replicates and the verification are not counted."


Cost = tuple[str, list[float]]
"""A unit, and the sum of the costs up to each trial."""


def hours_of_trainings(run_data: RunData) -> Cost | None:
    """Return the GPU-hours of all trainings up to each trial, or the core-hours of a search without GPUs.

    None where the durations are not known.
    """
    seconds = run_data.trials["seconds"].fillna(0.0).to_numpy(dtype=float)
    cores, gpus = hours_of_training(run_data)
    if not seconds.sum() or not (gpus or cores):
        return None
    unit = "GPU-hours" if gpus else "core-hours"
    return unit, [float(f"{hours:.5g}") for hours in np.cumsum(seconds / HOUR * (gpus or cores))]


def history_figure(run_data: RunData, cost: Cost | None = None) -> Figure:
    """Draw the hypervolume above (0, 0), and that of the controls alone.

    Args:
        run_data: The run.
        cost: The horizontal axis; None for the numbers of the trials.
    """
    counted, numbers = run_data.counted, run_data.trials["number"].astype(int).tolist()
    places: Sequence[float]
    unit, places = ("trial", numbers) if cost is None else cost
    history = hypervolume_history([counted.get(number, ()) for number in numbers])
    rises = np.flatnonzero(np.diff(history, prepend=0.0) > 0)
    data: list[Figure] = [
        {
            **line(list(places), rounded(history, 5), "@front", 1.8),
            "customdata": numbers,
            "line": {"color": "@front", "width": 1.8, "shape": "hv"},
            "hoverinfo": "text",
            "hovertext": [
                f"hypervolume after trial {number}: {value:.4f}"
                for number, value in zip(numbers, history, strict=True)
            ],
            "name": "all trials",
        },
        {
            "type": "scatter", "mode": "markers", "x": [places[i] for i in rises],
            "customdata": [numbers[i] for i in rises],
            "y": rounded(history[rises], 5),
            "name": "hypervolume increased",
            "marker": {"color": "@front", "size": 6}, "hoverinfo": "skip",
        },
    ]  # fmt: skip
    control = run_data.control_hypervolume
    if control and numbers:
        ends = [places[0], places[-1] if places[-1] > places[0] else places[0] + 1]
        data.append(
            {**line(ends, [control] * 2, "@control", 1.2, "dot"), "name": f"controls alone: {control:.4f}"}
        )
    layout = layout_of(unit, "hypervolume above (0, 0)", legend=True)
    return {"data": data, "layout": layout}
