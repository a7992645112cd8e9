"""The sections of the verification: verified front, attacks, transfer attacks, gains and radius curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from morel_search._format import percent, points
from morel_search.analysis.front import dominates
from morel_search.analysis.intervals import Difference, wilson
from morel_search.analysis.report.html import figure_place, section, table, text
from morel_search.analysis.report.plotly_traces import Figure, Figures, layout_of, line, rounded
from morel_search.analysis.verification import Network, Verification, compare
from morel_search.results.attack_names import STAGES, WHITE_BOX

__all__ = ["gain_sentences", "verified_sections", "verified_words", "weakness"]

WEAK_POINTS, WEAK_RANKS = 0.03, 0.8
"""Mean overestimate of robust accuracy above which, and rank correlation below which, an attack is weak."""

MOST_CURVES, LABEL_GAP = 12, 6.5
"""Largest number of curves in the figure, and smallest distance of their labels in percentage points."""


def verified_sections(
    found: Verification,
    epsilon: str,
    multiples: Sequence[float],
    figures: Figures,
    controls: Mapping[str, str] | None = None,
) -> list[str]:
    """Return the sections of the verification.

    Args:
        found: The verification.
        epsilon: The radius of the attacks, as in the space file.
        multiples: The radii of the curves, in units of epsilon.
        figures: Figures of the page; the figures of these sections are added.
        controls: Names of the controls by the names of their networks.
    """
    figures["verified"] = _front_figure(found)
    words = "".join(f"<p>{text(sentence)}</p>" for sentence in verified_words(found, controls))
    notes = "".join(
        f'<p class="note">{text(_flagged(network, flag))}</p>'
        for network in found.networks
        for flag in network.flags
    )
    notes = "".join(f'<p class="note">{text(sentence)}</p>' for sentence in weakness(found)) + notes
    caption = (
        "Clean accuracy, and robust accuracy under all attacks, on the test split. Bars: 95% intervals. "
        "Faint lines "
        "start at the validation accuracies of the search. Hollow: a network that is dominated by another "
        "one, but "
        "not significantly (McNemar's test on the same images, with Bonferroni correction)."
    )
    parts = [
        section(
            "Verified front",
            f'<div class="words">{words}</div>{notes}{figure_place("verified", "wide")}',
            caption,
            "verified",
        )
    ]
    caption = (
        "Test accuracies in percent. Each attack column: the share of all images that are still correctly "
        "classified after this attack and all attacks to its left. all: after every attack. interval: 95% "
        "interval "
        "of the robust accuracy. ±: half the 95% interval of the clean accuracy, in percentage points."
    )
    parts.append(section("Attack by attack", _table(found), caption, "attacks"))
    if any(network.diagnostics.transfer for network in found.networks):
        caption = (
            "Test accuracy of each network (row) on PGD-50 examples made on another network (column). An "
            "accuracy "
            "below that under the attacks on the network itself is a sign of gradient masking."
        )
        parts.append(section("Transfer attacks", _transfer_table(found), caption, "transfer"))
    if gains := gain_sentences(found):
        lines = "".join(
            f"<div><dt>{text(name)}</dt><dd>{text(sentence)}</dd></div>" for name, sentence in gains
        )
        caption = (
            "Test accuracies under all attacks; differences on the same images, with 95% intervals in points."
        )
        parts.append(
            section("Gain over the controls", f'<dl class="controls">{lines}</dl>', caption, "gains")
        )
    if any(network.diagnostics.curve for network in found.networks):
        figures["radius"] = _curves(found, multiples)
        images = min(network.diagnostics.images for network in found.networks)
        caption = (
            f"Robust accuracy under PGD at several radii, on {images} test images; radius 1 is ε = "
            f"{epsilon}. A curve "
            "that does not fall with the radius is a sign of gradient masking."
        )
        parts.append(
            section("Robust accuracy against the radius", figure_place("radius", "wide"), caption, "radius")
        )
    return parts


def verified_words(found: Verification, controls: Mapping[str, str] | None = None) -> list[str]:
    """Return sentences on the attacks, the images and the verified front.

    Args:
        found: The verification.
        controls: Names of the controls by the names of their networks.
    """
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
    names = {"pgd": "the PGD attack of the search", "square": "Square"}
    able = [stage for stage in STAGES if any(stage in network.attacks for network in found.networks)]
    *first, last = (names.get(stage, stage.upper()) for stage in able)
    lines = [f"Each network was attacked with {', '.join(first)} and {last} on {count} test images.{late}"]
    if found.missing:
        labels = controls or {}
        lines.append(f"Not verified yet: {', '.join(labels.get(name, name) for name in found.missing)}.")
    before, after = found.hypervolumes
    lines.append(
        f"The hypervolume of the front above (0, 0) was {before:.4f} on the validation split under the "
        "attack of "
        f"the search; it is {after:.4f} on the test split under all attacks, without flagged networks."
    )
    ranks = found.rank_correlation
    correlation = (
        ""
        if ranks is None
        else f" Spearman's rank correlation of the two robust accuracies is {ranks:.2f} (1 is the same "
        "order)."
    )
    difference = found.overestimate
    lines.append(
        f"On average, robust test accuracy under the attack of the search is {points(difference)} "
        f"higher than under all attacks.{correlation}"
    )
    return lines


def weakness(found: Verification) -> list[str]:
    """Return a warning when the attack of the search was too weak, with the settings of stronger attacks."""
    ranks = found.rank_correlation
    if found.overestimate <= WEAK_POINTS and (ranks is None or ranks >= WEAK_RANKS):
        return []
    return [
        "The attack of this search was too weak to compare networks. For a stronger attack set "
        "evaluation.loss to "
        "margin, evaluation.restarts to 2, or raise evaluation.steps."
    ]


def gain_sentences(found: Verification) -> list[tuple[str, str]]:
    """Compare each control with the front, at equal clean accuracy and at equal robust accuracy.

    The network of the front is selected by its validation accuracies, and the difference is measured on the
    test
    split: a selection on the test split would bias the difference in favour of the search.

    Returns:
        Name of the control and sentences, for each control without signs of gradient masking.
    """
    gains = []
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
        sentences.append(_gain("clean", "robust", as_clean, control, 1))
        sentences.append(_gain("robust", "clean", as_robust, control, 0))
        gains.append((control.label or control.name, " ".join(sentences)))
    return gains


def _gain(equal: str, gained: str, able: Sequence[Network], control: Network, axis: int) -> str:
    if not able:
        return f"No searched network on the front has at least the same {equal} validation accuracy."
    best = max(able, key=lambda network: network.validation[axis])
    return (
        f"At the same or higher {equal} validation accuracy: network {best.name}, "
        f"{_difference(compare(best, control)[axis], gained)}."
    )


def _difference(difference: Difference, gained: str) -> str:
    direction = "more" if difference.value >= 0 else "less"
    return (
        f"{points(abs(difference.value))} {direction} {gained} accuracy "
        f"({100 * difference.low:+.1f} to {100 * difference.high:+.1f})"
    )


def _title(network: Network) -> str:
    return f"Control {network.label}" if network.label else f"Network {network.name}"


def _flagged(network: Network, flag: str) -> str:
    removed = " and removed from the front" if network.member else ""
    return f"{_title(network)} is flagged for gradient masking{removed}. {_upper(flag)}."


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
        cells: list[str | tuple[str, float]] = [
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
        cells: list[str | tuple[str, float]] = [(name, network.number)]
        cells += [(percent(known[source]), known[source]) if source in known else "–" for source in sources]
        rows.append([*cells, (percent(network.accuracy[1]), network.accuracy[1])])
    return table(["network", *(f"made on {source}" for source in sources), "its own attacks"], rows)


def _verdict(network: Network, row: Mapping[Any, Any]) -> str:
    if network.flags:
        return "flagged"
    if row["beaten_by"]:
        return f"dominated by {row['beaten_by']}"
    return "on the front" if row["on_front"] else "control"


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
        if any(dominates(other.accuracy, network.accuracy) for other in found.networks if not other.flags)
    }
    flagged = [network for network in found.networks if network.flags]
    unflagged = [network for network in found.networks if not network.flags and network.member]
    groups = (
        (
            "verified front",
            [network for network in found.front if network.name not in ties],
            {"color": "@front", "size": 9},
        ),
        (
            "dominated, not significantly",
            [network for network in found.front if network.name in ties],
            {"color": "@front", "size": 9, "symbol": "circle-open", "line": {"width": 1.5}},
        ),
        (
            "dominated",
            [network for network in unflagged if network not in found.front],
            {"color": "@dot", "size": 8},
        ),
        (
            "controls",
            [network for network in found.networks if not network.member and not network.flags],
            {"color": "@control", "size": 10, "symbol": "diamond"},
        ),
        ("flagged", flagged, {"color": "@control", "size": 9, "symbol": "x-thin-open", "line": {"width": 2}}),
    )
    data += [
        _points_of(name, networks, marker, found.images) for name, networks, marker in groups if networks
    ]
    layout = layout_of("clean accuracy (%)", "robust accuracy (%)", legend=True)
    return {"data": data, "layout": layout}


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
            f"<b>{text(_title(network))}</b><br>{percent(network.accuracy[0])} clean, "
            f"{percent(network.accuracy[1])} robust (test split, all attacks)"
            for network in networks
        ],
    }  # fmt: skip


def _curves(found: Verification, multiples: Sequence[float]) -> Figure:
    """Draw robust accuracy over the radius.

    The clean accuracy of these images alone is not recorded, so a curve begins at the smallest radius.
    """
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
        hover = f"<b>{text(_title(network))}</b><br>%{{x}} ε: %{{y:.1f}}%<extra></extra>"
        data.append({**pen, "hoverinfo": "all", "hovertemplate": hover, "showlegend": False, "opacity": 0.85})
    layout = layout_of("radius, in units of ε", "robust accuracy (%)", legend=False)
    begins = [100 * network.diagnostics.curve[0] for network in shown]
    layout["annotations"] = [
        {"x": multiples[0], "y": place, "text": text(network.label or network.name), "showarrow": False,
         "xanchor": "right", "xshift": -6, "font": {"size": 10, "color": _colour(network)}}
        for network, place in zip(shown, _apart(begins, LABEL_GAP), strict=True)
    ]  # fmt: skip
    layout["xaxis"]["range"] = [0, multiples[-1] * 1.01]
    return {"data": data, "layout": layout}


def _apart(values: Sequence[float], gap: float) -> list[float]:
    """Return positions for labels: each at its value, or lower where it would overlap the label above it."""
    places, above = dict[int, float](), float("inf")
    for index in sorted(range(len(values)), key=lambda label: -values[label]):
        above = places[index] = min(values[index], above - gap)
    return [places[index] for index in range(len(values))]
