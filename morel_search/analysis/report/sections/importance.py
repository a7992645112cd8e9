"""The section of the parameter importance: the variance of each accuracy that each parameter explains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from morel_search.analysis.importance import FEWEST_TRIALS, importance
from morel_search.analysis.report.html import Section, figure_place, section, text
from morel_search.analysis.report.plotly_traces import Figure, layout_of, rounded, short
from morel_search.analysis.run_data import RunData

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["importance_figure", "importance_section"]


def importance_section(run_data: RunData) -> Section | None:
    """Return the section of the importance, or why there is none; None without searched trials."""
    count = len(run_data.searched)
    if not count or not run_data.parameters:
        return None
    if count < FEWEST_TRIALS:
        return _without_figure(
            f"Too few trials: {count} searched trials finished, and the importance needs at least "
            f"{FEWEST_TRIALS}."
        )
    shares = importance(run_data.trials, run_data.settings.parameters)
    if not (shares["trials"] >= FEWEST_TRIALS).any():
        return _without_figure("Too few trials with the same active parameters.")
    few = sorted(set(shares[shares["trials"] < FEWEST_TRIALS]["parameter"]))
    caption = (
        "Share of the variance of each validation accuracy over the search space that a parameter explains "
        f"(fANOVA, {int(shares['trials'].max())} trials)."
    )
    if any(parameter.when for parameter in run_data.parameters):
        caption += " A conditional parameter is assessed on the trials in which it is active."
    caption += f" Not shown, active in fewer than {FEWEST_TRIALS} trials: {', '.join(few)}." if few else ""
    height = 96 + 40 * (shares["parameter"].nunique() - len(few))
    figures = {"importance": importance_figure(shares)}
    content = figure_place("importance", "wide", height)
    return section("Parameter importance", content, caption, "importance", figures)


def _without_figure(sentence: str) -> Section:
    return section("Parameter importance", f"<p>{text(sentence)}</p>", ident="importance")


def importance_figure(table: pd.DataFrame) -> Figure:
    """Draw the importance of each parameter for each objective, without parameters with too few trials."""
    table = table[table["trials"] >= FEWEST_TRIALS]
    shares = table.pivot_table(index="parameter", columns="objective", values="importance", dropna=False)
    shares = shares.loc[shares.mean(axis=1).sort_values(kind="stable").index]
    labels = [short(str(name)) for name in shares.index]
    data = [
        {
            "type": "bar", "orientation": "h", "name": title, "y": labels,
            "x": rounded(shares[objective] * 100, 2),
            "marker": {"color": colour},
            "text": [f"{value:.0f}%" for value in shares[objective] * 100], "textposition": "outside",
            "cliponaxis": False,
            "hoverinfo": "skip", "textfont": {"color": "@muted", "size": 11},
        }
        for objective, title, colour in (
            ("robust_accuracy", "robust accuracy", "@front"),
            ("clean_accuracy", "clean accuracy", "@second"),
        )
    ]  # fmt: skip
    layout = layout_of("share of the variance explained (%)", "", legend=True)
    layout.update(barmode="group", bargap=0.35, bargroupgap=0.12)
    layout["legend"]["traceorder"] = "reversed"
    layout["yaxis"].update(showgrid=False, automargin=True, type="category", ticks="")
    layout["xaxis"].update(
        range=[0, max(10.0, float(np.nanmax(shares.to_numpy())) * 112)], zeroline=True, zerolinecolor="@muted"
    )
    return {"data": data, "layout": layout}
