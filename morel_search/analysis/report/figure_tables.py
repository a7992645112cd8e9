"""The data of the figures of a page as CSV: one file a figure, one row a point."""

from __future__ import annotations

import csv
import html
import io
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

from morel_search.analysis.report.plotly_traces import Figure, Figures
from morel_search.results.files import os_error_sentence
from morel_search.results.folder import RunFolder
from morel_search.results.links import check_inside
from morel_search.results.reading import TABLE_BYTES, read_regular

__all__ = ["figure_tables", "is_table", "remove_other_tables"]

_FIRST = ("series", "kind")
"""The first columns of every table, by which a table of an earlier page is known."""

_ERRORS = (("x", "error_x"), ("y", "error_y"))


def figure_tables(figures: Figures) -> dict[str, str]:
    """Return the data of each figure as CSV text, by the id of its place.

    The columns are ``series`` (its name in the legend), ``kind`` (markers, lines or bars), the two axes with
    their titles, the ends of the intervals where the figure has any, ``trial`` where a point has one, and
    otherwise ``text``, which says what a point without a name is.
    Values have the units and the digits of the figure: accuracies in percent.
    """
    return {ident: _table(figure) for ident, figure in figures.items() if "data" in figure}


def remove_other_tables(run: RunFolder, kept: Collection[str]) -> None:
    """Remove the tables of an earlier page that the page no longer has; files of other kinds stay.

    Args:
        run: The run folder.
        kept: The names of the tables of the page, without ``.csv``.

    Raises:
        RunFolderError: A table cannot be removed.
    """
    for path in run.figures.glob("*.csv"):
        if path.stem in kept or not is_table(path):
            continue
        check_inside(run.path, path)
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise os_error_sentence("remove", path, error) from error


def is_table(path: Path) -> bool:
    """Return whether a file is such a table, by its first columns."""
    try:
        return read_regular(path, TABLE_BYTES).startswith(f"{','.join(_FIRST)},".encode())
    except OSError:
        return False


def _table(figure: Figure) -> str:
    traces = [trace for trace in figure["data"] if "x" in trace and "y" in trace]
    titles = [_title(figure, axis) for axis in ("x", "y")]
    ends = [key for key, error in _ERRORS if any("array" in trace.get(error, {}) for trace in traces)]
    columns = {
        "trial": "trial" not in titles and any(_has_trials(trace) for trace in traces),
        "text": any(_needs_text(trace) for trace in traces),
    }
    names = dict(zip(("x", "y"), titles, strict=True))
    head = [*_FIRST, *titles]
    head += [f"{names[key]}, {end} end" for key in ends for end in ("lower", "upper")]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*head, *(name for name, there in columns.items() if there)])
    for trace in traces:
        for index, row in _rows(trace, ends):
            more = {"trial": _trial(trace, index), "text": _text(trace, index)}
            writer.writerow([*row, *(more[name] for name, there in columns.items() if there)])
    return text.getvalue()


def _title(figure: Figure, axis: str) -> str:
    """Return the title of an axis; a figure without one names it in its ``meta``."""
    layout = figure["layout"]
    title = layout.get(f"{axis}axis", {}).get("title", {}).get("text") or layout.get("meta", {}).get(axis)
    return html.unescape(str(title or axis))


def _rows(trace: Figure, ends: Sequence[str]) -> Iterator[tuple[int, list[object]]]:
    """Yield the index and the cells of each point of a trace; a gap in a line is no point."""
    name = html.unescape(str(trace.get("name", "")))
    kind = "bars" if trace.get("type") == "bar" else str(trace.get("mode", "lines"))
    for index, (x, y) in enumerate(zip(trace["x"], trace["y"], strict=True)):
        if x is None or y is None:
            continue
        point: Mapping[str, object] = {"x": x, "y": y}
        intervals: list[object] = []
        for key in ends:
            intervals += _interval(point[key], trace.get(dict(_ERRORS)[key], {}), index)
        yield index, [name, kind, x, y, *intervals]


def _interval(value: object, error: Figure, index: int) -> list[object]:
    if "array" not in error or not isinstance(value, int | float):
        return ["", ""]
    above = error["array"][index]
    below = error["arrayminus"][index] if "arrayminus" in error else above
    return [round(value - below, 6), round(value + above, 6)]


def _has_trials(trace: Figure) -> bool:
    return "customdata" in trace or isinstance(trace.get("meta"), int)


def _trial(trace: Figure, index: int) -> object:
    return trace["customdata"][index] if "customdata" in trace else trace.get("meta", "")


def _needs_text(trace: Figure) -> bool:
    """Return whether the points of a trace are known by their texts alone."""
    return isinstance(trace.get("hovertext"), list) and not _has_trials(trace)


def _text(trace: Figure, index: int) -> str:
    """Return the text of a point, without markup."""
    if not _needs_text(trace):
        return ""
    return html.unescape(re.sub(r"<[^>]*>", " ", str(trace["hovertext"][index] or "")).strip())
