"""The sections of the attacks: accuracy after each attack, and accuracy under transfer attacks."""

from __future__ import annotations

from morel_search._format import percent
from morel_search.analysis.report.html import Cell, Section, section, table
from morel_search.analysis.verification import Verification
from morel_search.results.attack_names import WHITE_BOX

__all__ = ["attacks_section", "transfer_section"]


def attacks_section(verification: Verification) -> Section:
    """Return the section with the accuracy of each network after each attack."""
    caption = (
        "Test accuracies in percent. Each attack column: the share of all images that are still correctly "
        "classified after this attack and all attacks to its left. all: after all that ran. interval: 95% "
        "interval of the robust accuracy. ±: half the 95% interval of the clean accuracy, in percentage "
        "points."
    )
    return section("Attack by attack", _table(verification), caption, "attacks")


def transfer_section(verification: Verification) -> Section | None:
    """Return the section of the transfer attacks; None when no network was attacked by transfer."""
    if not any(network.diagnostics.transfer for network in verification.networks):
        return None
    caption = (
        "Test accuracy of each network (row) on PGD-50 examples made on another network (column). An "
        "accuracy below that under the attacks on the network itself is a sign of gradient masking."
    )
    return section("Transfer attacks", _transfer_table(verification), caption, "transfer")


def _table(verification: Verification) -> str:
    networks, images = verification.networks, verification.images
    stages = [stage for stage in WHITE_BOX if any(stage in network.attacks for network in networks)]
    heads = ["network", "clean", "± ", *(stage.upper() for stage in stages), "all", "interval", "verdict"]
    rows = []
    for network in networks:
        (clean, robust), (clean_interval, robust_interval) = network.accuracy, network.intervals
        half = (clean_interval[1] - clean_interval[0]) / 2
        cells: list[Cell] = [
            (network.labelled_name, network.number),
            (percent(clean), clean),
            (f"{100 * half:.1f}", half),
        ]
        cells += [(percent(network.after[stage] / images), network.after[stage]) for stage in stages]
        cells += [
            (percent(robust), robust),
            f"{100 * robust_interval[0]:.1f} to {100 * robust_interval[1]:.1f}",
            verification.verdict(network),
        ]
        rows.append(cells)
    return table(heads, rows)


def _transfer_table(verification: Verification) -> str:
    sources = list(
        dict.fromkeys(source for network in verification.networks for source in network.diagnostics.transfer)
    )
    rows = []
    for network in verification.networks:
        known = network.diagnostics.transfer
        cells: list[Cell] = [(network.labelled_name, network.number)]
        cells += [(percent(known[source]), known[source]) if source in known else "–" for source in sources]
        rows.append([*cells, (percent(network.accuracy[1]), network.accuracy[1])])
    return table(["network", *(f"made on {source}" for source in sources), "its own attacks"], rows)
