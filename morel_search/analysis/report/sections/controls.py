"""The section of the controls in the search's own view: each control against the networks of the front."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from morel_search._format import percent, points
from morel_search.analysis.differences import difference_words, unpaired_difference
from morel_search.analysis.replication import Replicated
from morel_search.analysis.report.html import Section, section, text
from morel_search.analysis.report.seeds import (
    ACCURACIES,
    Claim,
    reversal_reference,
    reversals,
)
from morel_search.analysis.run_data import POINT, Row, RunData

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["compare_controls", "controls_section", "search_claims"]


def controls_section(run_data: RunData, replicated: Sequence[Replicated] = ()) -> Section | None:
    """Return the section of the controls; None without controls."""
    if run_data.controls.empty:
        return None
    images = run_data.validation_images
    known = (
        "The differences have no intervals, because the number of validation images is not recorded."
        if images is None
        else f"In parentheses: 95% intervals in points for {images} images, as for differences on different "
        "images (Newcombe), so rather too wide."
    )
    caption = (
        "Validation accuracies of trainings with fixed settings, under the search's final attack; not "
        "verified. Each control is compared with the most robust network of the front that dominates it. "
        f"{known}"
    )
    compared = compare_controls(run_data)
    lines = [
        f'<div><dt>{text(name)}</dt><dd><span class="point">{text(point)}.</span> {text(sentence)}</dd></div>'
        for name, point, sentence in compared
    ]
    notes = reversal_reference(reversals(search_claims(run_data), replicated))
    count = len([control for _, control in run_data.controls.iterrows() if _rival(run_data, control) is None])
    summary = f"{len(compared) - count} of {len(compared)} controls dominated"
    content = f'{notes}<dl class="controls">{"".join(lines)}</dl>'
    return section("Controls in the search's own view", content, caption, "controls", summary=summary)


def compare_controls(run_data: RunData) -> list[tuple[str, str, str]]:
    """Compare each control with the networks of the front.

    Returns:
        For each control: its name, its validation accuracies, and a sentence that names the most robust
        searched network on the front that dominates it, or says that there is none.
    """
    infeasible, compared = set(run_data.infeasible["number"]), []
    for _, control in run_data.controls.iterrows():
        clean, robust = float(control[POINT[0]]), float(control[POINT[1]])
        claims = _claims(run_data, control)
        if not claims:
            sentence = "Not dominated by any searched network" + (
                "; it is on the front." if control["number"] in set(run_data.front["number"]) else "."
            )
        else:
            sentence = _dominated_by(claims, run_data.validation_images is not None)
        if control["number"] in infeasible:
            sentence += " It violates a constraint."
        compared.append((_name(control), f"{percent(clean)} clean, {percent(robust)} robust", sentence))
    return compared


def search_claims(run_data: RunData) -> list[Claim]:
    """Return the differences between each control and the network of the front that dominates it."""
    return [claim for _, control in run_data.controls.iterrows() for claim in _claims(run_data, control)]


def _name(control: pd.Series[float]) -> str:
    return str(control["name"]) or f"trial {control['number']}"


def _rival(run_data: RunData, control: pd.Series[float]) -> Row | None:
    """Return the most robust searched network of the front that dominates a control; None without one."""
    members = run_data.front[run_data.front["origin"] != "control"]
    clean, robust = float(control[POINT[0]]), float(control[POINT[1]])
    rivals = members[(members[POINT[0]] >= clean) & (members[POINT[1]] >= robust)]
    rivals = rivals[(rivals[POINT[0]] > clean) | (rivals[POINT[1]] > robust)]
    return None if rivals.empty else rivals.sort_values([POINT[1], POINT[0]]).to_dict("records")[-1]


def _claims(run_data: RunData, control: pd.Series[float]) -> list[Claim]:
    """Return the differences between a control and the network that dominates it, robust accuracy first."""
    rival = _rival(run_data, control)
    if rival is None:
        return []
    images = run_data.validation_images
    network, own = (run_data.network(row["number"], row["epoch"]) for row in (rival, control))
    return [
        Claim(
            network,
            _name(control),
            own,
            axis,
            unpaired_difference(float(rival[POINT[axis]]), float(control[POINT[axis]]), images or 0),
            "on validation images",
        )
        for axis in (1, 0)
    ]


def _dominated_by(claims: Sequence[Claim], intervals: bool) -> str:
    parts = []
    for claim in sorted(claims, key=lambda claim: claim.difference.value == 0):
        name, value = ACCURACIES[claim.axis], claim.difference.value
        if intervals:
            words = difference_words(claim.difference, name)
        else:
            words = f"the same {name}" if value < 0.0005 else f"{points(value)} more {name}"
        parts.append(words)
    return f"Dominated by network {claims[0].network}: {', '.join(parts)}."
