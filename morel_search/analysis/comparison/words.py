"""A comparison in words: sentences, and the table of the terminal."""

from __future__ import annotations

from morel_search._format import area_text, shortened
from morel_search.analysis.comparison.runs import ComparedNetwork, ComparedRun, Comparison
from morel_search.analysis.comparison.settings import differing_settings
from morel_search.analysis.differences import NOT_BEYOND_CHANCE
from morel_search.analysis.intervals import Difference

__all__ = [
    "COST_HEADS",
    "area_difference_words",
    "area_words",
    "comparison_sentences",
    "comparison_text",
    "cost_cells",
    "kind_words",
    "network_words",
]

COST_HEADS = ("trainings", "finished", "stopped", "failed", "epochs", "core-hours", "GPU-hours")

WIDEST_VALUE = 40
"""Longest value of a setting on the terminal, in characters."""


def comparison_text(comparison: Comparison) -> str:
    """Return a comparison for the terminal: the fronts, their differences, the cost and the settings."""
    runs = comparison.runs
    fronts = [
        [run.label, str(len(run.networks)), *map(network_words, run.ends), area_words(run)] for run in runs
    ]
    costs = [[run.label, *cost_cells(run)] for run in runs]
    heads = ["run", "networks", "most accurate: clean, robust", "most robust: clean, robust", "hypervolume"]
    lines = ["", f"compared by {kind_words(comparison)}", "", *_table(heads, fronts), ""]
    lines += comparison_sentences(comparison)
    lines += ["", *_table(["run", *COST_HEADS], costs), ""]
    settings = differing_settings([run.data.settings for run in runs])
    if settings:
        rows = [[key, *(shortened(value, WIDEST_VALUE) for value in values)] for key, values in settings]
        lines += ["settings that differ:", *_table(["", *(run.label for run in runs)], rows)]
    else:
        lines.append("no setting differs")
    return "\n".join([*lines, *(f"warning: {sentence}" for sentence in comparison.warnings), ""])


def comparison_sentences(comparison: Comparison) -> list[str]:
    """Return sentences on the hypervolumes and on the networks that networks of other runs beat."""
    first, *others = comparison.runs
    sentences = [area_difference_words(comparison, run, first) for run in others]
    if not comparison.verdicts:
        return sentences
    for run in comparison.runs:
        beaten, count = comparison.beaten(run), len(run.front)
        which = f"the {count} network{'' if count == 1 else 's'} on the verified front of {run.label}"
        if not count:
            sentences.append(f"No network of {run.label} is on its verified front: each was beaten.")
            continue
        if not beaten:
            sentences.append(f"None of {which} is beaten by another run.")
            continue
        pairs = ", ".join(f"{own.name} by {rival.name} of {other.label}" for own, other, rival in beaten)
        verb = "is" if len(beaten) == 1 else "are"
        sentences.append(f"{len(beaten)} of {which} {verb} beaten by another run, beyond chance: {pairs}.")
    return sentences


def kind_words(comparison: Comparison) -> str:
    """Return which accuracies are compared, on how many images."""
    counts = dict.fromkeys(run.images for run in comparison.runs)
    images = " and ".join("an unknown number of" if count is None else f"{count:,}" for count in counts)
    if comparison.verified:
        same = "the same " if comparison.paired else ""
        return f"verified accuracies: {same}{images} test images, all attacks that ran"
    return f"validation accuracies, which are not verified: {images} images, the final attack of the search"


def area_words(run: ComparedRun) -> str:
    """Return the hypervolume of a run with its interval, where it has one."""
    return area_text(run.area, run.area_interval, named=False)


def area_difference_words(comparison: Comparison, run: ComparedRun, other: ComparedRun) -> str:
    """Return the difference of two hypervolumes in a sentence, with its interval or why there is none."""
    difference = comparison.area_difference(run, other)
    value = run.area - other.area
    compared = f"The hypervolume above (0, 0) of {run.label} is"
    if difference is None:
        return f"{compared} {_signed(value)} that of {other.label}; no interval is known."
    return f"{compared} {_beyond(difference)} that of {other.label}."


def network_words(network: ComparedNetwork) -> str:
    """Return a network with its accuracies and their intervals."""
    return f"{network.labelled_name}: {', '.join(network.accuracy_texts)}"


def cost_cells(run: ComparedRun) -> list[str]:
    """Return the cost of a run, one text for each of the columns of :data:`COST_HEADS`."""
    cost = run.cost
    counts = (cost.trainings, cost.complete, cost.stopped, cost.failed, cost.epochs)
    gpu = f"{cost.gpu_hours:.2f}" if cost.gpu_hours else "0"
    return [*(f"{count:,}" for count in counts), f"{cost.core_hours:.2f}", gpu]


def _signed(value: float) -> str:
    if f"{abs(value):.4f}" == "0.0000":
        return "equal to"
    return f"{abs(value):.4f} {'higher' if value > 0 else 'lower'} than"


def _beyond(difference: Difference) -> str:
    words, chance = _signed(difference.value), ""
    if difference.low <= 0 <= difference.high and words != "equal to":
        chance = f", {NOT_BEYOND_CHANCE}"
    low, high = (round(end, 4) + 0.0 for end in (difference.low, difference.high))  # no -0.0
    verb, _, than = words.rpartition(" ")
    return f"{verb} (95% interval {low:+.4f} to {high:+.4f}{chance}) {than}"


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    """Return the lines of a table; each column is as wide as its widest cell."""
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]
