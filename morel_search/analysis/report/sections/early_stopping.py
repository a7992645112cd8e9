"""The section of early stopping: saved epochs, and rank correlations at the rungs."""

from __future__ import annotations

from collections.abc import Sequence

from morel_search.analysis.report.html import Cell, Section, paragraphs, section, table
from morel_search.analysis.run_data import RunData
from morel_search.analysis.stopping import (
    RungCorrelation,
    StoppingCosts,
    regret,
    regret_sentence,
    rung_correlations,
    saving_sentence,
    stopping_costs,
    stopping_warnings,
)

__all__ = ["early_stopping_section"]


def early_stopping_section(run_data: RunData) -> Section | None:
    """Return the section of early stopping; None for a run without it."""
    if not run_data.rungs:
        return None
    costs = stopping_costs(run_data.trials, run_data.settings)
    correlations = rung_correlations(run_data.trials, run_data.epochs, run_data.rungs, run_data.select_epoch)
    saving = saving_sentence(costs)
    first = "No trial was stopped early."
    if saving:
        first = (
            f"{saving[0].upper()}{saving[1:]}: {costs.trained} epochs were trained instead of {costs.full}."
        )
    later = regret_sentence(regret(run_data.trials, set(run_data.front["number"])))
    words = f'<div class="words">{paragraphs(filter(None, (first, later)))}</div>'
    notes = paragraphs(stopping_warnings(correlations), "note")
    caption = (
        "At each of these epochs the trials are ranked, and those that rank low are stopped early. Rank "
        "correlation: Spearman's, between the validation accuracies at this epoch and at the end, over the "
        "trials that finished; 1 is the same order, 0 is no correlation."
    )
    content = f"{words}{_table(run_data, costs, correlations)}{notes}"
    return section("Early stopping", content, caption, "stopping", summary=saving or first)


def _table(run_data: RunData, costs: StoppingCosts, correlations: Sequence[RungCorrelation]) -> str:
    """Return the table of the rungs: trials that reached it, trials stopped there, rank correlations."""
    rows: list[Sequence[Cell]] = []
    for correlation in correlations:
        reached = int((run_data.trials["rung"].dropna() >= correlation.rung).sum())
        counts = (correlation.rung, reached, costs.stopped.get(correlation.rung, 0))
        rows.append(
            [
                *((str(count), count) for count in counts),
                *(
                    "–" if value is None else (f"{value:.2f}", value)
                    for value in (correlation.clean, correlation.robust)
                ),
            ]
        )
    heads = ["rung (epoch)", "trials that reached it", "stopped early"]
    heads += ["rank correlation, clean", "rank correlation, robust"]
    return table(heads, rows, "Rungs of early stopping", "rungs", sortable=False)
