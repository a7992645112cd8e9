"""The template of a page: its head, its groups of sections, and its figures, as one HTML text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template

from morel_search.analysis.report.html import Group, paragraphs, text
from morel_search.analysis.report.plotly_traces import Figures

__all__ = ["Head", "figures_of", "page_text"]

SCRIPTS = ("colour.js", "selection.js", "radius.js", "page.js")
"""The scripts of a page, in order: those before the last one listen before the first figure is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The head and the foot of a page; plain texts, which are escaped.

    Attributes:
        title: The title of the window.
        name: What the page is about; it stands above the headline.
        headline: The headline.
        notes: Notes below it, such as warnings.
        lead: The first sentences.
        facts: The key figures, as pairs of a label and a value.
        date: A date beside the name.
        source: The sentence of the foot.
    """

    title: str
    name: str
    headline: str
    notes: Sequence[str]
    lead: Sequence[str]
    facts: Sequence[tuple[str, str]]
    date: str
    source: str


def page_text(head: Head, groups: Sequence[Group]) -> str:
    """Return a page with its style, its script and Plotly; it needs no other file and no network."""
    from plotly.offline import get_plotlyjs

    folder = resources.files("morel_search.analysis.report")
    return Template((folder / "page.html").read_text(encoding="utf-8")).substitute(
        title=text(head.title),
        name=text(head.name),
        style=(folder / "page.css").read_text(encoding="utf-8"),
        headline=text(head.headline),
        status=paragraphs(head.notes, "note"),
        lead=paragraphs(head.lead),
        facts="".join(
            f"<div><dt>{text(label)}</dt><dd>{text(value)}</dd></div>" for label, value in head.facts
        ),
        contents="".join(f'<a href="#{text(group.ident)}">{text(group.short)}</a>' for group in groups),
        body="\n".join(group.html for group in groups),
        date=text(head.date),
        source=text(head.source),
        figures=json.dumps(figures_of(groups), separators=(",", ":"), allow_nan=False).replace(
            "<", "\\u003c"
        ),
        plotly=get_plotlyjs(),
        script="\n".join((folder / name).read_text(encoding="utf-8") for name in SCRIPTS),
    )


def figures_of(groups: Sequence[Group]) -> Figures:
    """Return all figures of a page, by the id of their place."""
    figures: Figures = {}
    for group in groups:
        for section in group.sections:
            figures |= section.figures
    return figures
