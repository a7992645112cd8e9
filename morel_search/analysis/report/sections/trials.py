"""The section of all trials: a table that the script draws, and what a selected trial shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from morel_search._format import percent, shortened, with_interval
from morel_search.analysis.report.commands import module_command
from morel_search.analysis.report.html import Section, scrollable, section, text
from morel_search.analysis.report.plotly_traces import Figure
from morel_search.analysis.report.sections.failures import reason_words
from morel_search.analysis.run_data import LAST, POINT, TEST, Row, RunData
from morel_search.analysis.verification import Verification
from morel_search.results.cells import whole_number
from morel_search.results.tables import STATES

__all__ = ["colour_columns", "trials_data", "trials_section"]

STATE_NAMES = ("finished", "stopped early", "failed")
"""The words for :data:`~morel_search.results.tables.STATES`; a row of the data has the index of its state."""

LONGEST = 80
"""Longest text of a cell, in characters."""

HEADS = ("trial", "state", "origin", "epoch", "clean", "robust", "last clean", "last robust", "time (s)")
"""Headings of the columns before the parameters."""

COLOURED = {"clean": "clean accuracy (%)", "robust": "robust accuracy (%)", "time (s)": "training time (s)"}
"""Columns before the parameters by which points can be coloured, with the words of the choice."""


def trials_section(run_data: RunData, verification: Verification | None) -> Section | None:
    """Return the section with the table of all trials; None without a trial."""
    if run_data.trials.empty:
        return None
    options = "".join(
        f'<option value="{value}">{text(name)}</option>'
        for value, name in (("", "all trials"), ("front", "on the front"), *enumerate(STATE_NAMES))
    )
    place = scrollable('<div id="trials-table"></div>', "All trials")
    content = (
        f'<p class="filter"><label>Show <select id="trials-state">{options}</select></label> '
        '<span id="trials-count" role="status"></span></p>'
        f"{place}"
    )
    caption = (
        "Accuracies on validation images: of the selected epoch under the final attack, and of the last "
        "epoch under the quick attack. Select a trial here with a click or with the Enter and the arrow "
        "keys, or in a figure with a click: it is then marked in every figure. Escape ends the selection."
    )
    counts = [(run_data.trials["state"] == state).sum() for state in STATES]
    summary = ", ".join(f"{count} {name}" for count, name in zip(counts, STATE_NAMES, strict=True) if count)
    figures = {"trials": trials_data(run_data, verification)}
    return section("All trials", content, caption, "trials", figures, summary)


def trials_data(run_data: RunData, verification: Verification | None) -> Figure:
    """Return all trials as plain data for the script of the page.

    Returns:
        ``heads``: the headings. ``parameters``: the index of the first parameter. ``rows``: for each trial
        its number, the index of its state, origin, selected epoch, four accuracies in percent, seconds, and
        the texts of its parameters; None where a value is not known. ``members``: the names of the networks
        on the front, by trial. ``notes``: more lines on a trial, by its number. ``pick``: the command to
        which the name of a network is added.
    """
    members: dict[int, list[str]] = {}
    for number, epoch in zip(run_data.front["number"], run_data.front["epoch"], strict=True):
        members.setdefault(int(number), []).append(run_data.network(number, epoch))
    verified = _verified_lines(verification)
    notes: dict[int, list[str]] = {}
    for row in run_data.trials.to_dict("records"):
        number = int(row["number"])
        if lines := [*verified.get(number, ()), *_lines(row)]:
            notes[number] = lines
    return {
        "heads": [*HEADS, *(parameter.name for parameter in run_data.parameters)],
        "parameters": len(HEADS),
        "states": list(STATE_NAMES),
        "rows": [_row(row, run_data) for row in run_data.trials.to_dict("records")],
        "members": members,
        "notes": notes,
        "pick": module_command("pick", run_data, "--member"),
    }


def colour_columns(run_data: RunData) -> list[tuple[int, str, bool]]:
    """Return the columns of the data by which points can be coloured: accuracies, time, and parameters.

    Returns:
        For each, its index, its name, and whether its scale is logarithmic.
    """
    columns = [(HEADS.index(head), words, False) for head, words in COLOURED.items()]
    return columns + [
        (len(HEADS) + index, parameter.name, parameter.log)
        for index, parameter in enumerate(run_data.parameters)
    ]


def _row(row: Row, run_data: RunData) -> list[object]:
    state = str(row["state"])
    origin = f"control {row['name']}" if row["origin"] == "control" else str(row["origin"])
    accuracies = [float(row[column]) for column in (*POINT, *LAST)]
    return [
        int(row["number"]),
        STATES.index(state) if state in STATES else state[:20],
        shortened(origin, LONGEST),
        whole_number(row["epoch"]),
        *(round(100 * value, 2) if math.isfinite(value) else None for value in accuracies),
        round(seconds, 1) if math.isfinite(seconds := float(row["seconds"])) else None,
        *(shortened(parameter.text(row.get(parameter.column)), LONGEST) for parameter in run_data.parameters),
    ]


def _lines(row: Row) -> list[str]:
    """Return what the table does not show: test accuracies, violated constraints, the reason of a failure."""
    lines = []
    clean, robust = (float(row[column]) for column in TEST)
    if math.isfinite(clean) and math.isfinite(robust):
        lines.append(f"test images, the search's attack: {percent(clean)} clean, {percent(robust)} robust")
    if float(row["violation"]) > 0:
        lines.append("violates a constraint")
    if row["state"] == "FAIL":
        lines.append(f"failed: {reason_words(row['failure'])[:200]}")
    return lines


def _verified_lines(verification: Verification | None) -> Mapping[int, Sequence[str]]:
    lines: dict[int, list[str]] = {}
    for network in () if verification is None else verification.networks:
        clean, robust = (
            with_interval(value, interval)
            for value, interval in zip(network.accuracy, network.intervals, strict=True)
        )
        verdict = "" if verification is None else verification.verdict(network)
        words = f"verified: {clean} clean, {robust} robust; {verdict}"
        lines.setdefault(network.number, []).append(
            f"{network.name}, {words}" if str(network.number) != network.name else words
        )
    return lines
