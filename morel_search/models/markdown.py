"""Text in Markdown: it shows as it is, and is neither markup nor HTML."""

from __future__ import annotations

import html
import re

from morel_search._format import printable

__all__ = ["md_code", "md_text"]

_SPECIAL = re.compile(
    r"([\\`*\[\]|~#$@])"  # emphasis, code, links, tables, strikethrough, headings, formulas, mentions
    r"|(?<![A-Za-z0-9])(_)|(_)(?![A-Za-z0-9])"  # emphasis; inside a word, _ is no markup
    r"|(:)(?=//)|(?i:(?<=www)(\.))"  # addresses, which some renderers turn into links
)


def md_text(value: object) -> str:
    """Return a value as one line of Markdown text that shows as the value is written.

    >>> md_text("<b> & c")
    '&lt;b&gt; &amp; c'
    """
    escaped = _SPECIAL.sub(r"\\\g<0>", _line(value))
    return html.escape(escaped, quote=False)


def md_code(value: object) -> str:
    """Return a value as Markdown code inside a line, between more backticks than it has in a row.

    >>> md_code("small_cnn")
    '`small_cnn`'
    """
    text = _line(value)
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    space = " " if not text.strip() or text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{space}{text}{space}{ticks}"


def _line(value: object) -> str:
    """Return a value as one line: white space is one blank, control characters are escapes."""
    return printable(" ".join(str(value).split()))
