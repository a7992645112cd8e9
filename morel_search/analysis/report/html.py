"""HTML of the report: page, sections and tables. All text from a run folder is escaped."""

from __future__ import annotations

import html
import json
import shlex
from collections.abc import Hashable, Iterable, Mapping, Sequence
from importlib import resources
from string import Template
from typing import Any, TypeAlias

import pandas as pd

from morel_search._format import percent, without_passwords
from morel_search.analysis.headline import headline
from morel_search.analysis.report.plotly_traces import Figure
from morel_search.analysis.report.text import compare_controls, key_figures, reason_words, sentences
from morel_search.analysis.run_data import POINT, TEST, RunData
from morel_search.analysis.stopping import RungCorrelation, StoppingCosts

__all__ = ["figure_place", "fill_page", "section", "text"]

Cell: TypeAlias = str | tuple[str, object]
"""A table cell: a text, or a pair of a text and the value by which the table is sorted."""

MOST_REASONS = 40
"""Largest number of rows in the table of failures."""


def text(value: object) -> str:
    """Return a value as text, escaped for HTML."""
    return html.escape(str(value), quote=True)


def fill_page(run_data: RunData, body: Sequence[str], figures: Mapping[str, Figure], script: str) -> str:
    """Return the page.

    Args:
        run_data: The run.
        body: The sections in order, as HTML.
        figures: The figures by the id of their place, and ``parallel``; they must be serializable as JSON.
        script: The JavaScript source of Plotly.
    """
    folder = resources.files("morel_search.analysis.report")
    return Template((folder / "page.html").read_text(encoding="utf-8")).substitute(
        title=text(f"{run_data.run.name}: clean against robust accuracy"),
        name=text(run_data.run.name),
        style=(folder / "page.css").read_text(encoding="utf-8"),
        headline=text(headline(run_data)),
        status=_status(run_data),
        lead="".join(f"<p>{text(sentence)}</p>" for sentence in sentences(run_data)),
        facts="".join(
            f"<div><dt>{text(label)}</dt><dd>{text(value)}</dd></div>"
            for label, value in key_figures(run_data)
        ),
        body="\n".join(body),
        date=text((run_data.settings.created or "")[:16].replace("T", " ")),
        version=text(run_data.settings.versions.get("morel_search", "")),
        figures=json.dumps(figures, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"),
        plotly=script,
        script=(folder / "page.js").read_text(encoding="utf-8"),
    )


def section(title: str, content: str, caption: str = "", ident: str = "") -> str:
    """Return a section; the title and the caption are escaped, the content is HTML."""
    note = f'<p class="caption">{text(caption)}</p>' if caption else ""
    return f'<section id="{text(ident)}"><h2>{text(title)}</h2>{note}{content}</section>'


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


def front_table(run_data: RunData) -> str:
    """Return the table of the networks on the front."""
    heads = [
        "network",
        "clean",
        "robust",
        *(("test clean", "test robust") if run_data.tested else ()),
        "epoch",
    ]
    rows = []
    for row in run_data.front.to_dict("records"):
        name = run_data.network(row["number"], row["epoch"]) + (
            f" ({row['name']})" if row["origin"] == "control" else ""
        )
        columns = [*POINT, *(TEST if run_data.tested else ())]
        cells: list[Cell] = [
            (name, _order(row)),
            *((percent(row[column]), row[column]) for column in columns),
        ]
        cells.append((str(row["epoch"]), row["epoch"]) if not pd.isna(row["epoch"]) else "")
        for parameter in run_data.parameters:
            value, shown = (
                parameter.value(row.get(parameter.column)),
                parameter.text(row.get(parameter.column)),
            )
            cells.append((shown, value) if isinstance(value, float) else shown)
        rows.append(cells)
    return table([*heads, *(parameter.name for parameter in run_data.parameters)], rows, "sortable")


def stopping_table(run_data: RunData, costs: StoppingCosts, correlations: Sequence[RungCorrelation]) -> str:
    """Return the table of the rungs: trials that reached it, trials stopped there, rank correlations."""
    rows: list[Sequence[Cell]] = []
    for correlation in correlations:
        reached, stopped = (
            int((run_data.trials["rung"].dropna() >= correlation.rung).sum()),
            costs.stopped.get(correlation.rung, 0),
        )
        cells: list[Cell] = [(str(count), count) for count in (correlation.rung, reached, stopped)]
        rows.append(
            [
                *cells,
                *(
                    "–" if value is None else (f"{value:.2f}", value)
                    for value in (correlation.clean, correlation.robust)
                ),
            ]
        )
    return table(
        [
            "rung (epoch)",
            "trials that reached it",
            "stopped early",
            "rank correlation, clean",
            "rank correlation, robust",
        ],
        rows,
        "rungs",
    )


def control_list(run_data: RunData) -> str:
    """Return the list of the controls and their comparison with the front."""
    lines = [
        f'<div><dt>{text(name)}</dt><dd><span class="point">{text(point)}.</span> {text(sentence)}</dd></div>'
        for name, point, sentence in compare_controls(run_data)
    ]
    return f'<dl class="controls">{"".join(lines)}</dl>'


def failure_table(run_data: RunData) -> str:
    """Return the table of the failures, grouped by reason."""
    reasons: dict[str, list[str]] = {}
    for row in run_data.failed.to_dict("records"):
        trial = str(row["number"]) + (f" ({row['name']})" if row["name"] else "")
        reasons.setdefault(reason_words(row["failure"]), []).append(trial)
    rows: list[Sequence[Cell]] = []
    for reason, numbers in sorted(reasons.items(), key=lambda item: -len(item[1]))[:MOST_REASONS]:
        rows.append(
            [
                (str(len(numbers)), len(numbers)),
                reason,
                ", ".join(numbers[:12]) + (", …" if len(numbers) > 12 else ""),
            ]
        )
    more = (
        f"<p>{len(reasons) - MOST_REASONS} more reasons are in trials.csv.</p>"
        if len(reasons) > MOST_REASONS
        else ""
    )
    return table(["count", "reason", "trials"], rows, "reasons") + more


def settings_section(run_data: RunData) -> str:
    """Return the resolved settings, the versions, the hardware and the space file, collapsed."""
    settings, values = run_data.settings, run_data.settings.to_json()
    parts = [(name, _pairs(value)) for name, value in settings.space.items() if isinstance(value, Mapping)]
    parts += [("parameters", _items(settings.parameters)), ("controls", _items(settings.controls))]
    rest = {
        key: values.get(key)
        for key in ("created", "finished", "status", "seed", "device", "commit", "overrides", "format")
    }
    parts += [("run", _pairs(rest))]
    parts += [("versions", _pairs(settings.versions)), ("hardware", _pairs(settings.hardware))]
    blocks = "".join(f"<div><h3>{text(title)}</h3>{content}</div>" for title, content in parts if content)
    try:
        given = run_data.run.space.read_text(encoding="utf-8", errors="replace")
    except OSError:
        given = ""
    file = f"<h3>space.yaml</h3><pre>{text(given)}</pre>" if given else ""
    title = "Settings, versions and hardware"
    content = f'<div class="columns">{blocks}</div>{file}'
    return f'<details class="settings"><summary>{title}</summary>{content}</details>'


def reproduce_section(run_data: RunData) -> str:
    """Return the commands that run the search again and write this page again."""
    run, command = run_data.run, run_data.settings.command
    place = f"{run.path.parent.name}/{run.name}"
    seed = run_data.settings.seed
    given = without_passwords(shlex.join(command))
    again = f"python -m morel_search.run --space {place}/space.yaml" + (
        "" if seed is None else f" --seed {seed}"
    )
    lines = [
        *([f"# the command that started this run\n{given}"] if given else []),
        f"# the same search, from the space file in the run folder\n{again}",
    ]
    lines.append(f"# write this page again\npython -m morel_search.report {place}")
    files = [
        (run.trials, "trials"), (run.epochs, "epochs"), (run.front, "front"),
        (run.figures / "front.pdf", "figure, PDF"),
        (run.figures / "front.svg", "SVG"), (run.figures / "front.png", "PNG"),
    ]  # fmt: skip
    links = [
        f'<a href="{text(path.relative_to(run.path).as_posix())}">{text(label)}</a>'
        for path, label in files
        if path.is_file()
    ]
    shown = "\n\n".join(lines)
    note = f'<p class="caption">Files of this run: {", ".join(links)}.</p>' if links else ""
    return section("Reproduce this run", f"<pre>{text(shown)}</pre>{note}", ident="again")


def _status(run_data: RunData) -> str:
    status = run_data.settings.status
    notes = {
        "running": "The search was still running when this page was written.",
        "stopped": "The search was interrupted before its end.",
    }
    said = [notes[status]] if status in notes else []
    said += run_data.settings.warnings
    return "".join(f'<p class="note">{text(sentence)}</p>' for sentence in said)


def _order(row: Mapping[Hashable, Any]) -> float:
    """Return a key that sorts by number, then by epoch."""
    return float(row["number"]) + (0.0 if pd.isna(row["epoch"]) else float(row["epoch"]) / 1e6)


def _cell(cell: Cell) -> str:
    if isinstance(cell, tuple):
        return f'<td class="number" data-value="{text(cell[1])}">{text(cell[0])}</td>'
    return f"<td>{text(cell)}</td>"


def _pairs(values: Mapping[str, object]) -> str:
    rows = "".join(
        f"<tr><th scope=row>{text(key)}</th><td>{text(_value(value))}</td></tr>"
        for key, value in values.items()
    )
    return f'<table class="pairs">{rows}</table>' if rows else ""


def _items(items: Sequence[Mapping[str, object]]) -> str:
    return _pairs({str(item.get("name")): _item(item) for item in items})


def _item(item: Mapping[str, object]) -> str:
    """Return a parameter or a control on one line, without empty values; overrides are listed like keys."""
    overrides = item.get("overrides")
    values = {
        key: value
        for key, value in item.items()
        if key not in ("name", "overrides") and value is not None and value is not False and value != {}
    }
    values |= overrides if isinstance(overrides, Mapping) else {}
    return ", ".join(f"{key} {_value(value)}" for key, value in values.items())


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_value(entry)}" for key, entry in value.items()) or "–"
    if isinstance(value, list):
        return ", ".join(_value(entry) for entry in value) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else without_passwords(str(value))
