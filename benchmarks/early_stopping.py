"""What early stopping costs: the epochs it saves against the members of the final front that it stops.

    python benchmarks/early_stopping.py                     # writes early_stopping.md and early_stopping.png

Trainings that were recorded to their end are replayed in a random order through the rungs of this project.
A training that a rung stops is lost, so what it would have reached is known. Two sets are replayed:

- *grid*: the 360 configurations of ``curves.yaml``, 27 epochs, PGD with 10 steps after each epoch and at the
  end (``benchmarks/record_curves.py``);
- *shipped space*: 280 random configurations of ``search_spaces/digits.yaml`` with its conditional parameters,
  10 epochs, the quick attack after each epoch and the final attack at the end (``digits_trainings.csv``,
  ``benchmarks/record_digits.py``). Sixty of them were trained three times, which shows the noise.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from morel_search.config import EarlyStoppingSettings
from morel_search.search.successive_halving import AsyncSuccessiveHalving

HERE = Path(__file__).parent
GRID, SHIPPED = HERE / "curves.csv", HERE / "digits_trainings.csv"
ORDERS = 200
SIZES = (60, 100)

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Rule:
    """A rule of early stopping.

    Attributes:
        settings: Its settings.
        first: The first rung as a share of the epochs; None takes that of the settings.
    """

    settings: EarlyStoppingSettings
    first: float | None = None

    def at(self, epochs: int) -> EarlyStoppingSettings:
        """Return the settings for trainings with this number of epochs."""
        if self.first is None:
            return self.settings
        return replace(self.settings, grace=max(1, round(self.first * epochs)))


DEFAULT = "keep 0.6 at 1/9 and 1/3 (the default)"
EARLIER = "keep 1/3 at 1/9 and 1/3 (the earlier default)"
RULES = {
    DEFAULT: Rule(EarlyStoppingSettings()),
    EARLIER: Rule(EarlyStoppingSettings(keep=None)),
    "keep 1/3 at 1/3": Rule(EarlyStoppingSettings(keep=None, rungs=1), 1 / 3),
    "keep 1/2 at 1/3": Rule(EarlyStoppingSettings(keep=Fraction(1, 2), rungs=1), 1 / 3),
    "keep 0.6 at 1/3": Rule(EarlyStoppingSettings(rungs=1), 1 / 3),
    "keep 1/2 at 1/9 and 1/3": Rule(EarlyStoppingSettings(keep=Fraction(1, 2))),
    "keep 2/3 at 1/9 and 1/3": Rule(EarlyStoppingSettings(keep=Fraction(2, 3))),
    "keep 3/4 at 1/9 and 1/3": Rule(EarlyStoppingSettings(keep=Fraction(3, 4))),
    "keep 0.6 at 1/14 and 1/7": Rule(EarlyStoppingSettings(eta=2), 1 / 14),
    "keep 0.6 at 1/5 and 2/5": Rule(EarlyStoppingSettings(eta=2), 1 / 5),
    "keep 0.7 at 1/9, 2/9 and 4/9": Rule(EarlyStoppingSettings(keep=Fraction(7, 10), eta=2, rungs=3)),
}

HEAD = """# What early stopping costs

Made by `python benchmarks/early_stopping.py`: recorded trainings, replayed through the rungs in {orders}
random orders. A search of the given size trains random configurations of the set.

- *Cost*: share of all epochs that is trained.
- *Front stopped*: share of the members of the final front that are stopped.
- *Ends stopped*: share of the searches that stop their most robust, and their cleanest training.
- *Top tenth stopped*: the same for the tenth of the trainings with the highest robust accuracy.
- *Hypervolume*: what is left of it, above a point just below the corner that the front's own ends span.

No training is exempt here (`run_through` is 0).
"""


@dataclass(frozen=True)
class Recorded:
    """Recorded trainings.

    Attributes:
        name: Name of the set.
        rungs: Accuracies of the epoch that is selected up to each epoch, shape (trainings, epochs, 2).
        finals: Accuracies at the end, shape (trainings, 2).
    """

    name: str
    rungs: Floats
    finals: Floats


def main() -> None:
    """Write the tables and the figure."""
    sets = [grid(), shipped()]
    rows = [
        {"set": trainings.name, "trainings": size, "rule": name, **replayed(trainings, size, rule)}
        for trainings in sets
        for size in sorted({min(size, len(trainings.finals)) for size in SIZES})
        for name, rule in RULES.items()
    ]
    table = pd.DataFrame(rows)
    page = HEAD.format(orders=ORDERS) + text(table, sets) + noise()
    (HERE / "early_stopping.md").write_text(page)
    draw(table, HERE / "early_stopping.png")


def grid() -> Recorded:
    """Return the trainings of the grid that did not fail."""
    rows = pd.read_csv(GRID, dtype=str, keep_default_na=False).to_dict("records")
    counts = [
        np.array([[int(count) for count in row[name].split()] for name in ("clean", "robust")], float).T
        / int(row["images"])
        for row in rows
        if not row["failure"]
    ]
    points = np.stack([selected(history) for history in counts])
    return Recorded("grid", points, points[:, -1])


def shipped() -> Recorded:
    """Return the trainings of the shipped space."""
    table = pd.read_csv(SHIPPED)
    rows = table[table["repeat"] == 0].to_dict("records")
    counts = [
        np.array([[int(count) for count in str(row[name]).split()] for name in ("clean", "robust")], float).T
        / row["images"]
        for row in rows
    ]
    finals = np.array([[row["final_clean"], row["final_robust"]] for row in rows], float)
    return Recorded(
        "shipped space",
        np.stack([selected(history) for history in counts]),
        finals / np.array([[row["images"]] for row in rows], float),
    )


def noise() -> str:
    """Return how much the accuracies of a configuration, and its place on the front, depend on the seed."""
    table = pd.read_csv(SHIPPED)
    counts = table.pivot(index="number", columns="repeat", values=["final_clean", "final_robust"]).dropna()
    accuracies = np.stack([counts["final_clean"], counts["final_robust"]], axis=-1) / table["images"].iloc[0]
    clean, robust = 100 * np.sqrt(accuracies.var(axis=1, ddof=1).mean(axis=0))
    fronts = [
        moocore.is_nondominated(trained, maximise=True, keep_weakly=True)
        for trained in np.moveaxis(accuracies, 1, 0)
    ]
    pairs = [(first, second) for first in fronts for second in fronts if first is not second]
    kept = sum(int((first & second).sum()) for first, second in pairs) / sum(
        int(first.sum()) for first, _ in pairs
    )
    return f"""
## The same configurations with other seeds

{len(accuracies)} configurations of the shipped space were trained with {len(fronts)} seeds each. On the same
images, the standard deviation between seeds is {clean:.1f} points of clean and {robust:.1f} points of robust
accuracy. Of the members of the front of one seed's trainings, {kept:.0%} are on the front of another seed's.
So a part of the members that a rule stops were members by chance.
"""


def selected(history: Floats) -> Floats:
    """Return the accuracies of the epoch with the largest sum up to each epoch (the rule ``best_sum``)."""
    best, points = (-1.0, -1.0), []
    for clean, robust in history:
        best = max(best, (clean, robust), key=lambda pair: (round(sum(pair), 9), pair[1]))
        points.append(best)
    return np.array(points)


def replayed(recorded: Recorded, size: int, rule: Rule) -> dict[str, float]:
    """Return the mean costs and losses of a rule over random orders."""
    generator = np.random.default_rng(size)
    epochs = recorded.rungs.shape[1]
    settings = rule.at(epochs)
    results = []
    for _ in range(ORDERS):
        chosen = generator.permutation(len(recorded.finals))[:size]
        trained = last_epochs(recorded.rungs[chosen], settings)
        results.append(losses(recorded.finals[chosen], trained == epochs, float(trained.mean()) / epochs))
    return {name: float(np.mean([result[name] for result in results])) for name in results[0]}


def last_epochs(rungs: Floats, settings: EarlyStoppingSettings) -> NDArray[np.int64]:
    """Return the last epoch of each training; trainings reach each rung in their order."""
    epochs = rungs.shape[1]
    last = np.full(len(rungs), epochs)
    levels = settings.levels(epochs)
    halving = AsyncSuccessiveHalving(settings, levels)
    for level in levels:
        for number in np.flatnonzero(last > level):
            clean, robust = rungs[number, level - 1]
            halving.record(int(number), level, (float(clean), float(robust)))
            if not halving.rank_of(int(number), level).continues:
                last[number] = level
    return last


def losses(finals: Floats, finished: Flags, cost: float) -> dict[str, float]:
    """Return what a search has lost.

    Args:
        finals: Accuracies at the end, shape (trainings, 2).
        finished: Which trainings ran to their end.
        cost: Share of all epochs that was trained.
    """
    front = moocore.is_nondominated(finals, maximise=True, keep_weakly=True)
    clean, robust = finals.T
    top = np.argsort(-robust)[: max(1, len(finals) // 10)]
    corner = finals[front].min(axis=0) - 0.01
    whole = moocore.hypervolume(finals, ref=corner, maximise=True)
    return {
        "cost": cost,
        "front stopped": float((~finished[front]).mean()),
        "most robust stopped": float(not finished[robust == robust.max()].any()),
        "cleanest stopped": float(not finished[clean == clean.max()].any()),
        "top tenth stopped": float((~finished[top]).mean()),
        "hypervolume": float(moocore.hypervolume(finals[finished], ref=corner, maximise=True) / whole),
    }


def text(table: pd.DataFrame, sets: list[Recorded]) -> str:
    """Return the tables as Markdown, one for each set and size."""
    parts = []
    for (name, size), rows in table.groupby(["set", "trainings"], sort=False):
        count = next(len(recorded.finals) for recorded in sets if recorded.name == name)
        parts += [
            f"\n## {str(name).capitalize()} ({count} trainings), searches of {size}\n",
            "| rule | cost | front stopped | ends stopped: robust, clean | top tenth stopped | hypervolume |",
            "|---|---|---|---|---|---|",
        ]
        parts += [_line(row) for row in rows.to_dict("records")]
    return "\n".join(parts) + "\n"


def _line(row: Mapping[Hashable, Any]) -> str:
    ends = f"{row['most robust stopped']:.0%}, {row['cleanest stopped']:.0%}"
    return (
        f"| {row['rule']} | {row['cost']:.0%} | {row['front stopped']:.1%} | {ends} | "
        f"{row['top tenth stopped']:.0%} | {row['hypervolume']:.3f} |"
    )


def draw(table: pd.DataFrame, path: Path) -> None:
    """Draw cost against loss, for the largest searches of each set."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(table["set"]))
    figure, axes = plt.subplots(1, len(names), figsize=(6.2 * len(names), 4.6), squeeze=False, sharey=True)
    for axis, name in zip(axes[0], names, strict=True):
        size = table.loc[table["set"] == name, "trainings"].max()
        rows = table[(table["set"] == name) & (table["trainings"] == size)]
        kinds = (("front stopped", "o", "#c2185b"), ("most robust stopped", "^", "#1565c0"))
        for kind, marker, colour in kinds:
            axis.scatter(rows["cost"], rows[kind], marker=marker, color=colour, label=kind, s=36)
        for row in rows.to_dict("records"):
            if row["rule"] in (DEFAULT, EARLIER):
                label, place = (
                    ("default", (0, -18)) if row["rule"] == DEFAULT else ("earlier default", (52, -4))
                )
                axis.annotate(
                    label,
                    (row["cost"], row["front stopped"]),
                    xytext=place,
                    textcoords="offset points",
                    ha="center",
                    fontweight="bold",
                )
        axis.set_title(f"{name}, searches of {size}")
        axis.set_xlabel("share of all epochs that is trained")
        axis.xaxis.set_major_formatter("{x:.0%}")
        axis.yaxis.set_major_formatter("{x:.0%}")
        axis.grid(alpha=0.25)
    axes[0][0].set_ylabel("share that was stopped")
    axes[0][-1].legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
