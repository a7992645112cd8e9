"""The page of a comparison of runs: fronts over each other, hypervolumes, networks, cost and settings."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from morel_search._version import __version__
from morel_search.analysis.comparison.attainment import Attainment, attainments
from morel_search.analysis.comparison.runs import ComparedNetwork, ComparedRun, Comparison
from morel_search.analysis.comparison.settings import differing_settings
from morel_search.analysis.comparison.words import (
    COST_HEADS,
    area_words,
    comparison_sentences,
    cost_cells,
    kind_words,
)
from morel_search.analysis.report.axes import Limits, border, limits_around
from morel_search.analysis.report.html import Cell, Group, Section, figure_place, paragraphs, section, table
from morel_search.analysis.report.plotly_traces import (
    Figure,
    bars,
    layout_of,
    line,
    rounded,
    safe,
    short,
)
from morel_search.analysis.report.template import Head, page_text

__all__ = ["MARK", "attainment_figure", "comparison_groups", "comparison_page", "fronts_figure"]

MARK = "morel_search compare"
"""Name of the page above its headline, by which the command knows a page that it wrote."""

SYMBOLS = ("circle", "diamond", "square", "triangle-up", "cross", "x", "star", "triangle-down")
DASHES = ("solid", "dash", "dot", "dashdot")
MARGIN = 0.06


def comparison_page(
    comparison: Comparison, folders: Sequence[Path], groups: Sequence[Group] | None = None
) -> str:
    """Return the page of a comparison.

    Args:
        comparison: The runs.
        folders: Their folders as they were given, for the command that repeats the comparison.
        groups: What :func:`comparison_groups` returns for it; None to compute it here.
    """
    names = " and ".join((", ".join(run.label for run in comparison.runs[:-1]), comparison.runs[-1].label))
    command = shlex.join(["morel-search", "compare", *map(str, folders)])
    head = Head(
        title=f"{names} compared",
        name=MARK,
        headline=f"{names}, compared by {kind_words(comparison).partition(':')[0]}",
        notes=comparison.warnings,
        lead=[
            f"{kind_words(comparison).partition(':')[2].strip().capitalize()}.",
            *comparison_sentences(comparison),
        ],
        facts=[(run.label, _facts(run)) for run in comparison.runs],
        date="",
        source=f"Written by morel_search {__version__}: {command}",
    )
    return page_text(head, comparison_groups(comparison) if groups is None else groups)


def comparison_groups(comparison: Comparison) -> list[Group]:
    """Return the groups of the page, with their figures."""
    fronts = (_front_section(comparison), *_attainment_sections(comparison))
    return [
        Group("fronts", "Fronts", "The fronts", fronts, len(fronts)),
        Group("networks", "Networks", "The networks of each front", (_networks_section(comparison),), 1),
        Group("cost", "Cost", "What the searches cost", (_cost_section(comparison),), 1),
        Group("settings", "Settings", "Which settings differ", (_settings_section(comparison),), 1),
    ]


def _facts(run: ComparedRun) -> str:
    count = len(run.networks)
    return f"{count} network{'' if count == 1 else 's'}, hypervolume {area_words(run)}"


def _front_section(comparison: Comparison) -> Section:
    caption = (
        "Bars: 95% intervals of each accuracy. Lines: the border of what the networks of a run dominate. "
        "Hypervolume: the area below a line above the common reference point (0, 0), at most 1"
    )
    caption += (
        "; in brackets its 95% interval, by drawing the images again."
        if comparison.verified
        else "; without an interval on validation images."
    )
    if comparison.verified:
        caption += " Networks that were flagged for gradient masking are left out."
    heads = ["run", "networks", "most accurate", "robust", "most robust", "clean", "hypervolume"]
    rows = [_area_row(run) for run in comparison.runs]
    content = f"{figure_place('fronts')}{table(heads, rows, 'The fronts of the runs')}"
    return section(
        "The fronts over each other", content, caption, "front-lines", {"fronts": fronts_figure(comparison)}
    )


def _attainment_sections(comparison: Comparison) -> list[Section]:
    """Return a section for each group of runs with the same settings, but for the seed."""
    sections = []
    for index, attainment in enumerate(attainments(comparison.runs)):
        name = f"attainment-{index}"
        count = len(attainment.labels)
        caption = (
            f"{count} runs with the same settings, but for the seed: {', '.join(attainment.labels)}. A run "
            "attains a point if one of its networks has at least both accuracies. At least one run attains "
            "the points below the upper line, at least half of the runs those below the middle one, and "
            "every run those below the lower one."
        )
        figure = attainment_figure(attainment)
        sections.append(
            section("The same search with other seeds", figure_place(name), caption, name, {name: figure})
        )
    return sections


def attainment_figure(attainment: Attainment) -> Figure:
    """Draw the borders of what one, half and all of the runs attain."""
    borders = {
        "at least one run": (attainment.any, 1.2, "dot"),
        "at least half of the runs": (attainment.half, 2.4, "solid"),
        "every run": (attainment.all, 1.2, "dash"),
    }
    limits = limits_around(100 * np.concatenate([corners for corners, _, _ in borders.values()]), MARGIN)
    data: list[Figure] = []
    for name, (corners, width, dash) in borders.items():
        xs, ys = border(100 * corners, limits)
        data.append({**line(xs, ys, "@front", width, dash), "name": name})
    layout = layout_of("clean accuracy (%)", "robust accuracy (%)", legend=True)
    layout["xaxis"]["range"], layout["yaxis"]["range"] = [list(pair) for pair in limits]
    return {"data": data, "layout": layout}


def _area_row(run: ComparedRun) -> list[Cell]:
    accurate, robust = run.ends
    return [
        run.label,
        (str(len(run.networks)), len(run.networks)),
        _accuracy(accurate, 0),
        _accuracy(accurate, 1),
        _accuracy(robust, 1),
        _accuracy(robust, 0),
        (area_words(run), run.area),
    ]


def _accuracy(network: ComparedNetwork, axis: int) -> Cell:
    return network.accuracy_texts[axis], network.accuracy[axis]


def fronts_figure(comparison: Comparison) -> Figure:
    """Draw the networks of each run with their intervals, and the border of what they dominate."""
    ends = [
        100 * np.array(network.intervals or [(value, value) for value in network.accuracy]).T
        for run in comparison.runs
        for network in run.networks
    ]
    limits = limits_around(np.concatenate(ends), MARGIN)
    data: list[Figure] = []
    for index, run in enumerate(comparison.runs):
        data += _traces(run, index, limits)
    layout = layout_of("clean accuracy (%)", "robust accuracy (%)", legend=True)
    layout["xaxis"]["range"], layout["yaxis"]["range"] = [list(pair) for pair in limits]
    return {"data": data, "layout": layout}


def _traces(run: ComparedRun, index: int, limits: Limits) -> list[Figure]:
    colour = f"@run{index}"
    places = [[100 * value for value in network.accuracy] for network in run.networks]
    xs, ys = border(places, limits)
    dots: Figure = {
        "type": "scatter", "mode": "markers", "name": safe(short(run.label)),
        "x": rounded([x for x, _ in places], 3), "y": rounded([y for _, y in places], 3),
        "marker": {"color": colour, "size": 9, "symbol": SYMBOLS[index % len(SYMBOLS)]},
        "legendgroup": f"run{index}", "hoverinfo": "text",
        "hovertext": [_hover(run, network) for network in run.networks],
    }  # fmt: skip
    intervals = [network.intervals for network in run.networks if network.intervals is not None]
    if len(intervals) == len(run.networks):
        for axis, name in enumerate(("error_x", "error_y")):
            values = [network.accuracy[axis] for network in run.networks]
            dots[name] = bars(values, [pair[axis] for pair in intervals], colour)
    steps = {
        **line(xs, ys, colour, 1.6, DASHES[index % len(DASHES)]),
        "name": safe(short(run.label)),
        "legendgroup": f"run{index}",
        "showlegend": False,
    }
    return [steps, dots]


def _hover(run: ComparedRun, network: ComparedNetwork) -> str:
    clean, robust = network.accuracy_texts
    label = f" ({safe(network.label)})" if network.label else ""
    return (
        f"<b>{safe(run.label)}: network {safe(network.name)}{label}</b><br>{clean} clean<br>{robust} robust"
    )


def _networks_section(comparison: Comparison) -> Section:
    heads = ["run", "network", "clean", "robust", *(["verdict"] if comparison.verdicts else [])]
    rows = []
    for run in comparison.runs:
        beaten = {own.name: (other, rival) for own, other, rival in comparison.beaten(run)}
        for network in run.networks:
            cells: list[Cell] = [run.label, network.labelled_name]
            cells += [_accuracy(network, axis) for axis in range(2)]
            if comparison.verdicts:
                cells.append(_verdict(comparison, run, network, beaten.get(network.name)))
            rows.append(cells)
    caption = ""
    if comparison.verdicts:
        caption = (
            "Verdict: among the verified fronts of all runs, on the same images. The probability that any "
            "verdict “on the front” or “beaten” is wrong is at most 5%."
        )
    content = table(heads, rows, "The networks of each front")
    return section("All networks", content, caption, "all-networks")


def _verdict(
    comparison: Comparison,
    run: ComparedRun,
    network: ComparedNetwork,
    beaten: tuple[ComparedRun, ComparedNetwork] | None,
) -> str:
    if network.beaten_by:
        return f"beaten by {network.beaten_by} of its own run"
    if beaten is not None:
        other, rival = beaten
        return f"beaten by {rival.name} of {other.label}"
    kind = comparison.verdicts[run.label, network.name].kind
    return "beaten by a network of its own run" if kind == "beaten" else kind


def _cost_section(comparison: Comparison) -> Section:
    rows: list[list[Cell]] = []
    for run in comparison.runs:
        values = [run.cost.trainings, run.cost.complete, run.cost.stopped, run.cost.failed, run.cost.epochs]
        sorted_by = [*values, run.cost.core_hours, run.cost.gpu_hours]
        rows.append([run.label, *zip(cost_cells(run), sorted_by, strict=True)])
    caption = (
        "All trials of the search with its controls, also those that were stopped or failed. Core-hours: "
        "hours of training times resources.cpu; GPU-hours: times resources.gpu. Replicates and the "
        "verification are not counted. Machines may differ; see the settings."
    )
    return section(
        "Trainings and hours", table(["run", *COST_HEADS], rows, "The cost of the runs"), caption, "hours"
    )


def _settings_section(comparison: Comparison) -> Section:
    rows = differing_settings([run.data.settings for run in comparison.runs])
    if not rows:
        return section(
            "No setting differs", paragraphs(["The runs have the same settings."]), ident="differing"
        )
    heads = ["setting", *(run.label for run in comparison.runs)]
    content = table(heads, [[key, *values] for key, values in rows], "The settings that differ", "reasons")
    caption = (
        f"{len(rows)} settings differ; – means that a run does not have the setting, or that it is not set."
    )
    return section("Settings that differ", content, caption, "differing")
