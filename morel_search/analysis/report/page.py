"""The report of a run: one HTML page, and the front as a figure for papers."""

from __future__ import annotations

from pathlib import Path

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
from morel_search.analysis.report.plotly_traces import Figures
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
    """Write ``report.html``, which needs no internet access, and ``figures/front`` as PNG, SVG and PDF.

    The search may still be running, all its trials may have failed, and the test split may not have been
    used.

    Args:
        run: The run folder; only its files are read.

    Returns:
        The path of the page.

    Raises:
        RunFolderError: A file of the folder is damaged, or the report cannot be written.
    """
    from plotly.offline import get_plotlyjs

    run_data = read_run_data(run)
    if len(run_data.complete):
        for kind, data in paper_figure(run_data).items():
            run.write_bytes(run.figures / f"front.{kind}", data)
    figures: Figures = {}
    body = (
        _front(run_data, figures)
        + _verified(run_data, figures)
        + _parameters(run_data, figures)
        + _course(run_data, figures)
    )
    body += [settings_section(run_data), reproduce_section(run_data)]
    run.write_text(run.report, fill_page(run_data, body, figures, get_plotlyjs()))
    return run.report


def _front(run_data: RunData, figures: Figures) -> list[str]:
    """Return the sections of the front: figure, comparison with the controls, table."""
    if run_data.complete.empty:
        return [
            section("The front", "<p>There is no front: no trial finished with a result.</p>", ident="front")
        ]
    figures["front"] = front_figure(run_data)
    if run_data.feasible.empty:
        caption = (
            "Validation split. Each cross is a network that violates a constraint, so there is no front."
        )
        return [
            section("The networks", figure_place("front", "wide"), caption, "front"),
            *_controls(run_data),
        ]
    attack = attack_text(run_data.section("evaluation"))
    lines = [
        f"Clean accuracy and robust accuracy ({attack}) of every finished network on the validation split. "
        "Higher is better; networks below the line are dominated by the front.",
        chance_words(run_data),
    ]
    if run_data.constraints or len(run_data.infeasible):
        lines.append(constraint_words(run_data))
    if len(run_data.infeasible):
        lines.append("Crosses are infeasible networks; they are never on the front.")
    if run_data.tested:
        lines.append(
            "Hollow circles are the networks of the front on the test split. Their validation accuracies are "
            "biased upwards, because the networks were selected for them."
        )
    parts = [section("The front", figure_place("front", "wide"), " ".join(filter(None, lines)), "front")]
    parts += _controls(run_data)
    caption = (
        "Clean and robust: accuracies on the validation split, on which the networks were selected; robust "
        f"accuracy under {attack}."
    )
    caption += " Test: accuracies on the test split, measured after the search." if run_data.tested else ""
    caption += " 12-7 is trial 12 after epoch 7." if run_data.select_epoch == "front" else ""
    caption += " Click on a heading to sort."
    parts.append(section("The networks on the front", front_table(run_data), caption, "networks"))
    return parts


def _verified(run_data: RunData, figures: Figures) -> list[str]:
    """Return the sections of the verification and of the replicates, as far as they exist."""
    verification, parts = read_verification(run_data), list[str]()
    replicated = read_replication(run_data, verification.flagged if verification else ())
    if verification is not None:
        epsilon = str(run_data.section("evaluation").get("epsilon", "?"))
        names = {
            run_data.network(row["number"], row["epoch"]): str(row["name"])
            for row in run_data.controls.to_dict("records")
        }
        parts += verified_sections(verification, epsilon, MULTIPLES, figures, names)
    if replicated:
        parts.append(replication_section(replicated, attack_text(run_data.section("evaluation")), figures))
    return parts


def _controls(run_data: RunData) -> list[str]:
    if run_data.controls.empty:
        return []
    caption = (
        "Validation accuracies of trainings with fixed settings. Each control is compared with the most "
        "robust "
        "network of the front that dominates it."
    )
    return [section("Controls", control_list(run_data), caption, "controls")]


def _parameters(run_data: RunData, figures: Figures) -> list[str]:
    """Return the sections of the parameters: parallel coordinates, importance and slices."""
    if run_data.searched.empty or not run_data.parameters:
        return []
    figures["parallel"] = parallel_data(run_data)
    caption = (
        "One line per searched trial that finished, coloured by robust validation accuracy from ochre "
        "(lowest) "
        "to blue (highest); trials on the front are bold. Drag along an axis to filter the trials, click on "
        "it "
        "to remove the filter."
    )
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
    caption = (
        "Filled dots: robust accuracy. Hollow dots: clean accuracy. Both in percent on the validation split, "
        "one dot of each per searched trial."
    )
    return [
        *parts,
        section(
            "Each parameter against both accuracies",
            f'<div class="grid">{"".join(blocks)}</div>',
            caption,
            "slices",
        ),
    ]


def _importance(run_data: RunData, figures: Figures) -> str:
    title, count = "Parameter importance", len(run_data.searched)
    if count < FEWEST_TRIALS:
        sentence = (
            f"Too few trials: {count} searched trials finished, and the importance needs at least "
            f"{FEWEST_TRIALS}."
        )
        return section(title, f"<p>{text(sentence)}</p>", ident="importance")
    shares = importance(run_data.trials, run_data.settings.parameters)
    if not (shares["trials"] >= FEWEST_TRIALS).any():
        return section(title, "<p>Too few trials with the same active parameters.</p>", ident="importance")
    figures["importance"] = figure = importance_figure(shares)
    rows = figure.pop("rows")
    few = sorted(set(shares[shares["trials"] < FEWEST_TRIALS]["parameter"]))
    caption = (
        "Share of the variance of each validation accuracy over the search space that a parameter explains "
        f"(fANOVA, {int(shares['trials'].max())} trials)."
    )
    if any(parameter.when for parameter in run_data.parameters):
        caption += " A conditional parameter is assessed on the trials in which it is active."
    caption += f" Not shown, active in fewer than {FEWEST_TRIALS} trials: {', '.join(few)}." if few else ""
    return section(title, figure_place("importance", "wide", 96 + 40 * rows), caption, "importance")


def _course(run_data: RunData, figures: Figures) -> list[str]:
    """Return the sections of the search: hypervolume, learning curves, early stopping and failures."""
    parts = []
    if len(run_data.feasible):
        figures["history"] = history_figure(run_data)
        caption = (
            "Hypervolume above (0, 0) of the feasible networks up to each trial, on the validation split: "
            "the "
            "area that they dominate, at most 1. Each dot is a trial that increased it."
        )
        parts.append(section("The search", figure_place("history", "wide"), caption, "search"))
    curves = learning_figures(run_data)
    for index, (_, figure) in enumerate(curves):
        figures[f"curve-{index}"] = figure
    if curves:
        counted = (
            "Dots: epochs on the front." if run_data.select_epoch == "front" else "Dots: the selected epochs."
        )
        stopped = " Faint lines that end in a cross: trials stopped early." if len(run_data.stopped) else ""
        stopped += " Dotted vertical lines: the rungs of early stopping." if run_data.rungs else ""
        places = "".join(
            f"<div>{figure_place(f'curve-{index}', 'half')}</div>" for index in range(len(curves))
        )
        caption = (
            "Validation accuracies of the trials on the front over the epochs, coloured from the most "
            "accurate "
            f"on clean images (ochre) to the most robust (blue). {counted}{stopped}"
        )
        comparison = last_epoch_words(run_data)
        words = f'<div class="words"><p>{text(comparison)}</p></div>' if comparison else ""
        parts.append(
            section("Learning curves", f'{words}<div class="pair">{places}</div>', caption, "curves")
        )
    terms = gradient_figures(run_data)
    for index, (_, figure) in enumerate(terms):
        figures[f"term-{index}"] = figure
    if terms:
        places = "".join(f"<div>{figure_place(f'term-{index}', 'half')}</div>" for index in range(len(terms)))
        caption = (
            "Share of each term of the robust objective in the gradient with respect to the features, on "
            "the first "
            "training batch of each epoch, for the trials on the front; the remaining share is that of the "
            "accuracy objective. A term with a share near zero hardly affects the training, whatever its "
            "weight."
        )
        content = f'<div class="pair">{places}</div>'
        parts.append(section("Gradient share of each loss term", content, caption, "terms"))
    parts += _stopping(run_data)
    if len(run_data.failed):
        parts.append(section("Failed trials", failure_table(run_data), ident="failures"))
    return parts


def _stopping(run_data: RunData) -> list[str]:
    """Return the section of early stopping: saved epochs and rank correlations; empty without rungs."""
    if not run_data.rungs:
        return []
    costs = stopping_costs(run_data.trials, run_data.settings)
    correlations = rung_correlations(run_data.trials, run_data.epochs, run_data.rungs, run_data.select_epoch)
    saving, later = (
        saving_sentence(costs),
        regret_sentence(regret(run_data.trials, set(run_data.front["number"]))),
    )
    first = (
        f"{saving[0].upper()}{saving[1:]}: {costs.trained} epochs were trained instead of {costs.full}."
        if saving
        else "No trial was stopped early."
    )
    words = "".join(f"<p>{text(sentence)}</p>" for sentence in (first, later) if sentence)
    notes = "".join(f'<p class="note">{text(warning)}</p>' for warning in stopping_warnings(correlations))
    caption = (
        "At each of these epochs the trials are ranked, and those that rank low are stopped early. Rank "
        "correlation: Spearman's, between the validation accuracies at this epoch and at the end, over the "
        "trials that finished; 1 is the same order, 0 is no correlation."
    )
    content = f'<div class="words">{words}</div>{stopping_table(run_data, costs, correlations)}{notes}'
    return [section("Early stopping", content, caption, "stopping")]
