"""The report's sections about verification: the front with its intervals, the table, what the search gained, and the curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from morel_search._format import percent, points
from morel_search.analysis.intervals import Difference, wilson
from morel_search.analysis.report.html import figure_place, section, table, text
from morel_search.analysis.report.plotly_traces import Figure, layout_of, line, rounded
from morel_search.analysis.verification import Network, Verification, compare
from morel_search.results.attack_names import STAGES, WHITE_BOX

__all__ = ["gain_sentences", "verified_sections", "verified_words", "weakness"]

WEAK_POINTS, WEAK_RANKS = 0.03, 0.8
"""From where on the search's own attack is called too kind: accuracy it leaves on average, and the rank correlation."""

MOST_CURVES, LABEL_GAP = 12, 6.5
"""Curves that are drawn, and the least distance of their labels in percentage points."""


def verified_sections(
    found: Verification, epsilon: str, multiples: Sequence[float], figures: dict[str, Any]
) -> list[str]:
    """Frame what was found.

    Args:
        found: The verification.
        epsilon: The radius, as the space file has it.
        multiples: The radii of the curves, in units of it.
        figures: Figures by the id of their place; those of these sections are added.
    """
    figures["verified"] = _front_figure(found)
    words = "".join(f"<p>{text(sentence)}</p>" for sentence in verified_words(found))
    notes = "".join(
        f'<p class="note">{text(_flagged(network, flag))}</p>'
        for network in found.networks
        for flag in network.flags
    )
    notes = "".join(f'<p class="note">{text(sentence)}</p>' for sentence in weakness(found)) + notes
    caption = "Test split. Bars: 95% intervals. Faint lines start at the accuracies that the search measured on the validation split. Hollow: a tie with a "
    caption += "network that is better in both accuracies, but not significantly (McNemar's test on the same images, corrected for the number of tests)."
    parts = [
        section(
            "Verified front",
            f'<div class="words">{words}</div>{notes}{figure_place("verified", "wide")}',
            caption,
            "verified",
        )
    ]
    caption = "Robust accuracy after each attack and all attacks to its left. An image counts as robust if it withstands every attack."
    parts.append(section("Attack by attack", _table(found), caption, "attacks"))
    if any(network.diagnostics.transfer for network in found.networks):
        caption = "Accuracy of each network (rows) on PGD-50 examples made on another network (columns). If it is lower than under its own "
        caption += "attacks, those attacks fail on this network."
        parts.append(section("Transfer attacks", _transfer_table(found), caption, "transfer"))
    if gains := gain_sentences(found):
        lines = "".join(
            f"<div><dt>{text(name)}</dt><dd>{text(sentence)}</dd></div>" for name, sentence in gains
        )
        caption = "Verified test accuracies; differences on the same images, with 95% intervals."
        parts.append(
            section("Gain over the controls", f'<dl class="controls">{lines}</dl>', caption, "gains")
        )
    if any(network.diagnostics.curve for network in found.networks):
        figures["radius"] = _curves(found, multiples)
        images = min(network.diagnostics.images for network in found.networks)
        caption = f"PGD at several radii on {images} images; 1 is epsilon = {epsilon}. A curve that does not fall with the radius is a sign of gradient masking."
        parts.append(
            section("Robust accuracy against the radius", figure_place("radius", "wide"), caption, "radius")
        )
    return parts


def verified_words(found: Verification) -> list[str]:
    """What was done, and what the front is worth now."""
    count = (
        f"all {found.images}"
        if found.images == found.all_images
        else f"{found.images} of the {found.all_images}"
    )
    late = (
        ""
        if found.late_images == found.images
        else f" FAB-T and Square on {found.late_images} of them; python -m morel_search.verify continues."
    )
    names = {"pgd": "the search's PGD", "square": "Square"}
    able = [stage for stage in STAGES if any(stage in network.attacks for network in found.networks)]
    *first, last = (names.get(stage, stage.upper()) for stage in able)
    said = [f"Each network was attacked by {', '.join(first)} and {last} on {count} test images.{late}"]
    if found.missing:
        said.append(f"Not verified yet: {', '.join(found.missing)}.")
    before, after = found.hypervolumes
    said.append(
        f"The hypervolume of the front is {before:.3f} by the search's validation accuracies and "
        f"{after:.3f} verified."
    )
    ranks = found.rank_correlation
    agree = "" if ranks is None else f" The rank correlation of the networks under both is {ranks:.2f}."
    said.append(
        f"Robust accuracy under the search's own attack is {points(found.overestimate)} higher than "
        f"verified, on "
        f"average.{agree}"
    )
    return said


def weakness(found: Verification) -> list[str]:
    """A sentence where the search's own attack was too kind to be believed, and what to set."""
    ranks, points = found.rank_correlation, found.overestimate
    if points <= WEAK_POINTS and (ranks is None or ranks >= WEAK_RANKS):
        return []
    return [
        "The attack of this search (evaluation) is too weak to select networks by. Stronger: "
        "evaluation.loss: margin, "
        "evaluation.restarts: 2, "
        "or more evaluation.steps."
    ]


def gain_sentences(found: Verification) -> list[tuple[str, str]]:
    """For each control: how much more the search's networks have, at equal clean accuracy and at equal robustness.

    The network beside it is chosen by what the search saw, and the difference is that on the test split: to
    choose by the same images would flatter the search.
    """
    said = []
    for control in found.networks:
        if not control.label or control.flags:
            continue
        clean, robust = control.accuracy
        sentences = [f"{percent(clean)} clean, {percent(robust)} robust."]
        able = [network for network in found.unflagged if not network.label]
        as_clean, as_robust = (
            [network for network in able if network.validation[axis] >= control.validation[axis]]
            for axis in range(2)
        )
        sentences.append(_gain("as accurate", "robust", as_clean, control, 1))
        sentences.append(_gain("as robust", "clean", as_robust, control, 0))
        said.append((control.label or control.name, " ".join(sentences)))
    return said


def _gain(equal: str, what: str, able: Sequence[Network], control: Network, axis: int) -> str:
    if not able:
        return f"The search has no network on the front that is {equal}."
    best = max(able, key=lambda network: network.validation[axis])
    return f"At least {equal} on the validation split: network {best.name}, {_difference(compare(best, control)[axis])} {what} accuracy."


def _difference(one: Difference) -> str:
    direction = "more" if one.value >= 0 else "less"
    return f"{points(abs(one.value))} {direction} ({100 * one.low:+.1f} to {100 * one.high:+.1f})"


def _who(network: Network) -> str:
    return f"Control {network.label}" if network.label else f"Network {network.name}"


def _flagged(network: Network, flag: str) -> str:
    return f"{_who(network)} is flagged{' and removed from the front' if network.member else ''}. {_upper(flag)}."


def _upper(sentence: str) -> str:
    return sentence[0].upper() + sentence[1:]


def _table(found: Verification) -> str:
    stages = [stage for stage in WHITE_BOX if any(stage in network.attacks for network in found.networks)]
    heads = ["network", "clean", "± ", *(stage.upper() for stage in stages), "all", "interval", "verdict"]
    rows = []
    for network, row in zip(found.networks, found.table().to_dict("records"), strict=True):
        name = f"{network.name} ({network.label})" if network.label else network.name
        (clean, robust), count = network.accuracy, found.images
        half = (row["clean_high"] - row["clean_low"]) / 2
        cells: list[str | tuple[str, Any]] = [
            (name, network.number),
            (percent(clean), clean),
            (f"{100 * half:.1f}", half),
        ]
        cells += [(percent(network.after[stage] / count), network.after[stage]) for stage in stages]
        cells += [
            (percent(robust), robust),
            f"{100 * row['robust_low']:.1f} to {100 * row['robust_high']:.1f}",
            _verdict(network, row),
        ]
        rows.append(cells)
    return table(heads, rows)


def _transfer_table(found: Verification) -> str:
    sources = list(
        dict.fromkeys(source for network in found.networks for source in network.diagnostics.transfer)
    )
    rows = []
    for network in found.networks:
        name = f"{network.name} ({network.label})" if network.label else network.name
        known = network.diagnostics.transfer
        cells: list[str | tuple[str, Any]] = [(name, network.number)]
        cells += [(percent(known[source]), known[source]) if source in known else "–" for source in sources]
        rows.append([*cells, (percent(network.accuracy[1]), network.accuracy[1])])
    return table(["network", *(f"made on {source}" for source in sources), "its own attacks"], rows)


def _verdict(network: Network, row: Mapping[Any, Any]) -> str:
    if network.flags:
        return "flagged"
    if row["beaten_by"]:
        return f"dominated by {row['beaten_by']}"
    return "holds" if row["on_front"] else "control"


def _front_figure(found: Verification) -> Figure:
    data: list[Figure] = []
    for network in found.networks:
        (x0, y0), (x1, y1) = network.validation, network.accuracy
        data.append(
            {
                **line(
                    rounded([100 * x0, 100 * x1], 3), rounded([100 * y0, 100 * y1], 3), _colour(network), 0.8
                ),
                "opacity": 0.4,
                "showlegend": False,
            }
        )
    ties = {
        network.name
        for network in found.front
        if any(_dominates(other, network) for other in found.networks if not other.flags)
    }
    flagged = [network for network in found.networks if network.flags]
    unflagged = [network for network in found.networks if not network.flags and network.member]
    groups = (
        (
            "verified front",
            [one for one in found.front if one.name not in ties],
            {"color": "@front", "size": 9},
        ),
        (
            "tie",
            [one for one in found.front if one.name in ties],
            {"color": "@front", "size": 9, "symbol": "circle-open", "line": {"width": 1.5}},
        ),
        ("beaten", [one for one in unflagged if one not in found.front], {"color": "@dot", "size": 8}),
        (
            "controls",
            [one for one in found.networks if not one.member and not one.flags],
            {"color": "@control", "size": 10, "symbol": "diamond"},
        ),
        ("flagged", flagged, {"color": "@control", "size": 9, "symbol": "x-thin-open", "line": {"width": 2}}),
    )
    data += [
        _points_of(name, networks, marker, found.images) for name, networks, marker in groups if networks
    ]
    layout = layout_of("clean accuracy (%)", "robust accuracy (%)", legend=True)
    return {"data": data, "layout": layout}


def _dominates(first: Network, second: Network) -> bool:
    return (
        all(a >= b for a, b in zip(first.accuracy, second.accuracy, strict=True))
        and first.accuracy != second.accuracy
    )


def _colour(network: Network) -> str:
    return "@front" if network.member else "@control"


def _points_of(name: str, networks: Sequence[Network], marker: Figure, count: int) -> Figure:
    bars = []
    for axis in range(2):
        values = [network.accuracy[axis] for network in networks]
        limits = [wilson(round(value * count), count) for value in values]
        above = rounded([100 * (high - value) for (_, high), value in zip(limits, values, strict=True)], 3)
        below = rounded([100 * (value - low) for (low, _), value in zip(limits, values, strict=True)], 3)
        colour = str(marker["color"])
        bars.append(
            {
                "type": "data",
                "symmetric": False,
                "array": above,
                "arrayminus": below,
                "color": colour,
                "thickness": 0.8,
                "width": 0,
            }
        )
    return {
        "type": "scatter", "mode": "markers+text", "name": name,
        "x": rounded([100 * network.accuracy[0] for network in networks], 3),
        "y": rounded([100 * network.accuracy[1] for network in networks], 3),
        "error_x": bars[0], "error_y": bars[1], "marker": marker,
        "text": [network.label or network.name for network in networks], "textposition": "top right",
        "textfont": {"color": str(marker["color"]), "size": 11}, "hoverinfo": "text",
        "hovertext": [
            f"<b>{text(_who(one))}</b><br>{percent(one.accuracy[0])} clean, {percent(one.accuracy[1])} "
            f"robust" for one in networks
        ],
    }  # fmt: skip


def _curves(found: Verification, multiples: Sequence[float]) -> Figure:
    """Clean accuracy of the curve's images is not known apart from the others', so a curve begins at the smallest radius."""
    shown = [network for network in found.networks if network.diagnostics.curve][:MOST_CURVES]
    data = []
    for network in shown:
        values = rounded([100 * value for value in network.diagnostics.curve], 2)
        pen = line(
            list(multiples),
            values,
            _colour(network),
            1.4 if network.member else 1.2,
            "solid" if network.member else "dot",
        )
        hover = f"<b>{text(_who(network))}</b><br>%{{x}} epsilon: %{{y:.1f}} %<extra></extra>"
        data.append({**pen, "hoverinfo": "all", "hovertemplate": hover, "showlegend": False, "opacity": 0.85})
    layout = layout_of("radius, in units of epsilon", "robust accuracy (%)", legend=False)
    begins = [100 * network.diagnostics.curve[0] for network in shown]
    layout["annotations"] = [
        {"x": multiples[0], "y": place, "text": text(network.label or network.name), "showarrow": False,
         "xanchor": "right", "xshift": -6, "font": {"size": 10, "color": _colour(network)}}
        for network, place in zip(shown, _apart(begins, LABEL_GAP), strict=True)
    ]  # fmt: skip
    layout["xaxis"]["range"] = [0, multiples[-1] * 1.01]
    return {"data": data, "layout": layout}


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """Places for labels, from the highest value down, each at its value or as far below the one above it as it must be."""
    places, above = dict[int, float](), float("inf")
    for index in sorted(range(len(values)), key=lambda one: -values[one]):
        above = places[index] = min(values[index], above - gap)
    return [places[index] for index in range(len(values))]
