"""The section of the verified front: accuracies under all attacks on the test split, with intervals."""

from __future__ import annotations

from collections.abc import Sequence

from morel_search._format import percent
from morel_search.analysis.attacks_run import attack_counts, is_complete, missing_checks, unverified
from morel_search.analysis.intervals import wilson
from morel_search.analysis.report.html import Section, figure_place, paragraphs, section, text
from morel_search.analysis.report.plotly_traces import Figure, colour_of, layout_of, line, rounded, safe
from morel_search.analysis.verification import Network, Verification, search_attack_words, weakness

__all__ = ["verified_front_section", "verified_words"]


def verified_front_section(verification: Verification) -> Section:
    """Return the section of the verified front."""
    flagged = [_flagged(network, flag) for network in verification.networks for flag in network.flags]
    words = paragraphs(verified_words(verification))
    notes = paragraphs([*missing_checks(verification), *weakness(verification), *flagged], "note")
    caption = (
        "Clean accuracy, and robust accuracy under the attacks that ran, on the test split. Bars: 95% "
        "intervals. Faint lines start at the validation accuracies of the search. Hollow: undecided, neither "
        "on the front nor beaten beyond chance."
    )
    content = f'<div class="words">{words}</div>{notes}{figure_place("verified", "wide")}'
    return section("Verified front", content, caption, "verified", {"verified": _figure(verification)})


def verified_words(verification: Verification) -> list[str]:
    """Return sentences on the attacks, the images and the verified front."""
    images = verification.images
    count = f"all {images}" if images == verification.all_images else f"{images} of {verification.all_images}"
    more = "" if is_complete(verification) else " python -m morel_search.verify continues."
    lines = [
        f"Each network was attacked on {count} test images: {attack_counts(verification)}. PGD is the attack "
        f"of the search.{more}",
        *unverified(verification),
        *_verdict_words(verification),
    ]
    before, after = verification.hypervolumes
    lines.append(
        f"The hypervolume of the front above (0, 0) was {before:.4f} on the validation split under the "
        f"attack of the search; it is {after:.4f} on the test split under the attacks that ran, without "
        "flagged networks."
    )
    lines.append(search_attack_words(verification))
    return lines


def _verdict_words(verification: Verification) -> list[str]:
    """Count the verdicts on the members, and describe the tests."""
    names: dict[str, list[str]] = {"on the front": [], "beaten": [], "undecided": []}
    for network in verification.unflagged:
        names[verification.kind(network)].append(network.name)
    counts = ", ".join(f"{kind}: {', '.join(members) or 'none'}" for kind, members in names.items())
    if len(verification.networks) < 2:
        return []
    return [
        f"Verdicts on the networks of the front: {counts}.",
        "A network is on the front if it is better than every other network in at least one accuracy; it is "
        "beaten if another network is better in one accuracy and, in the other, worse by less than a margin "
        "(the resolution of the test, at most half of the gain, at least one point). The probability that "
        "one or more of these verdicts are wrong is at most 5% (McNemar's test and intervals of differences "
        "on the same images, Bonferroni correction for all pairs of networks and both accuracies).",
    ]


def _flagged(network: Network, flag: str) -> str:
    removed = " and removed from the front" if network.member else ""
    return f"{network.title} is flagged for gradient masking{removed}. {flag[0].upper()}{flag[1:]}."


def _figure(verification: Verification) -> Figure:
    data: list[Figure] = []
    for network in verification.networks:
        xs, ys = (
            rounded([100 * network.validation[axis], 100 * network.accuracy[axis]], 3) for axis in range(2)
        )
        data.append(
            {**line(xs, ys, colour_of(member=network.member), 0.8), "opacity": 0.4, "showlegend": False}
        )
    flagged = [network for network in verification.networks if network.flags]
    others = [network for network in verification.networks if not network.flags]
    members: dict[str, list[Network]] = {"on the front": [], "undecided": [], "beaten": []}
    for network in verification.unflagged:
        members[verification.kind(network)].append(network)
    groups = (
        ("verified front", members["on the front"], {"color": "@front", "size": 9}),
        (
            "undecided",
            members["undecided"],
            {"color": "@front", "size": 9, "symbol": "circle-open", "line": {"width": 1.5}},
        ),
        ("beaten", members["beaten"], {"color": "@dot", "size": 8}),
        (
            "controls",
            [network for network in others if not network.member],
            {"color": "@control", "size": 10, "symbol": "diamond"},
        ),
        ("flagged", flagged, {"color": "@control", "size": 9, "symbol": "x-thin-open", "line": {"width": 2}}),
    )
    data += [
        _points_of(name, networks, marker, verification.images)
        for name, networks, marker in groups
        if networks
    ]
    layout = layout_of("clean accuracy (%)", "robust accuracy (%)", legend=True)
    return {"data": data, "layout": layout}


def _points_of(name: str, networks: Sequence[Network], marker: Figure, count: int) -> Figure:
    bars = []
    for axis in range(2):
        values = [network.accuracy[axis] for network in networks]
        limits = [wilson(round(value * count), count) for value in values]
        above = rounded([100 * (high - value) for (_, high), value in zip(limits, values, strict=True)], 3)
        below = rounded([100 * (value - low) for (low, _), value in zip(limits, values, strict=True)], 3)
        colour = str(marker["color"])
        bars.append(
            {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "color": colour,
             "thickness": 0.8, "width": 0}
        )  # fmt: skip
    return {
        "type": "scatter", "mode": "markers+text", "name": name,
        "x": rounded([100 * network.accuracy[0] for network in networks], 3),
        "y": rounded([100 * network.accuracy[1] for network in networks], 3),
        "error_x": bars[0], "error_y": bars[1], "marker": marker,
        "text": [safe(network.label or network.name) for network in networks], "textposition": "top right",
        "textfont": {"color": str(marker["color"]), "size": 11}, "hoverinfo": "text",
        "hovertext": [
            f"<b>{text(network.title)}</b><br>{percent(network.accuracy[0])} clean, "
            f"{percent(network.accuracy[1])} robust (test split, the attacks that ran)"
            for network in networks
        ],
    }  # fmt: skip
