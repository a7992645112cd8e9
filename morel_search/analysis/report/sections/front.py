"""The section of the search's own view of the front: all finished networks, on validation images."""

from __future__ import annotations

import math

from morel_search._format import attack_text, points
from morel_search.analysis.report.constraints import constraint_words
from morel_search.analysis.report.front_figure import front_figure
from morel_search.analysis.report.front_view import outside_words
from morel_search.analysis.report.html import Section, figure_place, section, text
from morel_search.analysis.report.sections.trials import colour_columns
from morel_search.analysis.run_data import RunData

__all__ = ["front_section"]


def front_section(run_data: RunData, *, verified: bool = False) -> Section:
    """Return the section of the front; without a finished trial it says that there is no front.

    Args:
        run_data: The run.
        verified: Whether the page leads with a verification, so that this figure is the second one.
    """
    if run_data.complete.empty:
        nothing = "<p>There is no front: no trial finished with a result.</p>"
        return section("The front", nothing, ident="front")
    title, caption = "The search's own view, not verified", _caption(run_data)
    if run_data.feasible.empty:
        title = "The networks"
        caption = (
            "Validation split. Each cross is a network that violates a constraint, so there is no front."
        )
    figures = {"front": front_figure(run_data)}
    summary = "validation images, the search's attack" if verified else ""
    content = f"{_colour_choice(run_data)}{figure_place('front', 'wide')}"
    return section(title, content, caption, "front", figures, summary)


def _colour_choice(run_data: RunData) -> str:
    """Return the choice of the value by which the points are coloured, and the place of its key."""
    options = "".join(
        f'<option value="{column}" data-log="{"yes" if log else "no"}">{text(name)}</option>'
        for column, name, log in colour_columns(run_data)
    )
    return (
        '<p class="filter"><label>Colour by <select id="colour-by"><option value="">kind of network</option>'
        f'{options}</select></label> <span id="colour-key" role="status"></span></p>'
    )


def _caption(run_data: RunData) -> str:
    attack = attack_text(run_data.section("evaluation"))
    lines = [
        f"Clean accuracy and robust accuracy ({attack}) of every finished network on the validation split. "
        "Higher is better; networks below the line are dominated by the front.",
        outside_words(run_data),
        chance_words(run_data),
    ]
    if run_data.constraints or len(run_data.infeasible):
        lines.append(constraint_words(run_data))
    if len(run_data.infeasible):
        lines.append("Crosses are infeasible networks; they are never on the front.")
    if len(run_data.stopped):
        lines.append(
            "Faint crosses are trials that were stopped early, at their last epoch, under the quick attack."
        )
    if run_data.tested:
        lines.append(
            "Hollow markers are the same networks on the test images, under the same attack; a line joins "
            "both. The validation accuracies of the front are biased upwards, because the networks were "
            "selected by them."
        )
    return " ".join(filter(None, lines))


def chance_words(run_data: RunData) -> str:
    """Return the largest standard error of a validation accuracy; empty for an unknown number of images."""
    count = run_data.validation_images
    if count is None:
        return ""
    return (
        f"With {count} validation images, the standard error of an accuracy is at most "
        f"{points(0.5 / math.sqrt(count))}."
    )
