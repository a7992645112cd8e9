"""HTML of the report: sections, tables and places of figures. All text from a run folder is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from morel_search.analysis.report.plotly_traces import Figures

__all__ = [
    "Cell",
    "Group",
    "Section",
    "figure_place",
    "paragraphs",
    "scrollable",
    "section",
    "table",
    "text",
    "value_table",
]

Cell: TypeAlias = str | tuple[str, object]
"""A table cell: a text, or a pair of a text and the value by which the table is sorted."""


@dataclass(frozen=True, slots=True)
class Section:
    """A section of the page.

    Attributes:
        title: Its title, a plain text.
        html: Its HTML, without the title.
        ident: The id of its element.
        summary: What it shows in a few words, a plain text; it stands beside the title.
        figures: Its figures, by the id of their place.
    """

    title: str
    html: str
    ident: str
    summary: str = ""
    figures: Figures = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """A group of sections, which answers one question of the reader.

    Attributes:
        ident: The id of its element, to which the contents bar links.
        short: Its name in the contents bar.
        title: Its title.
        sections: Its sections, in order.
        unfolded: Number of sections at its beginning that do not fold.
    """

    ident: str
    short: str
    title: str
    sections: tuple[Section, ...]
    unfolded: int = 0

    @property
    def html(self) -> str:
        """The HTML of the group; the sections after the first ones are folded."""
        parts = [
            _unfolded(part) if index < self.unfolded else _folded(part)
            for index, part in enumerate(self.sections)
        ]
        head = f'<section class="group" id="{text(self.ident)}"><h2>{text(self.title)}</h2>'
        return f"{head}{''.join(parts)}</section>"


def _unfolded(part: Section) -> str:
    return f'<div class="part" id="{text(part.ident)}"><h3>{text(part.title)}</h3>{part.html}</div>'


def _folded(part: Section) -> str:
    note = f'<span class="summary">{text(part.summary)}</span>' if part.summary else ""
    return (
        f'<details class="part" id="{text(part.ident)}"><summary><h3>{text(part.title)}</h3>{note}</summary>'
        f'<div class="body">{part.html}</div></details>'
    )


def text(value: object) -> str:
    """Return a value as text, escaped for HTML."""
    return html.escape(str(value), quote=True)


def section(
    title: str,
    content: str,
    caption: str = "",
    ident: str = "",
    figures: Figures | None = None,
    summary: str = "",
) -> Section:
    """Return a section; the caption is escaped, the content is HTML."""
    note = f'<p class="caption">{text(caption)}</p>' if caption else ""
    return Section(title, f"{note}{content}", ident, summary, figures or {})


def paragraphs(sentences: Iterable[str], kind: str = "") -> str:
    """Return one paragraph for each sentence, escaped; with a class when a kind is given."""
    begin = f'<p class="{kind}">' if kind else "<p>"
    return "".join(f"{begin}{text(sentence)}</p>" for sentence in sentences)


def figure_place(ident: str, kind: str = "", height: int | None = None) -> str:
    """Return the element into which the script of the page draws a figure."""
    style = f' style="height:{height}px"' if height else ""
    return f'<div class="figure {kind}" id="figure-{text(ident)}"{style}></div>'


def table(
    heads: Sequence[str], rows: Iterable[Sequence[Cell]], label: str, kind: str = "", *, sortable: bool = True
) -> str:
    """Return a table whose texts are escaped.

    Args:
        heads: The headings of the columns.
        rows: The cells of each row.
        label: What the table shows, for screen readers.
        kind: A class of the table.
        sortable: Whether a click on a heading sorts the rows; other headings are no buttons.
    """
    begin, end = ('<button type="button">', "</button>") if sortable else ("", "")
    head = "".join(f'<th scope="col">{begin}{text(title)}{end}</th>' for title in heads)
    lines = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in rows)
    content = f"<thead><tr>{head}</tr></thead><tbody>{lines}</tbody>"
    classes = " ".join(filter(None, ("sortable" if sortable else "", kind)))
    return scrollable(f'<table class="{classes}">{content}</table>', label)


def scrollable(content: str, label: str) -> str:
    """Return a frame that scrolls sideways, also by the keyboard, with a sign when its content is cut."""
    return (
        f'<div class="cut"><div class="scroll" role="region" tabindex="0" aria-label="{text(label)}">'
        f"{content}</div></div>"
    )


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
