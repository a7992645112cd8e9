"""The report's section about replicates: mean, spread and chance of each network, in words, as a figure and as a table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from morel_search._format import percent, points
from morel_search.analysis.replication import Replicated
from morel_search.analysis.report.html import figure_place, section, table, text
from morel_search.analysis.report.plotly_traces import Figure, layout_of, rounded, safe

__all__ = ["replication_section", "replication_text", "replication_words"]

LIKELY = 0.5


def replication_section(found: Sequence[Replicated], attack: str, figures: dict[str, Any]) -> str:
    """Frame what was found.

    Args:
        found: The networks, at least one.
        attack: The search's own attack, in words.
        figures: Figures by the id of their place; that of this section is added.
    """
    figures["replicates"] = _figure(found)
    words = "".join(f"<p>{text(sentence)}</p>" for sentence in replication_words(found))
    caption = f"Test split, {attack}. Small: one training with another random seed. Large: mean, with one standard deviation. "
    caption += "On the front: probability that the configuration is on the front if each is trained once."
    heads = ["network", "clean", "robust", "trainings", "mean clean", "±", "mean robust", "±", "on the front"]
    rows = [
        [
            (_name(one), one.number),
            *(_cell(value) for value in one.own or (math.nan, math.nan)),
            (
                str(len(one.points)) + (f" of {len(one.points) + one.failed}" if one.failed else ""),
                len(one.points),
            ),
            *(_cell(value) for axis in range(2) for value in (one.mean[axis], one.spread[axis])),
            _cell(one.chance),
        ]
        for one in found
    ]
    content = f'<div class="words">{words}</div>{figure_place("replicates", "wide")}{table(heads, rows)}'
    return section("Replicates with other random seeds", content, caption, "replicates")


def replication_words(found: Sequence[Replicated]) -> list[str]:
    """What the seed decides, how lucky the search was, and which networks are likely to be on the front again."""
    said = []
    spreads = np.array([one.spread for one in found if len(one.points) > 1])
    if len(spreads):
        clean, robust = np.sqrt((spreads**2).mean(axis=0))
        said.append(
            f"The random seed alone changes clean accuracy by {points(clean)} and robust accuracy by "
            f"{points(robust)} (standard deviation)."
        )
    lucky = np.array(
        [
            np.subtract(one.own, one.mean)
            for one in found
            if one.member and one.own is not None and len(one.points)
        ]
    )
    if len(lucky):
        clean, robust = lucky.mean(axis=0)
        said.append(
            f"The front's networks have {_more(clean)} clean and {_more(robust)} robust accuracy than "
            f"their replicates, on average" + ("; this part was chance." if max(clean, robust) > 0 else ".")
        )
    members = [one for one in found if one.member]
    if members:
        likely, rest = (
            [one.name for one in members if (one.chance >= LIKELY) == is_likely]
            for is_likely in (True, False)
        )
        said.append(
            f"On the front with a probability above 50%: {', '.join(likely) or 'none'}. Below: "
            f"{', '.join(rest) or 'none'}."
        )
    if failed := sum(one.failed for one in found):
        said.append(f"{failed} of the trainings failed; the reasons are in replicates.csv.")
    return said


def replication_text(found: Sequence[Replicated]) -> str:
    """The replicates as a table for the terminal."""
    width = max(7, *(len(one.name) for one in found))
    rows = ["", "trained again with other seeds, on the test split under the search's own attack:", ""]
    rows.append(f"{'network':>{width}}  {'':<13} {'clean':>14} {'robust':>14} {'on the front':>13}")
    for one in found:
        cells = [
            f"{100 * mean:.1f} ± {100 * sd:.1f} %"
            if not math.isnan(sd)
            else f"{100 * mean:.1f} %"
            if not math.isnan(mean)
            else "-"
            for mean, sd in zip(one.mean, one.spread, strict=True)
        ]
        rows.append(
            f"{one.name:>{width}}  {one.label:<13.13} {cells[0]:>14} {cells[1]:>14} "
            f"{f'{100 * one.chance:.0f} %':>13}"
        )
    return "\n".join([*rows, *replication_words(found), ""])


def _name(one: Replicated) -> str:
    return f"{one.name} ({one.label})" if one.label else one.name


def _cell(value: float) -> str | tuple[str, float]:
    return "–" if math.isnan(value) else (percent(value), value)


def _more(value: float) -> str:
    return f"{points(value)} {'more' if value >= 0 else 'less'}"


def _figure(found: Sequence[Replicated]) -> Figure:
    data: list[Figure] = []
    known = [one for one in found if len(one.points)]
    groups = (
        ("front", [one for one in known if one.member], "@front", "circle"),
        ("controls", [one for one in known if not one.member], "@control", "diamond"),
    )
    for name, networks, colour, symbol in groups:
        if not networks:
            continue
        single = np.concatenate([one.points for one in networks])
        data.append(
            {
                "type": "scatter", "mode": "markers", "x": rounded(100 * single[:, 0], 3), "y": rounded(100 * single[:, 1], 3),
                "marker": {"color": colour, "size": 4, "symbol": symbol}, "opacity": 0.45, "showlegend": False, "hoverinfo": "skip",
            }
        )  # fmt: skip
        means, spreads = (np.array([getattr(one, what) for one in networks]) for what in ("mean", "spread"))
        bars = [
            {
                "type": "data",
                "array": rounded(100 * np.nan_to_num(spreads[:, axis]), 3),
                "color": colour,
                "thickness": 0.8,
                "width": 0,
            }
            for axis in range(2)
        ]
        data.append(
            {
                "type": "scatter", "mode": "markers+text", "name": name, "x": rounded(100 * means[:, 0], 3),
                "y": rounded(100 * means[:, 1], 3), "error_x": bars[0], "error_y": bars[1],
                "marker": {"color": colour, "size": 9, "symbol": symbol}, "textposition": "top right",
                "text": [safe(one.label or one.name) for one in networks], "textfont": {"color": colour, "size": 11}, "hoverinfo": "text",
                "hovertext": [
                    f"<b>{safe(_name(one))}</b><br>{percent(one.mean[0])} clean, {percent(one.mean[1])} "
                    f"robust<br>"
                    f"on the front: {100 * one.chance:.0f}%"
                    for one in networks
                ],
            }
        )  # fmt: skip
    return {"data": data, "layout": layout_of("clean accuracy (%)", "robust accuracy (%)", legend=True)}
