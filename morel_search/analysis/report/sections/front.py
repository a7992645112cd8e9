"""The section of the front: the figure of all finished networks, and what was measured."""

from __future__ import annotations

import math

from morel_search._format import attack_text, points
from morel_search.analysis.report.constraints import constraint_words
from morel_search.analysis.report.front_figure import front_figure
from morel_search.analysis.report.html import Section, figure_place, section
from morel_search.analysis.run_data import RunData

__all__ = ["front_section"]


def front_section(run_data: RunData) -> Section:
    """Return the section of the front; without a finished trial it says that there is no front."""
    if run_data.complete.empty:
        nothing = "<p>There is no front: no trial finished with a result.</p>"
        return section("The front", nothing, ident="front")
    title, caption = "The front", _caption(run_data)
    if run_data.feasible.empty:
        title = "The networks"
        caption = (
            "Validation split. Each cross is a network that violates a constraint, so there is no front."
        )
    figures = {"front": front_figure(run_data)}
    return section(title, figure_place("front", "wide"), caption, "front", figures)


def _caption(run_data: RunData) -> str:
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
