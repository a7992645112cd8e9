"""The hypervolume of a search for its budget: this project against other libraries, in a simulation.

    python benchmarks/search.py --processes 2             # all: table, search.csv, search.md and search.png
    python benchmarks/search.py --seeds 3 --problems curves --workers 8 --output /tmp/try
    python benchmarks/search.py --variants --workers 8    # other settings of this project
    python benchmarks/search.py --draw                    # table and figure again, from the CSV file

The problems are ZDT1 to ZDT3 (a budget of 200 trainings without epochs), 360 real trainings that
``benchmarks/record_curves.py`` recorded (a budget of 1620 epochs; a whole training takes 27), and the digits
space as ``_digits_problem.py`` models it from 400 recorded trainings (a budget of 800 epochs; a whole
training takes 10). Every method has the same budget; only trainings that ran to their end count. A search
that is in the CSV file is kept, unless it is requested again. The other libraries: OptunaSearch of Ray Tune
with the NSGA-II, the TPE, the Gaussian process or the random sampler of Optuna, and with ASHA of Ray Tune on
the robust accuracy; MOASHA of Syne Tune (``pip install --no-deps syne-tune dill sortedcontainers``).
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from _digits_problem import Digits
from _methods import METHODS, VARIANTS, available, silence
from _report import OURS, RIVAL, draw, read, report, write
from _simulation import CURVES, Curves, Problem, Zdt, simulate

HERE = Path(__file__).parent
Cell = tuple[str, str, int, int]
"""Problem, method, workers, seed."""

PROBLEMS: dict[str, Callable[[Path], Problem]] = {
    "zdt1": lambda _: Zdt("zdt1"),
    "zdt2": lambda _: Zdt("zdt2"),
    "zdt3": lambda _: Zdt("zdt3"),
    "curves": Curves,
    "digits": lambda _: Digits(),
}
"""Functions that make a problem from the path of the trainings that ``record_curves.py`` recorded."""


@cache
def problem_of(name: str, curves: Path) -> Problem:
    return PROBLEMS[name](curves)


def search(cell: Cell, curves: Path) -> dict[str, Any]:
    """Run one search; return its row of the table, and its duration in seconds."""
    silence()
    name, method, workers, seed = cell
    problem, make = problem_of(name, curves), {**VARIANTS, **METHODS}[method]
    began = time.perf_counter()
    run = simulate(problem, make.build(problem, seed), workers, seed)
    counts = {"started": run.started, "finished": run.finished, "values": run.values}
    return {
        "problem": name,
        "method": method,
        "workers": workers,
        "seed": seed,
        **counts,
        "seconds": time.perf_counter() - began,
    }


def compute(
    cells: list[Cell], curves: Path, processes: int, output: Path, kept: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Run the searches; write the table after every 5, so that an interruption loses little."""
    rows = {tuple(row[key] for key in ("problem", "method", "workers", "seed")): row for row in kept}
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    began = time.monotonic()
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        pending = {pool.submit(search, cell, curves): cell for cell in cells}
        for count, future in enumerate(as_completed(pending), start=1):
            cell = pending.pop(future)
            try:
                row = future.result()
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
            rows[cell] = row
            seconds[cell[0], cell[1]].append(row["seconds"])
            if count % 5 == 0 or count == len(cells):
                write(output, list(rows.values()))
            print(
                f"\r{count} of {len(cells)} searches, {(time.monotonic() - began) / 60:.1f} min ",
                end="",
                flush=True,
            )
    print("\n\nSeconds a search:")
    for (name, method), taken in sorted(seconds.items()):
        print(f"  {name:7} {method:26} {sum(taken) / len(taken):6.2f}  (most {max(taken):.2f})")
    print()
    return list(rows.values())


def main() -> None:
    """Run the requested searches, then print the table and draw the figure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument(
        "--first-seed",
        type=int,
        default=300,
        help="first seed; the defaults of this project were chosen on seeds below 300",
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--methods", nargs="+", help="only these methods")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--variants", action="store_true", help="compare settings of this project")
    parser.add_argument("--draw", action="store_true", help="run no search")
    parser.add_argument("--curves", type=Path, default=CURVES, help="recorded trainings")
    parser.add_argument(
        "--output",
        type=Path,
        help="path of the files, without suffix; benchmarks/search, or benchmarks/search_variants",
    )
    arguments = parser.parse_args()

    methods = VARIANTS if arguments.variants else METHODS
    problems = ["curves"] if arguments.variants else arguments.problems
    output: Path = arguments.output or HERE / ("search_variants" if arguments.variants else "search")
    table = output.with_name(output.name + ".csv")
    rows = read(table)
    if not arguments.draw:
        if "moasha" in methods and not available({"moasha": methods["moasha"]}, "curves"):
            print(
                "Syne Tune is not installed, so moasha is left out: pip install --no-deps syne-tune dill "
                "sortedcontainers"
            )
        cells = [
            (problem, method, workers, seed)
            for seed, workers, problem in itertools.product(
                range(arguments.first_seed, arguments.first_seed + arguments.seeds),
                arguments.workers,
                problems,
            )
            for method in available(methods, problem)
            if arguments.methods is None or method in arguments.methods
        ]
        rows = compute(cells, arguments.curves, arguments.processes, table, rows)
    text = report(rows, list(methods), OURS if arguments.variants else RIVAL)
    output.with_name(output.name + ".md").write_text(text)
    print(text)
    if not arguments.variants:
        draw(output.with_name(output.name + ".png"), rows, list(methods))


if __name__ == "__main__":
    main()
