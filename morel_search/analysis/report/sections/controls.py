"""The section of the controls: each control against the networks of the front."""

from __future__ import annotations

from morel_search._format import percent, points
from morel_search.analysis.report.html import Section, section, text
from morel_search.analysis.run_data import POINT, RunData

__all__ = ["compare_controls", "controls_section"]


def controls_section(run_data: RunData) -> Section | None:
    """Return the section of the controls; None without controls."""
    if run_data.controls.empty:
        return None
    caption = (
        "Validation accuracies of trainings with fixed settings. Each control is compared with the most "
        "robust network of the front that dominates it."
    )
    lines = [
        f'<div><dt>{text(name)}</dt><dd><span class="point">{text(point)}.</span> {text(sentence)}</dd></div>'
        for name, point, sentence in compare_controls(run_data)
    ]
    return section("Controls", f'<dl class="controls">{"".join(lines)}</dl>', caption, "controls")


def compare_controls(run_data: RunData) -> list[tuple[str, str, str]]:
    """Compare each control with the networks of the front.

    Returns:
        For each control: its name, its validation accuracies, and a sentence that names the most robust
        searched network on the front that dominates it, or says that there is none.
    """
    members = run_data.front[run_data.front["origin"] != "control"]
    infeasible, compared = set(run_data.infeasible["number"]), []
    for _, control in run_data.controls.iterrows():
        clean, robust = float(control[POINT[0]]), float(control[POINT[1]])
        rivals = members[(members[POINT[0]] >= clean) & (members[POINT[1]] >= robust)]
        rivals = rivals[(rivals[POINT[0]] > clean) | (rivals[POINT[1]] > robust)]
        if rivals.empty:
            sentence = "Not dominated by any searched network" + (
                "; it is on the front." if control["number"] in set(run_data.front["number"]) else "."
            )
        else:
            rival = rivals.sort_values([POINT[1], POINT[0]]).iloc[-1]
            sentence = _dominated_by(
                run_data.network(rival["number"], rival["epoch"]),
                float(rival[POINT[0]]) - clean,
                float(rival[POINT[1]]) - robust,
            )
        if control["number"] in infeasible:
            sentence += " It violates a constraint."
        compared.append(
            (
                str(control["name"]) or f"trial {control['number']}",
                f"{percent(clean)} clean, {percent(robust)} robust",
                sentence,
            )
        )
    return compared


def _dominated_by(network: str, clean: float, robust: float) -> str:
    named = f"Dominated by network {network}:"
    if robust <= 0:
        return f"{named} {points(clean)} more clean accuracy, the same robust accuracy."
    if clean < 0.0005:
        return f"{named} {points(robust)} more robust accuracy, the same clean accuracy."
    return f"{named} {points(robust)} more robust accuracy, {points(clean)} more clean accuracy."
