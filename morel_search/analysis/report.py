"""The report of a run: one page, and the front as a figure for papers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from morel_search.analysis.figures import history_figure, importance_figure, learning_figures, slice_figure
from morel_search.analysis.front_figure import front_figure
from morel_search.analysis.importance import FEWEST_TRIALS, importance
from morel_search.analysis.page import (
    control_list,
    failure_table,
    figure_place,
    fill_page,
    front_table,
    reproduce_section,
    section,
    settings_section,
    text,
)
from morel_search.analysis.paper import paper_figure
from morel_search.analysis.parallel import parallel_data
from morel_search.analysis.summary import RunSummary, read_summary
from morel_search.analysis.wording import chance_words
from morel_search.results import RunFolder

__all__ = ["write_report"]


def write_report(run: RunFolder) -> Path:
    """Draw ``report.html``, one page that needs no network, and ``figures/front`` as PNG, SVG and PDF.

    Works at any time: of a search that still runs, that failed altogether, or that was never measured on the test split.

    Args:
        run: The run's folder; nothing but its files is read.

    Returns:
        The page's path.

    Raises:
        RunFolderError: A file of the folder is damaged, or the report cannot be written.
    """
    from plotly.offline import get_plotlyjs

    summary = read_summary(run)
    if len(summary.complete):
        for kind, data in paper_figure(summary).items():
            run.write_bytes(run.figures / f"front.{kind}", data)
    figures: dict[str, Any] = {}
    body = _front(summary, figures) + _parameters(summary, figures) + _course(summary, figures)
    body += [settings_section(summary), reproduce_section(summary)]
    run.write_text(run.report, fill_page(summary, body, figures, get_plotlyjs()))
    return run.report


def _front(summary: RunSummary, figures: dict[str, Any]) -> list[str]:
    """The front, the controls beside it, and its table."""
    if summary.complete.empty:
        return [section("The front", "<p>There is no front: no trial has finished with a result.</p>", ident="front")]
    figures["front"] = front_figure(summary)
    said = ["Up and to the right is better: whatever lies below the line is beaten by a network on it.", chance_words(summary)]
    if summary.tested:
        said.append("Hollow circles are the same networks on the test split, the fairer view: the filled ones were picked for being high.")
    parts = [section("The front", figure_place("front", "wide"), " ".join(filter(None, said)), "front")]
    if len(summary.controls):
        caption = "Known settings at the same budget, each beside the most robust network of the front that is at least as accurate."
        parts.append(section("What the controls got", control_list(summary), caption, "controls"))
    caption = "A click on a heading sorts. Clean and robust: on the validation split, which chose these networks."
    caption += " Test: measured once, afterwards." if summary.tested else ""
    parts.append(section("The networks on the front", front_table(summary), caption, "networks"))
    return parts


def _parameters(summary: RunSummary, figures: dict[str, Any]) -> list[str]:
    """Parallel coordinates, importance and slices."""
    if summary.searched.empty or not summary.parameters:
        return []
    figures["parallel"] = parallel_data(summary)
    caption = (
        "One line a searched trial, from ochre (least robust) to blue; the front's are bold. Drag along an axis to filter, click to undo."
    )
    parts = [
        section("Parameters", '<div class="scroll"><div id="parallel"></div></div>', caption, "parameters"),
        _importance(summary, figures),
    ]
    blocks = []
    for index, parameter in enumerate(summary.parameters):
        if summary.searched[parameter.column].notna().any():
            figures[f"slice-{index}"] = slice_figure(summary, parameter)
            blocks.append(f"<div><h3>{text(parameter.name)}</h3>{figure_place(f'slice-{index}', 'small')}</div>")
    caption = "Filled: robust accuracy. Hollow: clean accuracy. In percent, one pair a trial."
    return [*parts, section("Each parameter against both accuracies", f'<div class="grid">{"".join(blocks)}</div>', caption, "slices")]


def _importance(summary: RunSummary, figures: dict[str, Any]) -> str:
    title, count = "Which parameters matter", len(summary.searched)
    if count < FEWEST_TRIALS:
        said = f"Too few trials to tell: {count} of the search have finished, and it takes about {FEWEST_TRIALS}."
        return section(title, f"<p>{text(said)}</p>", ident="importance")
    shares = importance(summary.trials, _described(summary.settings))
    if not (shares["trials"] >= FEWEST_TRIALS).any():
        return section(title, "<p>Too few trials with the same parameters active to tell.</p>", ident="importance")
    figures["importance"] = figure = importance_figure(shares)
    rows = figure.pop("rows")
    few = sorted(set(shares[shares["trials"] < FEWEST_TRIALS]["parameter"]))
    caption = (
        f"Share of each accuracy's variance over the search space that a parameter explains (fANOVA, {int(shares['trials'].max())} trials)."
    )
    caption += (
        " A conditional parameter is judged among the trials in which it is active." if any(one.when for one in summary.parameters) else ""
    )
    caption += f" Active in fewer than {FEWEST_TRIALS} trials, so not shown: {', '.join(few)}." if few else ""
    return section(title, figure_place("importance", "wide", 96 + 40 * rows), caption, "importance")


def _course(summary: RunSummary, figures: dict[str, Any]) -> list[str]:
    """Hypervolume, learning curves and failures."""
    parts = []
    if len(summary.complete):
        figures["history"] = history_figure(summary)
        caption = "Hypervolume: the area that the front dominates, from no accuracy at all; 1 would be perfect. A dot: the front moved."
        parts.append(section("The search", figure_place("history", "wide"), caption, "search"))
    curves = learning_figures(summary)
    for index, (_, figure) in enumerate(curves):
        figures[f"curve-{index}"] = figure
    if curves:
        places = "".join(f"<div>{figure_place(f'curve-{index}', 'half')}</div>" for index in range(len(curves)))
        caption = "The front on the validation split, from its most accurate network to its most robust. A dot: the epoch that counts."
        parts.append(section("Learning curves", f'<div class="pair">{places}</div>', caption, "curves"))
    if len(summary.failed):
        parts.append(section("What failed", failure_table(summary), ident="failures"))
    return parts


def _described(settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list((settings.get("space") or {}).get("parameters") or [])
