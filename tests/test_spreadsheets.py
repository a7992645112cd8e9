"""Tables that a spreadsheet program has saved again: read as they were, or refused with the reason."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pandas as pd
import pytest

from morel_search.errors import RunFolderError
from morel_search.results import tables

EXAMPLE = Path(__file__).parents[1] / "results" / "example"
READERS: dict[str, Callable[[Path], pd.DataFrame]] = {
    "trials.csv": tables.read_trials,
    "front.csv": tables.read_front,
    "epochs.csv": tables.read_epochs,
    "verified.csv": tables.read_verified,
    "replicates.csv": tables.read_replicates,
}

Rows = list[list[str]]


def example(name: str) -> Rows:
    """The first rows of a table of the example run."""
    text = (EXAMPLE / name).read_text(encoding="utf-8")
    return list(csv.reader(io.StringIO(text, newline="")))[:40]


def with_commas(rows: Rows) -> Rows:
    """Numbers as a program writes them in a country with decimal commas."""
    return [[re.sub(r"^(-?\d+)\.(\d+(e[+-]?\d+)?)$", r"\1,\2", cell) for cell in row] for row in rows]


def with_note(rows: Rows, name: str = "note") -> Rows:
    words = ["a good one; really", "", 'say "yes"', "1,5 or 2.5"]
    return [[*rows[0], name], *([*row, words[i % len(words)]] for i, row in enumerate(rows[1:]))]


def padded(rows: Rows) -> Rows:
    """Empty columns and rows, as of a sheet in which something was deleted."""
    wide = [[*row, "", ""] for row in rows]
    return [*wide[:3], [""] * len(wide[0]), *wide[3:], [""] * len(wide[0])]


def written(rows: Rows, separator: str = ",", end: str = "\n", all_quoted: bool = False) -> str:
    stream = io.StringIO()
    quoting: Literal[0, 1] = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
    csv.writer(stream, delimiter=separator, lineterminator=end, quoting=quoting).writerows(rows)
    return stream.getvalue()


FORMS: dict[str, Callable[[Rows], bytes]] = {
    "byte order mark": lambda rows: written(rows).encode("utf-8-sig"),
    "line ends of Windows": lambda rows: written(rows, end="\r\n").encode(),
    "line ends of old Macs": lambda rows: written(rows, end="\r").encode(),
    "semicolons": lambda rows: written(rows, ";").encode(),
    "tabs": lambda rows: written(rows, "\t").encode(),
    "everything quoted": lambda rows: written(rows, all_quoted=True).encode(),
    "semicolons and decimal commas": lambda rows: written(with_commas(rows), ";").encode(),
    "Excel, German": lambda rows: written(with_commas(rows), ";", "\r\n").encode("utf-8-sig"),
    "Excel, Unicode text": lambda rows: written(with_commas(rows), "\t", "\r\n").encode("utf-16"),
    "LibreOffice, decimal commas in quotes": lambda rows: written(with_commas(rows)).encode(),
    "hint": lambda rows: b"sep=;\r\n" + written(rows, ";", "\r\n").encode(),
    "hint after a byte order mark": lambda rows: ("sep=;\n" + written(rows, ";")).encode("utf-8-sig"),
    "empty rows and columns": lambda rows: written(padded(rows)).encode(),
    "spaces": lambda rows: written([[f" {cell} " if cell else "" for cell in rows[0]], *rows[1:]]).encode(),
    "other order of columns": lambda rows: written([row[::-1] for row in rows]).encode(),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("noted", [False, True])
def test_a_table_that_was_saved_again_is_read_as_it_was(
    tmp_path: Path, name: str, form: str, noted: bool
) -> None:
    rows = example(name)
    before, after = tmp_path / "before.csv", tmp_path / "after.csv"
    before.write_text(written(rows), encoding="utf-8")
    after.write_bytes(FORMS[form](with_note(rows) if noted else rows))
    expected, back = READERS[name](before), READERS[name](after)
    assert len(expected) == len(rows) - 1
    assert ("note" in back) == noted
    pd.testing.assert_frame_equal(back[expected.columns], expected, check_exact=True)


def test_a_note_without_a_heading_and_below_the_table_is_left_out(tmp_path: Path) -> None:
    rows = with_note(example("front.csv"), name="")
    rows.append([*[""] * (len(rows[0]) - 1), "checked by me"])
    path = tmp_path / "front.csv"
    path.write_text(written(rows), encoding="utf-8")
    assert len(tables.read_front(path)) == len(rows) - 2
    assert "" not in tables.read_front(path)


def replaced(rows: Rows, column: str, row: int, cell: str) -> Rows:
    rows = [list(cells) for cells in rows]
    rows[row][rows[0].index(column)] = cell
    return rows


COMMAS = with_commas(example("front.csv"))
FRONT = example("front.csv")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            written(replaced(COMMAS, "clean_accuracy", 2, "0.5"), ";"),
            r"decimal commas \(.* in \w+\) and decimal points \(0\.5 in clean_accuracy\)",
        ),
        (
            written(replaced(COMMAS, "clean_accuracy", 2, "1.234,5"), ";"),
            "a number with two separators, '1.234,5'",
        ),
        (written(replaced(FRONT, "epoch", 2, "1,234,567")), "a number with two separators, '1,234,567'"),
        (written(replaced(FRONT, "clean_accuracy", 2, "95.8 %")), "could not convert .*95.8 %"),
        (
            written(replaced(FRONT, "clean_accuracy", 2, "95.8")),
            "clean_accuracy must be a fraction from 0 to 1",
        ),
        (written(replaced(FRONT, "clean_accuracy", 2, "05. Mai")), "could not convert .*05. Mai"),
        (
            written(replaced(FRONT, "number", 2, "1.57E+09")),
            "number must be a whole number with all its digits",
        ),
        (written(replaced(FRONT, "number", 1, "a remark")), "could not convert .*a remark"),
        (
            written([[*row, "x"] for row in FRONT[:1]] + [[*row, "x", "y"] for row in FRONT[1:]]),
            "different lengths",
        ),
        (written([FRONT[0], FRONT[1][:-1]]), r"row 2 has \d+ cells, and the header \d+"),
        (written([[*row, row[0]] for row in FRONT]), "it has two columns number"),
        (written([row[1:] for row in FRONT]), "it has no column number"),
        (written(FRONT, "|"), "it has no column number"),
        ("", "it has no column number"),
        ('number,"', "unexpected end of data"),
    ],
)
def test_a_table_with_more_than_one_meaning_is_refused_with_the_reason(
    tmp_path: Path, content: str, words: str
) -> None:
    path = tmp_path / "front.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(RunFolderError, match=rf"front\.csv is damaged: .*{words}") as caught:
        tables.read_front(path)
    assert "\n" not in str(caught.value)


def test_a_comma_that_may_separate_thousands_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "replicates.csv"
    head = ",".join(tables.REPLICATE_COLUMNS)
    path.write_text(f'{head}\n76,1,10,1,1,1,1,"1,234",\n', encoding="utf-8")
    with pytest.raises(RunFolderError, match=r"seconds has '1,234', and it is not known whether"):
        tables.read_replicates(path)
    path.write_text(f'{head}\n76,1,10,"0,5",1,1,1,"1,234",\n', encoding="utf-8")
    assert tables.read_replicates(path)[["clean_accuracy", "seconds"]].to_numpy().tolist() == [[0.5, 1.234]]
