"""The report of a run: one page, and the front as a figure for papers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from morel_search._format import attack_text
from morel_search.analysis.importance import FEWEST_TRIALS, importance
from morel_search.analysis.replication import read_replication
from morel_search.analysis.report.figures import (
    gradient_figures,
    history_figure,
    importance_figure,
    learning_figures,
    slice_figure,
)
from morel_search.analysis.report.front_figure import front_figure
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
from morel_search.analysis.report.last_epoch import last_epoch_words
from morel_search.analysis.report.paper_figure import paper_figure
from morel_search.analysis.report.parallel_coordinates import parallel_data
from morel_search.analysis.report.replication import replication_section
from morel_search.analysis.report.text import chance_words, constraint_words
from morel_search.analysis.report.verification import verified_sections
from morel_search.analysis.run_data import RunData, read_run_data
from morel_search.analysis.stopping import (
    regret,
    regret_sentence,
    rung_correlations,
    saving_sentence,
    stopping_costs,
    stopping_warnings,
)
from morel_search.analysis.verification import read_verification
from morel_search.results.attack_names import MULTIPLES
from morel_search.results.folder import RunFolder

__all__ = ["write_report"]


def write_report(run: RunFolder) -> Path:
    """Draw ``report.html``, one page that needs no network, and ``figures/front`` as PNG, SVG and PDF.

    Works at any time: of a search that still runs, that failed altogether, or that was never measured on the
    test split.

    Args:
        run: The run's folder; nothing but its files is read.

    Returns:
        The page's path.

    Raises:
        RunFolderError: A file of the folder is damaged, or the report cannot be written.
    """
    from plotly.offline import get_plotlyjs

    run_data = read_run_data(run)
    if len(run_data.complete):
        for kind, data in paper_figure(run_data).items():
            run.write_bytes(run.figures / f"front.{kind}", data)
    figures: dict[str, Any] = {}
    body = (
        _front(run_data, figures)
        + _verified(run_data, figures)
        + _parameters(run_data, figures)
        + _course(run_data, figures)
    )
    body += [settings_section(run_data), reproduce_section(run_data)]
    run.write_text(run.report, fill_page(run_data, body, figures, get_plotlyjs()))
    return run.report


def _front(run_data: RunData, figures: dict[str, Any]) -> list[str]:
    """The front, the controls beside it, and its table."""
    if run_data.complete.empty:
        return [
            section(
                "The front", "<p>There is no front: no trial has finished with a result.</p>", ident="front"
            )
        ]
    figures["front"] = front_figure(run_data)
    if run_data.feasible.empty:
        caption = "Higher is better on both axes. Each cross is a network that violates a constraint, so there is no front."
        return [
            section("The networks", figure_place("front", "wide"), caption, "front"),
            *_controls(run_data),
        ]
    said = [
        "Higher is better on both axes: a network below the line is dominated by a network on it.",
        chance_words(run_data),
    ]
    if run_data.constraints or len(run_data.infeasible):
        said.append(constraint_words(run_data))
    if len(run_data.infeasible):
        said.append("Crosses are networks that violate a constraint; they are never on the front.")
    if run_data.tested:
        said.append(
            "Hollow circles are the same networks on the test split. They are the unbiased view: the filled "
            "circles were selected because they are high."
        )
    parts = [section("The front", figure_place("front", "wide"), " ".join(filter(None, said)), "front")]
    parts += _controls(run_data)
    caption = "Click a heading to sort. Clean and robust: accuracies on the validation split, by which these networks were selected."
    caption += " Test: measured once, after the search." if run_data.tested else ""
    caption += " 12-7 is trial 12 after epoch 7." if run_data.select_epoch == "front" else ""
    parts.append(section("The networks on the front", front_table(run_data), caption, "networks"))
    return parts


def _verified(run_data: RunData, figures: dict[str, Any]) -> list[str]:
    """The front under strong attacks, and with other seeds; as far as it was looked at."""
    found, parts = read_verification(run_data), list[str]()
    again = read_replication(run_data, found.flagged if found else ())
    if found is not None:
        parts += verified_sections(
            found, str(run_data.section("evaluation").get("epsilon", "?")), MULTIPLES, figures
        )
    if again:
        parts.append(replication_section(again, attack_text(run_data.section("evaluation")), figures))
    return parts


def _controls(run_data: RunData) -> list[str]:
    if run_data.controls.empty:
        return []
    caption = "Known methods, trained with the same number of epochs. Each is compared with the most robust network of the front whose clean accuracy is at least as high. Validation split."
    return [section("Controls and the front", control_list(run_data), caption, "controls")]


def _parameters(run_data: RunData, figures: dict[str, Any]) -> list[str]:
    """Parallel coordinates, importance and slices."""
    if run_data.searched.empty or not run_data.parameters:
        return []
    figures["parallel"] = parallel_data(run_data)
    caption = "Each line is a trial of the search, coloured from ochre (least robust) to blue (most robust); trials on the front are bold. Drag along an axis to filter, click to undo."
    parts = [
        section("Parameters", '<div class="scroll"><div id="parallel"></div></div>', caption, "parameters"),
        _importance(run_data, figures),
    ]
    blocks = []
    for index, parameter in enumerate(run_data.parameters):
        if run_data.searched[parameter.column].notna().any():
            figures[f"slice-{index}"] = slice_figure(run_data, parameter)
            blocks.append(
                f"<div><h3>{text(parameter.name)}</h3>{figure_place(f'slice-{index}', 'small')}</div>"
            )
    caption = "Filled: robust accuracy. Hollow: clean accuracy. In percent, on the validation split, one pair a trial."
    return [
        *parts,
        section(
            "Each parameter against both accuracies",
            f'<div class="grid">{"".join(blocks)}</div>',
            caption,
            "slices",
        ),
    ]


def _importance(run_data: RunData, figures: dict[str, Any]) -> str:
    title, count = "Which parameters matter", len(run_data.searched)
    if count < FEWEST_TRIALS:
        said = f"Too few trials: {count} trials of the search have finished, and about {FEWEST_TRIALS} are needed."
        return section(title, f"<p>{text(said)}</p>", ident="importance")
    shares = importance(run_data.trials, run_data.settings.parameters)
    if not (shares["trials"] >= FEWEST_TRIALS).any():
        return section(
            title, "<p>Too few trials in which the same parameters are active.</p>", ident="importance"
        )
    figures["importance"] = figure = importance_figure(shares)
    rows = figure.pop("rows")
    few = sorted(set(shares[shares["trials"] < FEWEST_TRIALS]["parameter"]))
    caption = f"Share of each accuracy's variance over the search space that a parameter explains (fANOVA, {int(shares['trials'].max())} trials)."
    caption += (
        " The importance of a conditional parameter is computed from the trials in which it is active."
        if any(one.when for one in run_data.parameters)
        else ""
    )
    caption += f" Active in fewer than {FEWEST_TRIALS} trials, so not shown: {', '.join(few)}." if few else ""
    return section(title, figure_place("importance", "wide", 96 + 40 * rows), caption, "importance")


def _course(run_data: RunData, figures: dict[str, Any]) -> list[str]:
    """Hypervolume, learning curves and failures."""
    parts = []
    if len(run_data.feasible):
        figures["history"] = history_figure(run_data)
        caption = "Hypervolume: the area that the front dominates above the reference point (0, 0), on the validation split; its maximum is 1. A dot marks a trial that raised it."
        parts.append(section("The search", figure_place("history", "wide"), caption, "search"))
    curves = learning_figures(run_data)
    for index, (_, figure) in enumerate(curves):
        figures[f"curve-{index}"] = figure
    if curves:
        counted = (
            "Dots: its epochs on the front."
            if run_data.select_epoch == "front"
            else "A dot marks the selected epoch."
        )
        stopped = (
            " Faint lines with a cross at the end: trainings stopped early." if len(run_data.stopped) else ""
        )
        stopped += " Dotted lines: rungs of early stopping." if run_data.rungs else ""
        places = "".join(
            f"<div>{figure_place(f'curve-{index}', 'half')}</div>" for index in range(len(curves))
        )
        caption = f"Validation accuracy of the networks on the front, from the most accurate to the most robust. {counted}{stopped}"
        said = last_epoch_words(run_data)
        words = f'<div class="words"><p>{text(said)}</p></div>' if said else ""
        parts.append(
            section("Learning curves", f'{words}<div class="pair">{places}</div>', caption, "curves")
        )
    terms = gradient_figures(run_data)
    for index, (_, figure) in enumerate(terms):
        figures[f"term-{index}"] = figure
    if terms:
        places = "".join(f"<div>{figure_place(f'term-{index}', 'half')}</div>" for index in range(len(terms)))
        caption = "Share of each loss term in the gradient with respect to the features, at the first batch of an epoch; "
        caption += "the rest belongs to the accuracy objective. A term whose share is near zero has no effect, whatever its weight."
        parts.append(
            section("Gradient share of each loss term", f'<div class="pair">{places}</div>', caption, "terms")
        )
    parts += _stopping(run_data)
    if len(run_data.failed):
        parts.append(section("Failed trials", failure_table(run_data), ident="failures"))
    return parts


def _stopping(run_data: RunData) -> list[str]:
    """What early stopping saved and whether its rungs can be trusted.

    Nothing where nothing could be stopped.
    """
    if not run_data.rungs:
        return []
    costs = stopping_costs(run_data.trials, run_data.settings)
    correlations = rung_correlations(run_data.trials, run_data.epochs, run_data.rungs, run_data.select_epoch)
    saving, later = (
        saving_sentence(costs),
        regret_sentence(regret(run_data.trials, set(run_data.front["number"]))),
    )
    first = (
        f"{saving[0].upper()}{saving[1:]}: {costs.trained} were trained instead of {costs.full}."
        if saving
        else "Nothing was stopped."
    )
    words = "".join(f"<p>{text(sentence)}</p>" for sentence in (first, later) if sentence)
    notes = "".join(f'<p class="note">{text(warning)}</p>' for warning in stopping_warnings(correlations))
    caption = "At these epochs (rungs), trainings are compared and the dominated ones are stopped. Rank correlation: how well the order at a rung"
    caption += " predicts the order at the end, over the trainings that ran to their end; 1 is the same order, 0 is chance."
    content = f'<div class="words">{words}</div>{stopping_table(run_data, costs, correlations)}{notes}'
    return [section("Early stopping", content, caption, "stopping")]
