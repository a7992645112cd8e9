"""The sections of the attacks: accuracy after each, accuracy under transfer attacks, and what did not run."""

from __future__ import annotations

from morel_search._format import interval_text, percent
from morel_search.analysis.attacks_run import attack_counts, attack_title, missing_checks, unverified
from morel_search.analysis.report.commands import module_command
from morel_search.analysis.report.html import Cell, Section, paragraphs, section, table
from morel_search.analysis.report.sections.verified_front import attack_words
from morel_search.analysis.run_data import RunData
from morel_search.analysis.verification import Verification
from morel_search.results.attack_names import WHITE_BOX

__all__ = ["attacks_section", "missing_section", "transfer_section"]


def attacks_section(verification: Verification) -> Section:
    """Return the section with the accuracy of each network after each attack."""
    caption = (
        "Test accuracies in percent. Each attack column: the share of all images that are still correctly "
        "classified after this attack and all attacks to its left. all: after all that ran. Interval of all: "
        "95% interval of the robust accuracy. ±: half the 95% interval of the clean accuracy, in percentage "
        "points."
    )
    words = f'<div class="words">{paragraphs(attack_words(verification))}</div>'
    content = f"{_table(verification)}{words}"
    return section("Attack by attack", content, caption, "attacks", summary=attack_counts(verification))


def transfer_section(verification: Verification) -> Section | None:
    """Return the section of the transfer attacks; None when no network was attacked by transfer."""
    if not any(network.diagnostics.transfer for network in verification.networks):
        return None
    caption = (
        "Test accuracy of each network (row) on PGD-50 examples made on another network (column). An "
        "accuracy below that under the attacks on the network itself is a sign of gradient masking."
    )
    return section(
        "Transfer attacks",
        _transfer_table(verification),
        caption,
        "transfer",
        summary="PGD-50 examples made on other networks",
    )


def missing_section(run_data: RunData, verification: Verification | None) -> Section:
    """Return the section of what did not run: attacks, networks, checks, replicates and failed trials."""
    lines = []
    if verification is None:
        lines.append(
            "This run folder has no record of an attack on test images: nothing on this page is verified."
        )
    else:
        lines += [*unverified(verification), *missing_checks(verification)]
        lines += [
            f"{attack_title(attack)} ran on {images or 'none'} of {verification.all_images} test images."
            for attack, images in verification.attacked.items()
            if images < verification.all_images
        ]
    if not run_data.tested:
        lines.append("The front has not been measured on the test split.")
    if run_data.run.read_replicates().empty:
        lines.append(
            "No network was trained again with another seed, so the effect of the seed is not known; "
            f"{module_command('verify', run_data, '--replicates', '3')} does it."
        )
    if failed := len(run_data.failed):
        lines.append(f"{failed} of {len(run_data.trials)} trials failed; see the section on failed trials.")
    summary = f"{len(lines)} item{'' if len(lines) == 1 else 's'}" if lines else "nothing is missing"
    words = paragraphs(lines or ["Each attack ran on all test images, and no trial failed."])
    return section("What did not run", f'<div class="words">{words}</div>', ident="missing", summary=summary)


def _table(verification: Verification) -> str:
    networks, images = (*verification.networks, *verification.rivals), verification.images
    stages = [stage for stage in WHITE_BOX if any(stage in network.attacks for network in networks)]
    heads = [
        "network",
        "clean",
        "± ",
        *(stage.upper() for stage in stages),
        "all",
        "interval of all",
        "verdict",
    ]
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
            (interval_text(robust_interval, short=True), robust_interval[0]),
            verification.verdict(network),
        ]
        rows.append(cells)
    return table(heads, rows, "Accuracy after each attack", "attacks")


def _transfer_table(verification: Verification) -> str:
    networks = (*verification.networks, *verification.rivals)
    sources = list(dict.fromkeys(source for network in networks for source in network.diagnostics.transfer))
    rows = []
    for network in networks:
        known = network.diagnostics.transfer
        cells: list[Cell] = [(network.labelled_name, network.number)]
        cells += [(percent(known[source]), known[source]) if source in known else "–" for source in sources]
        rows.append([*cells, (percent(network.accuracy[1]), network.accuracy[1])])
    heads = ["network", *(f"made on {source}" for source in sources), "its own attacks"]
    return table(heads, rows, "Accuracy under transfer attacks")
