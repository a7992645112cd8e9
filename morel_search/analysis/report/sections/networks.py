"""The section of the networks on the front: which one to take, with its command, and a table of all."""

from __future__ import annotations

import math
from collections.abc import Sequence

from morel_search._format import attack_text, listed, percent, with_interval
from morel_search.analysis.members import read_members
from morel_search.analysis.picking import (
    Candidate,
    candidates,
    compared_kind,
    knee_point,
    nondominated,
)
from morel_search.analysis.report.commands import module_command
from morel_search.analysis.report.html import Cell, Section, paragraphs, section, table, text
from morel_search.analysis.report.seeds import Reversal, reversal_reference
from morel_search.analysis.run_data import POINT, TEST, Row, RunData
from morel_search.analysis.verification import Network, Verification
from morel_search.results.cells import whole_number

__all__ = ["networks_section"]

MOST_STEPS = 6
"""Largest number of networks that are listed in a sentence."""


def networks_section(
    run_data: RunData, verification: Verification | None = None, reversed_pairs: Sequence[Reversal] = ()
) -> Section | None:
    """Return the section of the networks on the front; None without a front.

    Args:
        run_data: The run.
        verification: The verification with which the page leads; None without one.
        reversed_pairs: Comparisons with controls that are the reverse with other seeds.
    """
    if run_data.feasible.empty:
        return None
    content = f"{_advice(run_data, verification, reversed_pairs)}{_table(run_data, verification)}"
    content += f'<p class="caption">{text(_caption(run_data, verification))}</p>'
    return section("The networks on the front", content, "", "networks")


def _caption(run_data: RunData, verification: Verification | None) -> str:
    attack = attack_text(run_data.section("evaluation"))
    kept = [
        "Validation: accuracies on the images by which the networks were selected; robust accuracy under "
        f"{attack}."
    ]
    if verification is not None:
        kept.insert(
            0,
            f"Verified: on {verification.images} test images under all attacks that ran, with 95% intervals.",
        )
    elif run_data.tested:
        kept.append("Test: accuracies on the test split under the same attack, measured after the search.")
    if run_data.select_epoch == "front":
        kept.append("12-7 is trial 12 after epoch 7.")
    return " ".join([*kept, "Click on a heading to sort."])


def _advice(run_data: RunData, verification: Verification | None, reversed_pairs: Sequence[Reversal]) -> str:
    """Return which network to take, and the commands that take this one and others."""
    among, kind = _candidates(run_data, verification)
    if not among:
        return _words(
            [
                "No network is recommended: each network of the search's front was beaten by another network "
                "or flagged for gradient masking."
            ]
        )
    chosen, reason = knee_point(among)
    by_name = {entry.name: entry for entry in run_data.networks}
    name = chosen.name + (f" (control {label})" if (label := by_name[chosen.name].label) else "")
    words = "verified" if kind == "verified" else "on validation images, not verified"
    lines = [
        f"Without another requirement, take network {name}: {percent(chosen.clean)} clean and "
        f"{percent(chosen.robust)} robust accuracy, {words}. {reason}"
    ]
    if verification is not None and len(among) > 1:
        undecided = [
            network.labelled_name
            for network in verification.front
            if verification.kind(network) == "undecided" and network.name != chosen.name
        ]
        if verification.verdicts[chosen.name].kind == "undecided" and undecided:
            lines.append(
                f"The test images do not decide between it and {', '.join(undecided)}. If you need a certain "
                "clean or robust accuracy, choose among them by that."
            )
    if kind == "verified" and len(among if verification is None else verification.members) > 1:
        lines.append(
            "It was chosen by these verified accuracies, that is with the test images, so they are slightly "
            "optimistic for it; report its accuracy on images that were not used for any choice."
        )
    lines += _by_clean_accuracy(among)
    own = [reversal for reversal in reversed_pairs if reversal.claim.network == chosen.name]
    # The recommended network has these accuracies, so the commands work.
    clean, robust = (math.floor(100 * accuracy) / 100 for accuracy in (chosen.clean, chosen.robust))
    commands = [
        f"# network {chosen.name}, as a folder of its own",
        module_command("pick", run_data, "--member", chosen.name),
        "",
        f"# or the most accurate network with a required robust accuracy, here {percent(robust, 0)}",
        module_command("pick", run_data, "--robust-at-least", f"{robust:g}"),
        "",
        f"# or the most robust network with a required clean accuracy, here {percent(clean, 0)}",
        module_command("pick", run_data, "--clean-at-least", f"{clean:g}"),
    ]
    if not (run_data.run.front_models / chosen.name).is_dir():
        lines.append(
            "The search writes its weights when it ends; the commands work from then on."
            if run_data.settings.status == "running"
            else f"Its weights are not in this copy of the run folder ({_folder(run_data, chosen.name)})."
        )
    return f"{_words(lines)}{reversal_reference(own)}<pre>{text(chr(10).join(commands))}</pre>"


def _by_clean_accuracy(among: Sequence[Candidate]) -> list[str]:
    """Return a sentence on the most robust network with a required clean accuracy; none for one network."""
    steps = sorted(nondominated(among), key=lambda step: step.clean)
    if len(steps) < 2:
        return []
    if len(steps) > MOST_STEPS:
        return ["For a required clean accuracy, sort the table by clean accuracy, or use the last command."]
    names = [
        f"{step.name} up to {percent(step.clean)} clean ({percent(step.robust)} robust)" for step in steps
    ]
    return [f"For a required clean accuracy, the most robust network is {listed(names)}."]


def _folder(run_data: RunData, name: str) -> str:
    return (run_data.run.front_models / name).relative_to(run_data.run.path).as_posix()


def _words(lines: Sequence[str]) -> str:
    return f'<div class="words">{paragraphs(lines)}</div>'


def _candidates(run_data: RunData, verification: Verification | None) -> tuple[list[Candidate], str]:
    """Return the networks from which one is recommended, those that ``pick`` chooses from, and their kind."""
    if verification is not None:
        return [Candidate(network.name, *network.accuracy) for network in verification.front], "verified"
    members = read_members(run_data)
    kind = compared_kind(members)
    return candidates(members, kind), kind


def _table(run_data: RunData, verification: Verification | None) -> str:
    parameters = [parameter.name for parameter in run_data.parameters]
    rows = run_data.front.to_dict("records")
    if verification is None:
        test = ("test clean", "test robust") if run_data.tested else ()
        heads = ["network", "clean", "robust", *test, "epoch", *parameters]
        return table(heads, [_cells(run_data, row) for row in rows], "The networks on the front")
    heads = ["network", "verified clean", "verified robust", "verdict", "validation clean"]
    heads += ["validation robust", "epoch", *parameters]
    cells = [_verified_cells(run_data, row, verification) for row in rows]
    return table(heads, cells, "The networks on the front")


def _cells(run_data: RunData, row: Row) -> list[Cell]:
    accuracies = [row[column] for column in (*POINT, *(TEST if run_data.tested else ()))]
    figures: list[Cell] = [(percent(accuracy), accuracy) for accuracy in accuracies]
    return [_name(run_data, row), *figures, *_settings(run_data, row)]


def _verified_cells(run_data: RunData, row: Row, verification: Verification) -> list[Cell]:
    name = run_data.network(row["number"], row["epoch"])
    found = next((network for network in verification.networks if network.name == name), None)
    verified: list[Cell] = ["–", "–", "not verified"]
    if found is not None:
        verified = [*_accuracies(found), _verdict(found, verification)]
    validation: list[Cell] = [(percent(row[column]), row[column]) for column in POINT]
    return [_name(run_data, row), *verified, *validation, *_settings(run_data, row)]


def _accuracies(network: Network) -> list[Cell]:
    return [
        (with_interval(value, interval, short=True), value)
        for value, interval in zip(network.accuracy, network.intervals, strict=True)
    ]


def _verdict(network: Network, verification: Verification) -> str:
    kind = verification.kind(network)
    if kind != "beaten":
        return kind
    names = {other.name: other.labelled_name for other in verification.networks}
    return f"beaten by {names[verification.beaten_by(network)]}"


def _name(run_data: RunData, row: Row) -> Cell:
    name = run_data.network(row["number"], row["epoch"])
    name += f" ({row['name']})" if row["origin"] == "control" else ""
    return name, float(row["number"]) + (whole_number(row["epoch"]) or 0) / 1e6  # by number, then by epoch


def _settings(run_data: RunData, row: Row) -> list[Cell]:
    epoch = whole_number(row["epoch"])
    cells: list[Cell] = ["" if epoch is None else (str(epoch), epoch)]
    for parameter in run_data.parameters:
        cell = row.get(parameter.column)
        value, shown = parameter.value(cell), parameter.text(cell)
        cells.append((shown, value) if isinstance(value, float) else shown)
    return cells
