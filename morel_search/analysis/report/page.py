"""The report of a run: one HTML page with its sections in order, and the front as a figure for papers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template

from morel_search.analysis.headline import headline
from morel_search.analysis.replication import read_replication
from morel_search.analysis.report.head import key_figures, sentences, status_notes
from morel_search.analysis.report.html import Section, paragraphs, text
from morel_search.analysis.report.paper_figure import paper_figure
from morel_search.analysis.report.plotly_traces import Figures
from morel_search.analysis.report.sections.attacks import attacks_section, transfer_section
from morel_search.analysis.report.sections.controls import controls_section
from morel_search.analysis.report.sections.early_stopping import early_stopping_section
from morel_search.analysis.report.sections.failures import failures_section
from morel_search.analysis.report.sections.front import front_section
from morel_search.analysis.report.sections.gains import gains_section
from morel_search.analysis.report.sections.gradient_shares import gradient_shares_section
from morel_search.analysis.report.sections.hypervolume import hypervolume_section
from morel_search.analysis.report.sections.importance import importance_section
from morel_search.analysis.report.sections.learning_curves import learning_curves_section
from morel_search.analysis.report.sections.networks import networks_section
from morel_search.analysis.report.sections.parameters import parameters_section
from morel_search.analysis.report.sections.radius import radius_section
from morel_search.analysis.report.sections.replicates import replicates_section
from morel_search.analysis.report.sections.reproduce import reproduce_section
from morel_search.analysis.report.sections.settings import settings_section
from morel_search.analysis.report.sections.slices import slices_section
from morel_search.analysis.report.sections.verified_front import verified_front_section
from morel_search.analysis.run_data import RunData, read_run_data
from morel_search.analysis.verification_reader import read_verification
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
    run_data = read_run_data(run)
    if len(run_data.complete):
        for kind, data in paper_figure(run_data).items():
            run.write_bytes(run.figures / f"front.{kind}", data)
    run.write_text(run.report, _page(run_data, _sections(run_data)))
    return run.report


def _sections(run_data: RunData) -> list[Section]:
    """Return the sections of the page in order, without those for which the run has no data."""
    sections = [
        front_section(run_data),
        controls_section(run_data),
        networks_section(run_data),
        *_verification(run_data),
        parameters_section(run_data),
        importance_section(run_data),
        slices_section(run_data),
        hypervolume_section(run_data),
        learning_curves_section(run_data),
        gradient_shares_section(run_data),
        early_stopping_section(run_data),
        failures_section(run_data),
        settings_section(run_data),
        reproduce_section(run_data),
    ]
    return [section for section in sections if section is not None]


def _verification(run_data: RunData) -> list[Section | None]:
    """Return the sections of the verification and of the replicates, as far as they exist."""
    verification = read_verification(run_data)
    if verification is None:
        return [replicates_section(read_replication(run_data), run_data)]
    return [
        verified_front_section(verification),
        attacks_section(verification),
        transfer_section(verification),
        gains_section(verification),
        radius_section(verification, str(run_data.section("evaluation").get("epsilon", "?"))),
        replicates_section(read_replication(run_data, verification.flagged), run_data),
    ]


def _page(run_data: RunData, sections: Sequence[Section]) -> str:
    """Fill the template of the page."""
    from plotly.offline import get_plotlyjs

    folder = resources.files("morel_search.analysis.report")
    settings = run_data.settings
    figures: Figures = {}
    for section in sections:
        figures |= section.figures
    return Template((folder / "page.html").read_text(encoding="utf-8")).substitute(
        title=text(f"{run_data.run.name}: clean against robust accuracy"),
        name=text(run_data.run.name),
        style=(folder / "page.css").read_text(encoding="utf-8"),
        headline=text(headline(run_data)),
        status=paragraphs(status_notes(run_data), "note"),
        lead=paragraphs(sentences(run_data)),
        facts="".join(
            f"<div><dt>{text(label)}</dt><dd>{text(value)}</dd></div>"
            for label, value in key_figures(run_data)
        ),
        body="\n".join(section.html for section in sections),
        date=text((settings.created or "")[:16].replace("T", " ")),
        version=text(settings.versions.get("morel_search", "")),
        figures=json.dumps(figures, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        plotly=get_plotlyjs(),
        script=(folder / "page.js").read_text(encoding="utf-8"),
    )
