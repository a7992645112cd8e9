"""CSV files as this project writes them, and as Excel and LibreOffice save them again.

Such a program may write a byte order mark, UTF-16, semicolons or tabs, decimal commas, the line ends of
Windows, and empty rows and columns. A file is read where it has one meaning only.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterable, Sequence

from morel_search._format import shortened

__all__ = ["Columns", "read_columns"]

Columns = dict[str, tuple[str, ...]]
"""Name of each column to its cells."""

SEPARATORS = (",", ";", "\t")

_HINT = re.compile(r"sep=(.)\r?\n")
"""First line by which Excel is told the separator."""

_COMMA = re.compile(r"[+-]?\d*,\d+(?:[eE][+-]?\d+)?")
_POINT = re.compile(r"[+-]?\d*\.\d+(?:[eE][+-]?\d+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2}(?:,\d{3})+")
_BOTH = re.compile(r"[+-]?\d[\d.,]*[.,]\d[\d.,]*[.,]\d+")
"""A decimal comma, a decimal point, a comma that may separate thousands, and more than one separator."""


def read_columns(
    content: bytes, required: Sequence[str], optional: Collection[str], text: Collection[str]
) -> Columns:
    """Read a table; a column without a name and a row without any required cell are left out.

    Args:
        content: The file.
        required: Columns that it must have.
        optional: Columns that it may have.
        text: Columns that hold text.

    Returns:
        The columns, with decimal points.

    Raises:
        ValueError: A column is missing or there twice, rows have different lengths, or it is not known which
            decimal separator is meant.
        csv.Error: The quoting is broken.
    """
    lines, separator = _lines(_decoded(content), required)
    head = [name.strip() for name in lines[0]] if lines else []
    missing = [column for column in required if column not in head]
    if missing:
        raise ValueError(f"it has no column {missing[0]}")
    twice = [name for number, name in enumerate(head) if name and name in head[:number]]
    if twice:
        raise ValueError(f"it has two columns {twice[0]}")
    rows = [_fitted(number, row, len(head)) for number, row in enumerate(lines[1:], 2) if any(row)]
    places = [head.index(column) for column in required]
    rows = [row for row in rows if any(row[place] for place in places)]
    columns = {name: tuple(row[place] for row in rows) for place, name in enumerate(head) if name}
    numbers = {name for name in columns if name not in text}
    known = numbers & {*required, *optional}
    columns |= {name: tuple(cell.strip() for cell in columns[name]) for name in known}
    if _has_decimal_commas({name: columns[name] for name in columns if name in known}, separator):
        columns |= {name: tuple(map(_with_point, columns[name])) for name in numbers}
    return columns


def _decoded(content: bytes) -> str:
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16", "replace")
    return content.decode("utf-8-sig", "replace")


def _lines(content: str, required: Sequence[str]) -> tuple[list[list[str]], str]:
    """Return the rows that are not empty, with the separator that gives all required columns; else commas."""
    hint = _HINT.match(content)
    if hint:
        content = content[hint.end() :]
    separators = (hint[1],) if hint else SEPARATORS
    for separator in separators:
        try:
            first: list[str] = next((row for row in _parsed(content, separator) if row), [])
        except csv.Error:
            continue
        if set(required) <= {name.strip() for name in first}:
            return [row for row in _parsed(content, separator) if row], separator
    return [row for row in _parsed(content, separators[0]) if row], separators[0]


def _parsed(content: str, separator: str) -> Iterable[list[str]]:
    return csv.reader(io.StringIO(content, newline=""), delimiter=separator, strict=True)


def _fitted(number: int, row: list[str], length: int) -> list[str]:
    """Return a row of the length of the header; empty cells may follow."""
    if len(row) < length or any(row[length:]):
        raise ValueError(
            f"its rows have different lengths: row {number} has {len(row)} cells, and the header {length}"
        )
    return row[:length]


def _has_decimal_commas(columns: Columns, separator: str) -> bool:
    """Return whether the numbers of a table have decimal commas.

    Raises:
        ValueError: Some have, and others decimal points, or a comma may separate thousands.
    """
    if separator == "," and not any("," in cell for cells in columns.values() for cell in cells):
        return False
    commas, points = {}, {}
    for name, cells in columns.items():
        for cell in cells:
            if _BOTH.fullmatch(cell):
                raise ValueError(f"{name} has a number with two separators, {shortened(repr(cell))}")
            if _COMMA.fullmatch(cell):
                commas[cell] = name
            elif _POINT.fullmatch(cell):
                points[cell] = name
    if not commas:
        return False
    comma, column = next(iter(commas.items()))
    if points:
        point, other = next(iter(points.items()))
        raise ValueError(
            f"it has decimal commas ({shortened(comma)} in {column}) and decimal points ({shortened(point)} "
            f"in {other})"
        )
    if separator != ";" and all(map(_THOUSANDS.fullmatch, commas)):
        raise ValueError(
            f"{column} has {shortened(repr(comma))}, and it is not known whether its comma is a decimal "
            "point or separates thousands"
        )
    return True


def _with_point(cell: str) -> str:
    return cell.replace(",", ".") if _COMMA.fullmatch(cell) else cell
