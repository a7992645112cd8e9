"""The report of a run: one page, and the front as a figure for papers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from morel_search.analysis.report.figures import gradient_figures, history_figure, importance_figure, learning_figures, slice_figure
from morel_search.analysis.report.front_figure import front_figure
from morel_search.analysis.importance import FEWEST_TRIALS, importance
from morel_search.analysis.report.last_epoch import last_epoch_words
from morel_search.analysis.report.html import (
    control_list,
    failure_table,
    figure_place,
    fill_page,
    front_table,
    reproduce_section,
    section,
    settings_section,
    stopping_table,
    text,
)
from morel_search.analysis.report.paper_figure import paper_figure
from morel_search.analysis.report.parallel_coordinates import parallel_data
from morel_search.analysis.replication import read_replication
from morel_search.analysis.report.replication import replication_section
from morel_search.analysis.stopping import (
    regret,
    regret_sentence,
    rung_correlations,
    saving_sentence,
    stopping_costs,
    stopping_warnings,
)
from morel_search.analysis.run_data import RunSummary, read_summary
from morel_search.analysis.verification import read_verification
from morel_search.analysis.report.verification import verified_sections
from morel_search.analysis.report.text import attack_words, chance_words, constraint_words
from morel_search.results.folder import RunFolder
from morel_search.results.attack_names import MULTIPLES

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
    body = _front(summary, figures) + _verified(summary, figures) + _parameters(summary, figures) + _course(summary, figures)
    body += [settings_section(summary), reproduce_section(summary)]
    run.write_text(run.report, fill_page(summary, body, figures, get_plotlyjs()))
    return run.report


def _front(summary: RunSummary, figures: dict[str, Any]) -> list[str]:
    """The front, the controls beside it, and its table."""
    if summary.complete.empty:
        return [section("The front", "<p>There is no front: no trial has finished with a result.</p>", ident="front")]
    figures["front"] = front_figure(summary)
    if summary.keeping.empty:
        caption = "Up and to the right is better. Each cross is a network that breaks a constraint, so there is no front."
        return [section("The networks", figure_place("front", "wide"), caption, "front"), *_controls(summary)]
    said = ["Up and to the right is better: whatever lies below the line is beaten by a network on it.", chance_words(summary)]
    if summary.constraints or len(summary.breaking):
        said.append(constraint_words(summary))
    if len(summary.breaking):
        said.append("Crosses are those that do; they are never on the front.")
    if summary.tested:
        said.append("Hollow circles are the same networks on the test split, the fairer view: the filled ones were picked for being high.")
    parts = [section("The front", figure_place("front", "wide"), " ".join(filter(None, said)), "front")]
    parts += _controls(summary)
    caption = "A click on a heading sorts. Clean and robust: on the validation split, which chose these networks."
    caption += " Test: measured once, afterwards." if summary.tested else ""
    caption += " 12-7 is trial 12 after epoch 7." if summary.point == "front" else ""
    parts.append(section("The networks on the front", front_table(summary), caption, "networks"))
    return parts


def _verified(summary: RunSummary, figures: dict[str, Any]) -> list[str]:
    """The front under strong attacks, and with other seeds; as far as it was looked at."""
    found, parts = read_verification(summary), list[str]()
    again = read_replication(summary, found.flagged if found else ())
    if found is not None:
        parts += verified_sections(found, str(summary.section("evaluation").get("epsilon", "?")), MULTIPLES, figures)
    if again:
        parts.append(replication_section(again, attack_words(summary.section("evaluation")), figures))
    return parts


def _controls(summary: RunSummary) -> list[str]:
    if summary.controls.empty:
        return []
    caption = "Known settings at the same budget, each beside the most robust network of the front that is at least as accurate."
    return [section("What the controls got", control_list(summary), caption, "controls")]


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
    if len(summary.keeping):
        figures["history"] = history_figure(summary)
        caption = "Hypervolume: the area that the front dominates, from no accuracy at all; 1 would be perfect. A dot: the front moved."
        parts.append(section("The search", figure_place("history", "wide"), caption, "search"))
    curves = learning_figures(summary)
    for index, (_, figure) in enumerate(curves):
        figures[f"curve-{index}"] = figure
    if curves:
        counted = "Dots: its epochs on the front." if summary.point == "front" else "A dot: the epoch that counts."
        stopped = " Faint, with a cross at the end: stopped early." if len(summary.stopped) else ""
        stopped += " Dotted lines: where trainings are compared." if summary.rungs else ""
        places = "".join(f"<div>{figure_place(f'curve-{index}', 'half')}</div>" for index in range(len(curves)))
        caption = f"The front on the validation split, from its most accurate network to its most robust. {counted}{stopped}"
        said = last_epoch_words(summary)
        words = f'<div class="words"><p>{text(said)}</p></div>' if said else ""
        parts.append(section("Learning curves", f'{words}<div class="pair">{places}</div>', caption, "curves"))
    terms = gradient_figures(summary)
    for index, (_, figure) in enumerate(terms):
        figures[f"term-{index}"] = figure
    if terms:
        places = "".join(f"<div>{figure_place(f'term-{index}', 'half')}</div>" for index in range(len(terms)))
        caption = (
            "How much of the gradient that reaches the features each term of the robust objective has, at the first batch of an epoch; "
        )
        caption += "the rest is the accuracy objective's. A term near zero does nothing, whatever its weight."
        parts.append(section("What the trainings listened to", f'<div class="pair">{places}</div>', caption, "terms"))
    parts += _stopping(summary)
    if len(summary.failed):
        parts.append(section("What failed", failure_table(summary), ident="failures"))
    return parts


def _stopping(summary: RunSummary) -> list[str]:
    """What early stopping saved and whether its rungs can be trusted; nothing where nothing could be stopped."""
    if not summary.rungs:
        return []
    costs = stopping_costs(summary.trials, summary.settings)
    correlations = rung_correlations(summary.trials, summary.epochs, summary.rungs, summary.point)
    saving, later = saving_sentence(costs), regret_sentence(regret(summary.trials, set(summary.front["number"])))
    first = f"{saving[0].upper()}{saving[1:]}: {costs.trained} were trained instead of {costs.full}." if saving else "Nothing was stopped."
    words = "".join(f"<p>{text(sentence)}</p>" for sentence in (first, later) if sentence)
    notes = "".join(f'<p class="note">{text(warning)}</p>' for warning in stopping_warnings(correlations))
    caption = "Trainings are compared at these epochs, and the ones behind are stopped. The rank correlation says how well the order there"
    caption += " agrees with the order at the end, over the trainings that ran to their end; 1 is full agreement, 0 is chance."
    content = f'<div class="words">{words}</div>{stopping_table(summary, costs, correlations)}{notes}'
    return [section("Early stopping", content, caption, "stopping")]


def _described(settings: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list((settings.get("space") or {}).get("parameters") or [])
