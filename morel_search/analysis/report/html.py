"""HTML of the report: sections, tables and places of figures. All text from a run folder is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from morel_search.analysis.report.plotly_traces import Figures

__all__ = ["Cell", "Section", "figure_place", "paragraphs", "section", "table", "text", "value_table"]

Cell: TypeAlias = str | tuple[str, object]
"""A table cell: a text, or a pair of a text and the value by which the table is sorted."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page.

    Attributes:
        html: Its HTML.
        figures: Its figures, by the id of their place.
    """

    html: str
    figures: Figures = field(default_factory=dict)


def text(value: object) -> str:
    """Return a value as text, escaped for HTML."""
    return html.escape(str(value), quote=True)


def section(
    title: str, content: str, caption: str = "", ident: str = "", figures: Figures | None = None
) -> Section:
    """Return a section; the title and the caption are escaped, the content is HTML."""
    note = f'<p class="caption">{text(caption)}</p>' if caption else ""
    head = f'<section id="{text(ident)}"><h2>{text(title)}</h2>'
    return Section(f"{head}{note}{content}</section>", figures or {})


def paragraphs(sentences: Iterable[str], kind: str = "") -> str:
    """Return one paragraph for each sentence, escaped; with a class when a kind is given."""
    begin = f'<p class="{kind}">' if kind else "<p>"
    return "".join(f"{begin}{text(sentence)}</p>" for sentence in sentences)


def figure_place(ident: str, kind: str = "", height: int | None = None) -> str:
    """Return the element into which the script of the page draws a figure."""
    style = f' style="height:{height}px"' if height else ""
    return f'<div class="figure {kind}" id="figure-{text(ident)}"{style}></div>'


def table(heads: Sequence[str], rows: Iterable[Sequence[Cell]], kind: str = "") -> str:
    """Return a table whose texts are escaped."""
    head = "".join(f'<th scope="col"><button type="button">{text(title)}</button></th>' for title in heads)
    lines = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
    content = f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody>"
    return f'<div class="scroll"><table class="{kind}">{content}</table></div>'


def value_table(values: Mapping[str, str]) -> str:
    """Return a table with one row for each name and its value, escaped; empty without values."""
    rows = "".join(
        f"<tr><th scope=row>{text(name)}</th><td>{text(value)}</td></tr>" for name, value in values.items()
    )
    return f'<table class="pairs">{rows}</table>' if rows else ""


def _cell(cell: Cell) -> str:
    if isinstance(cell, tuple):
        return f'<td class="number" data-value="{text(cell[1])}">{text(cell[0])}</td>'
    return f"<td>{text(cell)}</td>"
