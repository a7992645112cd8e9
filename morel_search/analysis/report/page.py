"""The report of a run: one HTML page with its sections in order, and the front as a figure for papers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from morel_search.analysis.replication import Replicated, read_replication
from morel_search.analysis.report.figure_tables import figure_tables, remove_other_tables
from morel_search.analysis.report.head import key_figures, status_notes
from morel_search.analysis.report.html import Group, Section
from morel_search.analysis.report.lead import sentences, title
from morel_search.analysis.report.paper_figure import paper_figure
from morel_search.analysis.report.sections.attacks import (
    attacks_section,
    missing_section,
    transfer_section,
)
from morel_search.analysis.report.sections.controls import controls_section, search_claims
from morel_search.analysis.report.sections.early_stopping import early_stopping_section
from morel_search.analysis.report.sections.failures import failures_section
from morel_search.analysis.report.sections.front import front_section
from morel_search.analysis.report.sections.gains import gains_section, verified_claims
from morel_search.analysis.report.sections.gradient_shares import gradient_shares_section
from morel_search.analysis.report.sections.hypervolume import hypervolume_section
from morel_search.analysis.report.sections.importance import importance_section
from morel_search.analysis.report.sections.learning_curves import learning_curves_section
from morel_search.analysis.report.sections.mixtures import mixtures_section
from morel_search.analysis.report.sections.networks import networks_section
from morel_search.analysis.report.sections.parameters import parameters_section
from morel_search.analysis.report.sections.pictures import pictures_section
from morel_search.analysis.report.sections.radius import radius_section
from morel_search.analysis.report.sections.replicates import replicates_section
from morel_search.analysis.report.sections.reproduce import reproduce_section
from morel_search.analysis.report.sections.rivals import rivals_section
from morel_search.analysis.report.sections.settings import settings_section
from morel_search.analysis.report.sections.slices import slices_section
from morel_search.analysis.report.sections.trials import trials_section
from morel_search.analysis.report.sections.verified_front import verified_front_section
from morel_search.analysis.report.seeds import Reversal, reversals
from morel_search.analysis.report.template import Head, figures_of, page_text
from morel_search.analysis.report.version import version_of
from morel_search.analysis.run_data import RunData, read_run_data
from morel_search.analysis.verification import Verification
from morel_search.analysis.verification_reader import leading, read_verification
from morel_search.results.folder import RunFolder

__all__ = ["report_text", "write_report"]

MOST_DRAWINGS = 5
"""Largest number of drawings of a page whose files change while it is drawn.

Without the later ones, a page that another process began to draw before the end of a search would replace the
page that the search has drawn at its end.
"""


def write_report(run: RunFolder) -> Path:
    """Write ``report.html``, which needs no internet access, and ``figures/``.

    The folder has ``front`` as PNG, SVG and PDF for papers, and the data of each figure of the page as CSV.

    The search may still be running, all its trials may have failed, and the test split may not have been
    used.

    Args:
        run: The run folder; only its files are read.

    Returns:
        The path of the page.

    Raises:
        RunFolderError: A file of the folder is damaged, or the report cannot be written.
    """
    for _ in range(MOST_DRAWINGS):
        version = version_of(run)
        _write(run)
        if version_of(run) == version:
            break
    return run.report


def _write(run: RunFolder) -> None:
    run_data = read_run_data(run)
    verification = read_verification(run_data)
    if len(run_data.complete):
        for kind, data in paper_figure(run_data, leading(verification)).items():
            run.write_bytes(run.figures / f"front.{kind}", data)
    groups = _groups(run_data, verification)
    names = {} if leading(verification) is None else {"front": "search-front", "verified": "front"}
    tables = {names.get(ident, ident): table for ident, table in figure_tables(figures_of(groups)).items()}
    for name, table in tables.items():
        run.write_text(run.figures / f"{name}.csv", table)
    run.write_text(run.report, _page(run_data, verification, groups))
    remove_other_tables(run, tables)


def report_text(run: RunFolder) -> str:
    """Return the page of a run without writing anything; see :func:`write_report`."""
    run_data = read_run_data(run)
    verification = read_verification(run_data)
    return _page(run_data, verification, _groups(run_data, verification))


def _groups(run_data: RunData, verification: Verification | None) -> list[Group]:
    """Return the groups of the page in the order of a reader's questions, without what the run has not."""
    leads = leading(verification)
    flagged = () if verification is None else verification.flagged
    replicated = read_replication(run_data, flagged)
    front = front_section(run_data, verified=leads is not None)
    gains = None if verification is None else gains_section(verification, replicated)
    claims = [*([] if verification is None else verified_claims(verification)), *search_claims(run_data)]
    again = reversals(claims, replicated)
    groups = (
        ("tradeoff", "Trade-off", "The trade-off", [*_fronts(run_data, front, verification, leads)], 1),
        (
            "choose",
            "Choose",
            "Which network to take",
            [
                networks_section(run_data, leads, again),
                mixtures_section(run_data, verification),
                trials_section(run_data, verification),
            ],
            1,
        ),
        ("trust", "Trust", "Can I believe it?", _evidence(run_data, verification, replicated, again), 0),
        (
            "gain",
            "Gain",
            "What it gains over the controls and rivals"
            if run_data.rivals
            else "What it gains over the controls",
            [gains, controls_section(run_data, replicated), rivals_section(run_data, verification)],
            0,
        ),
        (
            "drivers",
            "Settings",
            "Which settings mattered",
            [
                importance_section(run_data),
                parameters_section(run_data),
                slices_section(run_data),
                gradient_shares_section(run_data),
            ],
            0,
        ),
        (
            "cost",
            "Cost",
            "What it cost, and what early stopping risked",
            [
                hypervolume_section(run_data),
                early_stopping_section(run_data),
                learning_curves_section(run_data),
                failures_section(run_data),
            ],
            int(run_data.complete.empty),  # without a result, the reasons of the failures are what matters
        ),
        ("again", "Repeat", "How to repeat it", [reproduce_section(run_data), settings_section(run_data)], 1),
    )
    made = [
        Group(ident, short, name, tuple(part for part in parts if part is not None), unfolded)
        for ident, short, name, parts, unfolded in groups
    ]
    return [group for group in made if group.sections]


def _fronts(
    run_data: RunData, front: Section, verification: Verification | None, leads: Verification | None
) -> list[Section]:
    """Return the verified front and the search's own, first the one with which the page leads."""
    if verification is None:
        return [front]
    epsilon = run_data.section("evaluation").get("epsilon")
    verified = verified_front_section(verification, epsilon)
    return [front, verified] if leads is None else [verified, front]


def _evidence(
    run_data: RunData,
    verification: Verification | None,
    replicated: Sequence[Replicated],
    again: Sequence[Reversal],
) -> list[Section | None]:
    """Return the sections on the strength of the attacks, gradient masking, seeds, and what did not run."""
    seeds = replicates_section(replicated, run_data, again)
    missing = missing_section(run_data, verification)
    pictures = pictures_section(run_data, verification)
    if verification is None:
        return [pictures, seeds, missing]
    epsilon = str(run_data.section("evaluation").get("epsilon", "?"))
    return [
        attacks_section(verification),
        pictures,
        radius_section(verification, epsilon),
        transfer_section(verification),
        seeds,
        missing,
    ]


def _page(run_data: RunData, verification: Verification | None, groups: Sequence[Group]) -> str:
    """Return the page."""
    settings, headline = run_data.settings, title(run_data, verification)
    version = settings.versions.get("morel_search", "")
    head = Head(
        title=f"{run_data.run.name}: {headline}",
        name=run_data.run.name,
        headline=headline,
        notes=status_notes(run_data),
        lead=sentences(run_data, verification),
        facts=key_figures(run_data, verification),
        date=(settings.created or "")[:16].replace("T", " "),
        source=f"Written by morel_search {version} from the files of this run folder. Accuracies are "
        "percentages on this page and fractions in the files.",
    )
    return page_text(head, groups)
