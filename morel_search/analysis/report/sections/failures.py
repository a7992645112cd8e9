"""The section of the failed trials, grouped by the reason of the failure."""

from __future__ import annotations

from collections.abc import Sequence

from morel_search.analysis.report.html import Cell, Section, section, table
from morel_search.analysis.run_data import RunData

__all__ = ["failures_section"]

MOST_REASONS, MOST_TRIALS = 40, 12
"""Largest number of rows in the table of failures, and of trials that a row names."""


def failures_section(run_data: RunData) -> Section | None:
    """Return the section of the failed trials; None when no trial failed."""
    if run_data.failed.empty:
        return None
    trials: dict[str, list[str]] = {}
    for row in run_data.failed.to_dict("records"):
        trial = str(row["number"]) + (f" ({row['name']})" if row["name"] else "")
        trials.setdefault(reason_words(row["failure"]), []).append(trial)
    rows: list[Sequence[Cell]] = []
    for reason, named in sorted(trials.items(), key=lambda item: -len(item[1]))[:MOST_REASONS]:
        shown = ", ".join(named[:MOST_TRIALS]) + (", …" if len(named) > MOST_TRIALS else "")
        rows.append([(str(len(named)), len(named)), reason, shown])
    more = len(trials) - MOST_REASONS
    note = f"<p>{more} more reasons are in trials.csv.</p>" if more > 0 else ""
    content = table(["count", "reason", "trials"], rows, "Failed trials by reason", "reasons") + note
    count = len(run_data.failed)
    summary = f"{count} of {len(run_data.trials)}"
    return section("Failed trials", content, ident="failures", summary=summary)


def reason_words(text: object) -> str:
    """Return the reason of a failure, shortened to about 600 characters."""
    reason = str(text).strip() or "no reason was recorded"
    return reason if len(reason) <= 600 else f"{reason[:400]} … {reason[-180:]}"
