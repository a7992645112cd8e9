"""The table and the figure of benchmarks/search.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _simulation import Curves, Zdt
from numpy.typing import NDArray

__all__ = ["draw", "read", "report", "write"]

OURS, RIVAL = "morel_search", "ray+nsga2"
SHARES = tuple(round(0.1 * step, 1) for step in range(1, 11))
SIGNIFICANT = 0.05
TITLES = {"zdt1": "ZDT1", "zdt2": "ZDT2", "zdt3": "ZDT3", "curves": "Recorded trainings"}
COLOURS = {
    "morel_search": "#c2185b",
    "morel_search, no stopping": "#c2185b",
    "ray+nsga2": "#1565c0",
    "ray+nsga2, population 20": "#90caf9",
    "ray+nsga2+asha": "#1565c0",
    "tpe": "#ef8e19",
    "moasha": "#2e7d32",
    "random": "#757575",
}
DASHES = {"morel_search, no stopping": (5, 2), "ray+nsga2+asha": (5, 2), "random": (1, 1.5)}
FLOORS = {"curves": 0.9}
"""Where the figure's axis begins at the least: one good training alone has nearly all of the recorded trainings' hypervolume."""

BUDGETS = {
    **dict.fromkeys(("zdt1", "zdt2", "zdt3"), (Zdt.budget, "trainings spent")),
    "curves": (Curves.budget, "epochs of training spent"),
}

HEAD = """# How much front a search finds for what it spends

Made by `python benchmarks/search.py`; simulated asynchronous execution, everything else is the real code: this project's proposer and
rungs, Ray Tune's OptunaSearch and ASHA, Optuna's samplers, Syne Tune's MOASHA. Every method spends the same; only trainings that came to
their end count. All methods but this project's and MOASHA share their first random configurations, seed by seed. The significance
tests are not corrected for their number: of ten at 5 %, one in two columns is wrong by chance.

The recorded trainings are an easy problem: the grid has 360 configurations, one of them alone has 99.5 % of the hypervolume, and 40 random
ones average 96.7 %. They show what early stopping saves; ZDT1 to ZDT3 show how well the sampler searches. With 32 workers a first
wave of whole trainings takes about half of the budget, so little can be found before.
"""

Floats = NDArray[np.float64]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """One line a search; the quality in ten-thousandths at equidistant shares of the budget."""
    lines = ["problem,method,workers,seed,started,finished,quality"]
    for row in sorted(rows, key=lambda one: (one["problem"], one["method"], one["workers"], one["seed"])):
        values = " ".join(str(round(10_000 * value)) for value in row["values"])
        method = f'"{row["method"]}"' if "," in row["method"] else row["method"]
        lines.append(
            f"{row['problem']},{method},{row['workers']},{row['seed']},{row['started']},{row['finished']},{values}"
        )
    path.write_text("\n".join(lines) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """What :func:`write` wrote; nothing where there is no such file."""
    if not path.exists():
        return []
    rows = pd.read_csv(path, dtype={"quality": str}).to_dict("records")
    return [{**row, "values": [int(value) / 10_000 for value in row.pop("quality").split()]} for row in rows]


class Results:
    """All searches, by problem, workers and method."""

    def __init__(self, rows: list[dict[str, Any]], order: list[str]) -> None:
        self._frame = pd.DataFrame(rows)
        present = set(self._frame["method"])
        self.methods = [name for name in order if name in present]
        self.problems = [name for name in TITLES if name in set(self._frame["problem"])]
        self.workers = sorted(int(count) for count in self._frame["workers"].unique())

    def of(self, problem: str, workers: int) -> dict[str, Floats]:
        """Method to quality, a row a seed, a column a noted share of the budget."""
        frame = self._frame[(self._frame["problem"] == problem) & (self._frame["workers"] == workers)]
        found = {}
        for name in self.methods:
            rows = frame[frame["method"] == name].sort_values("seed")
            if len(rows):
                found[name] = np.array(rows["values"].tolist(), dtype=float)
        return found

    def paired(self, problem: str, workers: int, one: str, other: str) -> tuple[Floats, Floats] | None:
        """Two methods' quality for the seeds that both have."""
        frame = self._frame[(self._frame["problem"] == problem) & (self._frame["workers"] == workers)]
        first, second = (frame[frame["method"] == name].set_index("seed")["values"] for name in (one, other))
        seeds = sorted(set(first.index) & set(second.index))
        if not seeds:
            return None
        return np.array(first[seeds].tolist()), np.array(second[seeds].tolist())

    def trainings(self, problem: str, workers: int, method: str) -> tuple[float, float]:
        """Mean number of trainings started and come to their end."""
        frame = self._frame[
            (self._frame["problem"] == problem)
            & (self._frame["workers"] == workers)
            & (self._frame["method"] == method)
        ]
        return float(frame["started"].mean()), float(frame["finished"].mean())


def report(rows: list[dict[str, Any]], order: list[str], reference: str = RIVAL) -> str:
    """Everything as Markdown.

    Args:
        rows: As written.
        order: Methods from the first line to the last.
        reference: The method that the others are measured against.
    """
    results = Results(rows, order)
    lines = [HEAD]
    for problem in results.problems:
        lines += [f"## {TITLES[problem]}", "", *_means(results, problem), ""]
        if problem == "curves":
            lines += [*_speed(results, reference), ""]
        for method in (OURS, "morel_search, no stopping"):
            if method != reference:
                lines += _tests(results, problem, method, reference)
    return "\n".join(lines).rstrip() + "\n"


def _means(results: Results, problem: str) -> list[str]:
    shares = (0.1, 0.25, 0.5, 1.0)
    head = [
        "Normalised hypervolume, mean ± standard error, at shares of the budget; trainings started / "
        "finished by its end.",
        "",
        "| workers | method | " + " | ".join(f"{share:.0%}" for share in shares) + " | trainings | seeds |",
        "|---|---|" + "---|" * (len(shares) + 2),
    ]
    for workers in results.workers:
        of = results.of(problem, workers)
        best = (
            {share: max(_at(values, share).mean() for values in of.values()) for share in shares}
            if of
            else {}
        )
        for method, values in of.items():
            cells = []
            for share in shares:
                column = _at(values, share)
                cell = f"{column.mean():.4f} ± {_error(column):.4f}"
                cells.append(f"**{cell}**" if column.mean() == best[share] > 0 else cell)
            started, finished = results.trainings(problem, workers, method)
            head.append(
                f"| {workers} | {method} | {' | '.join(cells)} | {started:.0f} / {finished:.0f} | "
                f"{len(values)} |"
            )
    return head


def _speed(results: Results, reference: str) -> list[str]:
    lines = [
        f"Share of the budget at which the mean first reaches that of {reference} at its whole budget.",
        "",
        "| method | " + " | ".join(f"workers: {count}" for count in results.workers) + " |",
        "|---|" + "---|" * len(results.workers),
    ]
    for method in results.methods:
        cells = []
        for workers in results.workers:
            of = results.of("curves", workers)
            cells.append(_first(of[method], of[reference]) if method in of and reference in of else "")
        if any(cells):
            lines.append(f"| {method} | {' | '.join(cells)} |")
    return lines


def _first(values: Floats, reference: Floats) -> str:
    reached = np.flatnonzero(values.mean(axis=0) >= reference.mean(axis=0)[-1] - 1e-12)
    return f"{(reached[0] + 1) / values.shape[1]:.1%}" if len(reached) else "never"


def _tests(results: Results, problem: str, method: str, reference: str) -> list[str]:
    lines = []
    for workers in results.workers:
        pair = results.paired(problem, workers, method, reference)
        if pair is None:
            continue
        worse, better = (
            [share for share in SHARES if _chance(pair, share, side) < SIGNIFICANT]
            for side in ("less", "greater")
        )
        lines.append(f"| {workers} | {_shares(worse)} | {_shares(better)} |")
    if not lines:
        return []
    title = f"{method} against {reference}: Wilcoxon's signed-rank test over seeds, one-sided, p < {SIGNIFICANT}, at 10 %, 20 % ... 100 %."
    return [
        title,
        "",
        "| workers | significantly worse at | significantly better at |",
        "|---|---|---|",
        *lines,
        "",
    ]


def _chance(pair: tuple[Floats, Floats], share: float, side: str) -> float:
    from scipy.stats import wilcoxon

    differences = _at(pair[0], share) - _at(pair[1], share)
    if not differences.any():
        return 1.0
    return float(wilcoxon(differences, alternative=side, method="auto").pvalue)


def _shares(shares: list[float]) -> str:
    return ", ".join(f"{share:.0%}" for share in shares) or "none"


def _at(values: Floats, share: float) -> Floats:
    column: Floats = values[:, round(share * values.shape[1]) - 1]
    return column


def _error(values: Floats) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def draw(path: Path, rows: list[dict[str, Any]], order: list[str]) -> None:
    """A panel a problem and number of workers: mean and standard error of each method."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    results = Results(rows, order)
    shape = (len(results.problems), len(results.workers))
    figure, axes = plt.subplots(
        *shape,
        figsize=(1.2 + 4.1 * shape[1], 1.5 + 2.8 * shape[0]),
        squeeze=False,
        sharey="row",
        sharex="row",
    )
    lines: dict[str, Any] = {}
    for row, problem in zip(axes, results.problems, strict=True):
        budget, unit = BUDGETS[problem]
        lowest, highest = [], []
        for panel, workers in zip(row, results.workers, strict=True):
            of = results.of(problem, workers)
            for method in reversed(of):
                values = of[method]
                spent = budget * np.arange(1, values.shape[1] + 1) / values.shape[1]
                mean = values.mean(axis=0)
                error = (
                    values.std(axis=0, ddof=1) / np.sqrt(len(values))
                    if len(values) > 1
                    else np.zeros_like(mean)
                )
                colour = COLOURS.get(method)
                style = {"dashes": DASHES[method]} if method in DASHES else {}
                (line,) = panel.plot(
                    spent, mean, color=colour, linewidth=2.2 if method.startswith(OURS) else 1.5, **style
                )
                panel.fill_between(
                    spent, mean - error, mean + error, color=line.get_color(), alpha=0.18, linewidth=0
                )
                lines[method] = line
                lowest.append(mean[max(0, round(0.1 * len(mean)) - 1)])
                highest.append(mean[-1])
            panel.set_title(f"{TITLES[problem]}, {workers} worker{'s' if workers > 1 else ''}", fontsize=11)
            panel.set_xlabel(unit, fontsize=9)
            panel.set_xlim(0, budget)
            panel.grid(color="#e4e4e4", linewidth=0.7)
            panel.tick_params(labelsize=9)
            panel.spines[["top", "right"]].set_visible(False)
        row[0].set_ylabel("normalised hypervolume", fontsize=10)
        floor = max(min(lowest), FLOORS.get(problem, 0.0))
        row[0].set_ylim(floor - 0.03 * (max(highest) - floor), max(highest) + 0.06 * (max(highest) - floor))
    shown = [method for method in results.methods if method in lines]
    width, height = figure.get_size_inches()
    columns = min(len(shown), max(2, int(width / 2.7)))
    figure.suptitle(
        "Hypervolume of trainings run to their end:\nmean and standard error over seeds", fontsize=13
    )
    figure.legend(
        [lines[name] for name in shown], shown, loc="lower center", ncols=columns, frameon=False, fontsize=10
    )
    figure.tight_layout(rect=(0, (0.2 + 0.22 * -(-len(shown) // columns)) / height, 1, 1))
    figure.savefig(path, dpi=110)
    plt.close(figure)
