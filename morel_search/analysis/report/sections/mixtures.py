"""The section of the mixtures: their members and cost, their accuracies, and the gain over each member."""

from __future__ import annotations

from morel_search._format import attack_text, inference_cost, percent, with_interval
from morel_search.analysis.mixture_gains import gain_sentence
from morel_search.analysis.report.commands import module_command
from morel_search.analysis.report.html import Cell, Section, paragraphs, section, table, text
from morel_search.analysis.run_data import RunData
from morel_search.analysis.verification import Network, Verification
from morel_search.results.mixtures import MixtureEntry

__all__ = ["mixtures_section"]


def mixtures_section(run_data: RunData, verification: Verification | None = None) -> Section | None:
    """Return the section of the mixtures; None without a mixture.

    Args:
        run_data: The run.
        verification: Its verification; None without one.
    """
    if not run_data.mixtures:
        return None
    verified = {} if verification is None else {mixture.name: mixture for mixture in verification.mixtures}
    rows = [_cells(entry, verified.get(entry.name), verification) for entry in run_data.mixtures]
    heads = ["mixture", "weights", "mixed", "cost", "validation clean", "validation robust"]
    heads += ["verified clean", "verified robust", "verdict"]
    gains = [] if verification is None else [gain_sentence(verification, own) for own in verified.values()]
    first = run_data.mixtures[0].name
    commands = [
        f"# mixture {first}, as a folder of its own",
        module_command("pick", run_data, "--member", first),
    ]
    if len(verified) < len(run_data.mixtures):
        commands += ["", "# attack the mixtures that are not verified", module_command("verify", run_data)]
    content = (
        f'{table(heads, rows, "Mixtures")}<div class="words">{paragraphs(gains)}</div>'
        f"<pre>{text(chr(10).join(commands))}</pre>"
    )
    summary = f"{len(run_data.mixtures)} of two networks each, without training"
    return section("Mixtures of networks", content, _caption(run_data), "mixtures", summary=summary)


def _caption(run_data: RunData) -> str:
    attack = attack_text(run_data.section("evaluation"))
    return (
        "A mixture averages the probabilities or the logits of two networks; nothing was trained for it. "
        f"Weights were chosen by validation accuracies, robust under {attack} through the mixture, which are "
        "therefore optimistic. Verified: on the test images of the other networks, under the same attacks, "
        "with 95% intervals. A part of the gain is that of any ensemble: a mixture costs the forward passes "
        "of all its members. In parentheses: 95% intervals in points of differences on the same images."
    )


def _cells(entry: MixtureEntry, mixture: Network | None, verification: Verification | None) -> list[Cell]:
    weights = ", ".join(f"{part.network}: {percent(part.weight, 0)}" for part in entry.parts)
    cells: list[Cell] = [entry.name, weights, entry.form, inference_cost(entry.passes, entry.parameters)]
    cells += [(percent(value), value) for value in entry.validation]
    if mixture is None or verification is None:
        return [*cells, "–", "–", "not verified"]
    for value, interval in zip(mixture.accuracy, mixture.intervals, strict=True):
        cells.append((with_interval(value, interval, short=True), value))
    return [*cells, verification.verdict(mixture)]
