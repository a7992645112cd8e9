"""The table and the figure of benchmarks/search.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from _digits_problem import Digits
from _simulation import Curves, Zdt
from numpy.typing import NDArray

__all__ = ["draw", "read", "report", "write"]

OURS, RIVAL, TPE = "morel_search", "ray+nsga2", "tpe, Optuna's defaults"
SHARES = tuple(round(0.1 * step, 1) for step in range(1, 11))
SIGNIFICANT = 0.05
TITLES = {
    "zdt1": "ZDT1",
    "zdt2": "ZDT2",
    "zdt3": "ZDT3",
    "curves": "Recorded trainings",
    "digits": "Digits space",
}
COLOURS = {
    "morel_search": "#c2185b",
    "morel_search, no stopping": "#c2185b",
    "morel_search, no model": "#f48fb1",
    "morel_search, no model, no stopping": "#f48fb1",
    "ray+nsga2": "#1565c0",
    "ray+nsga2, population 20": "#90caf9",
    "ray+nsga2+asha": "#1565c0",
    "morel_search, Sobol start": "#8e24aa",
    "morel_search, Sobol start, no stopping": "#8e24aa",
    "morel_search, sampler tpe": "#ef8e19",
    "tpe, multivariate": "#ef8e19",
    TPE: "#b35c00",
    "gp, Optuna's defaults": "#00838f",
    "moasha": "#2e7d32",
    "random": "#757575",
}
DASHES = {
    "morel_search, no stopping": (5, 2),
    "morel_search, no model, no stopping": (5, 2),
    "morel_search, Sobol start, no stopping": (5, 2),
    "ray+nsga2+asha": (5, 2),
    "morel_search, sampler tpe": (3, 1),
    "random": (1, 1.5),
}
WITH_EPOCHS = ("curves", "digits")
FLOORS = {"curves": 0.9, "digits": 0.7}
"""Smallest value on the axis of the figure: a single good training has most of the hypervolume."""

BUDGETS = {
    **dict.fromkeys(("zdt1", "zdt2", "zdt3"), (Zdt.budget, "trainings spent")),
    "curves": (Curves.budget, "epochs of training spent"),
    "digits": (Digits.budget, "epochs of training spent"),
}

HEAD = """# Hypervolume of a search for its budget

Made by `python benchmarks/search.py`. Only the asynchronous execution is simulated; all other code is that of
the libraries: the proposer and the rungs of this project, OptunaSearch and ASHA of Ray Tune, the samplers of
Optuna, MOASHA of Syne Tune. Every method has the same budget. Only trainings that ran to their end count. All
methods except this project and MOASHA start with the same random configurations for the same seed. The
significance tests are not corrected for their number: of twenty tests at 5 %, one is significant by chance on
average.

The recorded trainings are an easy problem: the grid has 360 configurations, a single one of them has 99.5 %
of the hypervolume, and 40 random configurations have 96.7 % on average. They show the effect of early
stopping; ZDT1 to ZDT3 show the quality of the sampler. With 32 workers, the first 32 whole trainings take
about half of the budget, so the hypervolume is low before.

The digits space is a harder problem: `search_spaces/digits.yaml` with its nine settings. A random forest,
fitted to 400 recorded trainings, answers for each configuration (out of bag it explains {clean:.0%} of the
variance of clean and {robust:.0%} of that of robust accuracy), and what another seed changes is added from
the recordings. A search chooses its front by these noisy figures. The front is judged by what is expected of
its networks on other images: four fifths of what a seed changes in robust accuracy are the network's own,
and a sixth of what it changes in clean accuracy (`seed_noise.md`). The quality may fall, too. The
hypervolume is measured from 90 % of clean and 10 % of robust accuracy, and divided by that of the best of
20,000 random configurations. The final attack is not counted in the budget.
"""

EXPLAINED = (0.89, 0.90)
"""What ``Digits().explained`` returned."""

Floats = NDArray[np.float64]


def write(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a row for each search; the quality is in ten-thousandths, at equidistant shares of the budget."""
    lines = ["problem,method,workers,seed,started,finished,quality"]
    for row in sorted(rows, key=lambda row: (row["problem"], row["method"], row["workers"], row["seed"])):
        values = " ".join(str(round(10_000 * value)) for value in row["values"])
        method = f'"{row["method"]}"' if "," in row["method"] else row["method"]
        lines.append(
            f"{row['problem']},{method},{row['workers']},{row['seed']},{row['started']},{row['finished']},"
            f"{values}"
        )
    path.write_text("\n".join(lines) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """Read the file of :func:`write`; return an empty list when it does not exist."""
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
        """Return the quality of each method: a row for each seed, a column for each share of the budget."""
        frame = self._frame[(self._frame["problem"] == problem) & (self._frame["workers"] == workers)]
        quality = {}
        for name in self.methods:
            rows = frame[frame["method"] == name].sort_values("seed")
            if len(rows):
                quality[name] = np.array(rows["values"].tolist(), dtype=float)
        return quality

    def paired(self, problem: str, workers: int, method: str, other: str) -> tuple[Floats, Floats] | None:
        """Return the quality of two methods, for the seeds of both; None without a common seed."""
        frame = self._frame[(self._frame["problem"] == problem) & (self._frame["workers"] == workers)]
        first, second = (
            frame[frame["method"] == name].set_index("seed")["values"] for name in (method, other)
        )
        seeds = sorted(set(first.index) & set(second.index))
        if not seeds:
            return None
        return np.array(first[seeds].tolist()), np.array(second[seeds].tolist())

    def trainings(self, problem: str, workers: int, method: str) -> tuple[float, float]:
        """Return the mean numbers of trainings that were started, and that ran to their end."""
        frame = self._frame[
            (self._frame["problem"] == problem)
            & (self._frame["workers"] == workers)
            & (self._frame["method"] == method)
        ]
        return float(frame["started"].mean()), float(frame["finished"].mean())


def report(rows: list[dict[str, Any]], order: list[str], reference: str = RIVAL) -> str:
    """Return the results as Markdown.

    Args:
        rows: The searches, as :func:`read` returns them.
        order: The methods, in the order of the tables.
        reference: The method with which the others are compared.
    """
    results = Results(rows, order)
    lines = [HEAD.format(clean=EXPLAINED[0], robust=EXPLAINED[1])]
    for problem in results.problems:
        lines += [f"## {TITLES[problem]}", "", *_means(results, problem), ""]
        if problem in WITH_EPOCHS:
            lines += [*_speed(results, problem, reference), ""]
        for method in (OURS, "morel_search, no stopping"):
            for other in dict.fromkeys((reference, TPE)):
                if method != other and {method, other} <= set(results.methods):
                    lines += _tests(results, problem, method, other)
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


def _speed(results: Results, problem: str, reference: str) -> list[str]:
    lines = [
        f"Share of the budget at which the mean first reaches that of {reference} at its whole budget.",
        "",
        "| method | " + " | ".join(f"workers: {count}" for count in results.workers) + " |",
        "|---|" + "---|" * len(results.workers),
    ]
    for method in results.methods:
        cells = []
        for workers in results.workers:
            of = results.of(problem, workers)
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
    title = (
        f"{method} against {reference}: Wilcoxon's signed-rank test over seeds, one-sided, "
        f"p < {SIGNIFICANT}, at 10 %, 20 % ... 100 %."
    )
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
    """Draw one panel for each problem and number of workers: mean and standard error of each method."""
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
    figure.tight_layout(rect=(0, (0.2 + 0.22 * -(-len(shown) // columns)) / height, 1, 1 - 0.15 / height))
    figure.savefig(path, dpi=110)
    plt.close(figure)
