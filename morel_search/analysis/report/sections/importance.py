"""The section of the parameter importance: what decides whether a trial is among the best, and how surely."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from morel_search._format import percent
from morel_search.analysis.importance import (
    BEST,
    FEWEST_TRIALS,
    KEPT,
    RESAMPLES,
    TARGETS,
    ComparedTrials,
    compare,
    importance,
)
from morel_search.analysis.report.html import Section, figure_place, paragraphs, section, text
from morel_search.analysis.report.plotly_traces import Figure, Figures, layout_of, rounded, short
from morel_search.analysis.run_data import RunData

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["importance_figure", "importance_section"]

_TITLES = dict(zip(TARGETS, ("Clean accuracy", "Robust accuracy", "Closeness to the front"), strict=True))
_COLOURS = dict(zip(TARGETS, ("@second", "@front", "@ink"), strict=True))
_BAR, _AROUND = 25, 70
"""Height of a bar and of the rest of a figure, in pixels."""


def importance_section(run_data: RunData) -> Section | None:
    """Return the section of the importance, or why there is none; None without a trial of the search."""
    if not run_data.parameters or not (run_data.trials["origin"] != "control").any():
        return None
    compared = compare(
        run_data.trials, run_data.epochs, run_data.rungs, run_data.select_epoch, run_data.parameters
    )
    count = len(compared.rows)
    if count < FEWEST_TRIALS:
        return _without_figure(
            f"Too few trials: {_have_values(compared)}, and the importance needs at least {FEWEST_TRIALS}."
        )
    table = importance(compared.rows, run_data.parameters)
    if table.empty:
        return _without_figure(
            f"None of the parameters was active, with different values, in at least {FEWEST_TRIALS} of the "
            f"{count} trials."
        )
    names = list(dict.fromkeys(table["parameter"]))
    left_out = [parameter.name for parameter in run_data.parameters if parameter.name not in names]
    conditional = {parameter.name for parameter in run_data.parameters if parameter.when}
    longest = max(10.0, 100 * float(table[["high", "chance"]].max().max()))
    figures: Figures = {}
    blocks = []
    for target in TARGETS:
        rows = table[table["target"] == target]
        figures[f"importance-{target}"] = importance_figure(rows, conditional, longest)
        place = figure_place(f"importance-{target}", "small", _AROUND + _BAR * len(rows))
        words = paragraphs([_verdict(rows)], "caption")
        blocks.append(f"<div><h3>{text(_TITLES[target])}</h3>{place}{words}</div>")
    content = paragraphs(
        [_method(compared, run_data), _reading(conditional & set(names), left_out)], "caption"
    )
    content += f'<div class="triple">{"".join(blocks)}</div>'
    return section("Parameter importance", content, "", "importance", figures)


def _without_figure(sentence: str) -> Section:
    return section("Parameter importance", f"<p>{text(sentence)}</p>", ident="importance")


def _have_values(compared: ComparedTrials) -> str:
    """Return how many trials are compared, without a full stop."""
    count = len(compared.rows)
    trials = f"{count} searched trial{'' if count == 1 else 's'}"
    if compared.epoch is None:
        return f"{trials} finished"
    return f"{trials} reached epoch {compared.epoch}, the first rung of early stopping"


def _method(compared: ComparedTrials, run_data: RunData) -> str:
    """Return the epoch and the trials of the figures, and what a bar is."""
    states = compared.rows["state"].value_counts()
    kinds = (("COMPLETE", "complete"), ("PRUNED", "stopped early"), ("FAIL", "failed later"))
    parts = [f"{states[state]} {words}" for state, words in kinds if state in states]
    if compared.epoch is None:
        source = f"The accuracies are the results of all {len(compared.rows)} finished trials of the search."
    else:
        source = (
            f"{_have_values(compared)} ({', '.join(parts)}). The accuracies are those that early stopping "
            "compared there, so that stopped and complete trials are comparable."
        )
    sentences = (
        f"{source} A bar is the share of the variance of being among the best {percent(BEST, 0)} of these "
        "trials that the parameter explains alone (PED-ANOVA)."
    )
    if run_data.constraints:
        sentences += " Constraints are not applied here."
    return sentences


def _reading(conditional: set[str], left_out: Sequence[str]) -> str:
    """Return how stable and other bars are read, and which parameters are not shown."""
    sentences = (
        f"Solid bar: the rank is stable. At least {percent(KEPT, 0)} of {RESAMPLES} bootstrap samples give "
        "the parameter this rank, and the bar exceeds chance: when the best trials are drawn at random, the "
        "longest bar ends before the dotted line in 95 of 100 cases. Hatched bar: the rank is not stable. "
        "Its place in the order can be chance, and more trials may change it. Whisker: 95% interval."
    )
    if conditional:
        sentences += (
            " Number in brackets: the trials in which a conditional parameter is active; it is assessed among"
            " them."
        )
    if left_out:
        sentences += (
            f" Not shown, because they had one value or were active in fewer than {FEWEST_TRIALS} trials: "
            f"{', '.join(left_out)}."
        )
    return sentences


def _verdict(rows: pd.DataFrame) -> str:
    """Return which parameters of one target have a stable rank."""
    stable = rows[rows["stable"]]
    leader = rows.iloc[0]
    in_samples = f"{round(leader['first'] * RESAMPLES)} of {RESAMPLES} samples"
    if stable.empty:
        longer = ", ".join(str(name) for name in rows[rows["importance"] > rows["chance"]]["parameter"])
        return (
            f"These trials do not settle the order: {leader['parameter']}, the longest bar, is first in "
            f"{in_samples}. "
            + (f"Longer than chance: {longer}." if longer else "No bar is longer than chance.")
        )
    if leader["stable"]:
        more = ", ".join(str(name) for name in stable["parameter"][1:])
        others = f" Stable as well: {more}." if more else " The order of the others is not settled."
        return f"{leader['parameter']} matters most: it is first in {in_samples}." + others * (len(rows) > 1)
    ranks = ", ".join(f"{row['parameter']} (rank {row['rank']})" for _, row in stable.iterrows())
    return f"Which parameter is first is not settled. Stable: {ranks}."


def importance_figure(rows: pd.DataFrame, conditional: set[str], longest: float) -> Figure:
    """Draw the importance of each parameter for one target, the first on top.

    Args:
        rows: Rows of one target.
        conditional: Names of the parameters whose number of active trials is shown.
        longest: Right end of the axis, in percent; the figures of a page share it, so that bars compare.
    """
    rows = rows.iloc[::-1]
    colour = _COLOURS[str(rows["target"].iloc[0])]
    labels = [
        f"{short(str(name))} ({trials})" if name in conditional else short(str(name))
        for name, trials in zip(rows["parameter"], rows["trials"], strict=True)
    ]
    share, low, high = (rows[column].to_numpy(dtype=float) * 100 for column in ("importance", "low", "high"))
    stable = rows["stable"].to_numpy(dtype=bool)
    bars = {
        "type": "bar", "orientation": "h", "y": labels, "x": rounded(share, 2),
        "marker": {
            "color": colour, "opacity": [1.0 if flag else 0.55 for flag in stable],
            "line": {"color": colour, "width": [0 if flag else 1 for flag in stable]},
            "pattern": {"shape": ["" if flag else "/" for flag in stable], "fgcolor": colour,
                        "bgcolor": "rgba(0,0,0,0)", "size": 5, "solidity": 0.25, "fillmode": "overlay"},
        },
        "error_x": {"type": "data", "symmetric": False, "array": rounded(high - share, 2),
                    "arrayminus": rounded(share - low, 2), "color": "@ink", "thickness": 1, "width": 3},
        "hoverinfo": "text",
        "hovertext": [
            f"{label}: {value:.0f}% ({left:.0f}% to {right:.0f}%)<br>this rank in {percent(kept, 0)} of the "
            f"samples, first in {percent(first, 0)}"
            for label, value, left, right, kept, first in zip(
                labels, share, low, high, rows["kept"], rows["first"], strict=True
            )
        ],
    }  # fmt: skip
    layout = layout_of("share of the variance (%)", "", legend=False)
    chance = float(rows["chance"].iloc[0]) * 100
    layout.update(bargap=0.38)
    layout["shapes"] = [
        {"type": "line", "xref": "x", "yref": "paper", "x0": chance, "x1": chance, "y0": 0, "y1": 1,
         "line": {"color": "@muted", "width": 1, "dash": "dot"}}
    ]  # fmt: skip
    layout["annotations"] = [
        {"x": chance, "y": 1, "xref": "x", "yref": "paper", "xanchor": "center", "yanchor": "bottom",
         "text": "chance", "showarrow": False, "font": {"size": 10.5, "color": "@muted"}}
    ]  # fmt: skip
    layout["meta"] = {"y": "parameter"}
    layout["margin"].update(l=8, r=10, t=20)
    layout["yaxis"].update(showgrid=False, automargin=True, type="category", ticks="")
    layout["yaxis"]["tickfont"] = {"color": "@ink", "size": 11}
    layout["xaxis"].update(range=[0, longest * 1.05], zeroline=True, zerolinecolor="@muted", nticks=5)
    return {"data": [bars], "layout": layout}
