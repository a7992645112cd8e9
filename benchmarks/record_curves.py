"""Train each configuration of ``curves.yaml`` once; write the accuracies of all epochs to ``curves.csv``.

    python benchmarks/record_curves.py --workers 2

It takes about an hour on two cores. The same command continues an interrupted recording.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from morel_search._machine import usable_cpus

HERE = Path(__file__).parent
SPACE, CURVES = HERE / "curves.yaml", HERE / "curves.csv"


def configurations() -> list[dict[str, Any]]:
    """Return each configuration of the space, as values of Optuna, in the order of the table."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    from morel_search.config import load_space
    from morel_search.search.distributions import distributions

    levels = {}
    for name, distribution in distributions(load_space(SPACE)).items():
        if isinstance(distribution, CategoricalDistribution):
            levels[name] = list(distribution.choices)
        else:
            assert isinstance(distribution, IntDistribution)
            levels[name] = list(range(distribution.low, distribution.high + 1, distribution.step))
    return [dict(zip(levels, values, strict=True)) for values in itertools.product(*levels.values())]


def train_one(number: int, params: dict[str, Any]) -> dict[str, Any]:
    """Train one configuration, with its number as the seed, on one thread."""
    import torch

    from morel_search.config import load_space
    from morel_search.search.distributions import decode
    from morel_search.training.datasets.loading import load_development
    from morel_search.training.trainer import Training

    torch.set_num_threads(1)
    space = load_space(SPACE)
    development = load_development(space.data)
    settings = space.train_settings(decode(space, params))
    history, failure = [], ""
    try:
        history = list(Training(settings, space.network, development, space.evaluation, seed=number))
    except Exception as error:
        failure = str(error)
    images = len(development.validation)
    return {
        "number": number,
        **params,
        "images": images,
        "clean": " ".join(str(round((result.clean_accuracy or 0) * images)) for result in history),
        "robust": " ".join(str(round((result.robust_accuracy or 0) * images)) for result in history),
        "failure": failure,
    }


def main() -> None:
    """Train the configurations that are not in the table yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=usable_cpus())
    arguments = parser.parse_args()
    all_params = configurations()
    done: list[dict[str, Any]] = []
    if CURVES.exists():
        with CURVES.open(newline="") as file:
            done = list(csv.DictReader(file))
    recorded = {int(row["number"]) for row in done}
    missing = [number for number in range(len(all_params)) if number not in recorded]
    with ProcessPoolExecutor(arguments.workers) as pool:
        pending = [pool.submit(train_one, number, all_params[number]) for number in missing]
        for future in as_completed(pending):
            done.append(future.result())
            rows = sorted(done, key=lambda row: int(row["number"]))
            with CURVES.with_suffix(".tmp").open("w", newline="") as file:
                writer = csv.DictWriter(file, fieldnames=list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
            CURVES.with_suffix(".tmp").replace(CURVES)
            print(f"{len(done)} of {len(all_params)}", flush=True)


if __name__ == "__main__":
    main()
