"""The section of the rivals: networks that the search did not train, beside the verified front."""

from __future__ import annotations

from morel_search._format import with_interval
from morel_search.analysis.differences import difference_words
from morel_search.analysis.report.commands import module_command
from morel_search.analysis.report.html import Cell, Section, paragraphs, section, table, text
from morel_search.analysis.rivals import Contest, contests, cost_words, rival_sentence
from morel_search.analysis.run_data import RunData
from morel_search.analysis.verification import Network, Verification
from morel_search.results.rivals import RivalEntry

__all__ = ["rivals_section"]

RESULTS = {
    "rival": "the rival beats it",
    "network": "it beats the rival",
    "each": "each is better in one",
    "": "not decided",
}


def rivals_section(run_data: RunData, verification: Verification | None = None) -> Section | None:
    """Return the section of the rivals; None without a rival.

    Args:
        run_data: The run.
        verification: Its verification; None without one.
    """
    if not run_data.rivals:
        return None
    verified = {} if verification is None else {rival.name: rival for rival in verification.rivals}
    rows = [_cells(entry, verified.get(entry.name), verification) for entry in run_data.rivals]
    heads = ["rival", "network", "cost of a prediction", "verified clean", "verified robust", "verdict"]
    content = table(heads, rows, "Rivals")
    if verification is not None and verified:
        words = [rival_sentence(verification, rival) for rival in verified.values()]
        pairs = [_pair(own, other) for own in verified.values() for other in contests(verification, own)]
        content += f'<div class="words">{paragraphs(words)}</div>'
        if pairs:
            heads = ["rival", "network of the front", "clean accuracy", "robust accuracy", "result"]
            content += table(heads, pairs, "Rivals and the networks of the front")
    if len(verified) < len(run_data.rivals):
        commands = ["# attack the rivals that are not verified", module_command("verify", run_data)]
        content += f"<pre>{text(chr(10).join(commands))}</pre>"
    count = len(run_data.rivals)
    summary = f"{count} network{'' if count == 1 else 's'} that this search did not train"
    return section("Rivals", content, CAPTION, "rivals", summary=summary)


CAPTION = (
    "Rivals are networks that this search did not train. They were attacked with the same attacks, norm and "
    "radius on the same test images, with their own preprocessing, and checked for gradient masking in the "
    "same way; 95% intervals. They are not part of the front, change no verdict on its networks, and are not "
    "recommended or picked. Second table: accuracies of the rival minus those of the network in points, with "
    "95% intervals in parentheses. A network beats another one if it is better in one accuracy and not worse "
    "in the other; over all pairs of this table the probability of one or more wrong results is at most 5% "
    "(McNemar's test and intervals on the same images, Bonferroni correction). A rival may have had other "
    "training images, and more of them."
)


def _cells(entry: RivalEntry, rival: Network | None, verification: Verification | None) -> list[Cell]:
    cells: list[Cell] = [entry.name, entry.title, (cost_words(entry), entry.operations)]
    if rival is None or verification is None:
        return [*cells, "–", "–", "not verified"]
    for value, interval in zip(rival.accuracy, rival.intervals, strict=True):
        cells.append((with_interval(value, interval, short=True), value))
    return [*cells, verification.verdict(rival)]


def _pair(rival: Network, contest: Contest) -> list[Cell]:
    return [
        rival.name,
        contest.network.labelled_name,
        (difference_words(contest.clean), contest.clean.value),
        (difference_words(contest.robust), contest.robust.value),
        RESULTS[contest.result],
    ]
