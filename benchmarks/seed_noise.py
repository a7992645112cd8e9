"""How much of what another seed changes is the network's own? The same configurations with several seeds.

    python benchmarks/seed_noise.py --workers 2      # 80 trainings, about 10 minutes; writes seed_noise.md

Two trainings of one configuration that differ in their seed differ in their accuracies on validation images.
A part of that difference is the networks' own, and will be seen on other images too. The rest comes from the
choice of the validation images. Each network is therefore attacked twice, on validation and on test images.
"""

from __future__ import annotations

import argparse
import csv
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from record_digits import SPACE, TABLE, trained, values_of

from morel_search._machine import usable_cpus
from morel_search.results.provenance import hardware

HERE = Path(__file__).parent
CONFIGURATIONS, SEEDS = 20, 4
NAMES = ("clean", "robust")

HEAD = """# What another seed changes

Made by `python benchmarks/seed_noise.py` on {where}: {configurations} configurations of
`search_spaces/digits.yaml` near the front (of `digits_trainings.csv`, the first with more than 95.5 % clean
and 35 % robust accuracy), trained with {seeds} seeds each, and attacked by the final attack on {validation}
validation images, which also select the epoch, and on {test} test images. Standard deviations between the
seeds of a configuration, in points. *Own*: the part that both sets of images see, from their covariance.
*Share*: of the difference from the mean of the seeds that validation images show, how much test images show
on average.

| accuracy | validation | test | own | share | correlation |
|---|---|---|---|---|---|
"""


def main() -> None:
    """Train, and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=usable_cpus())
    workers = parser.parse_args().workers
    with TABLE.open(newline="") as file:
        rows: list[dict[str, Any]] = list(csv.DictReader(file))
    jobs = [(number, seed, values_of(number, rows)) for number in near_the_front() for seed in range(SEEDS)]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        frame = pd.DataFrame(list(pool.map(measured, *zip(*jobs, strict=True))))
    page = HEAD.format(
        where=hardware()["cpu"],
        configurations=CONFIGURATIONS,
        seeds=SEEDS,
        validation=frame["validation_images"].iloc[0],
        test=frame["test_images"].iloc[0],
    )
    for name in NAMES:
        page += line(name, frame)
    (HERE / "seed_noise.md").write_text(page, encoding="utf-8")
    print(page)


def near_the_front() -> list[int]:
    """Return the numbers of the configurations."""
    means = pd.read_csv(TABLE).groupby("number")[["final_clean", "final_robust", "images"]].mean()
    clean, robust = (means[f"final_{name}"] / means["images"] for name in NAMES)
    return list(means.index[(clean > 0.955) & (robust > 0.35)][:CONFIGURATIONS])


def measured(number: int, seed: int, values: dict[str, Any]) -> dict[str, float]:
    """Train a configuration, and attack the network on both sets of images."""
    from morel_search.config import load_space
    from morel_search.training.datasets.loading import load_test

    training, _ = trained(values, seed=7000 * (seed + 1) + number)
    validation = training.evaluate_final(training.model)
    validation_images = len(training.validation)
    training.validation = load_test(load_space(SPACE).data)
    test = training.evaluate_final(training.model)
    return {
        "number": number,
        "validation_images": validation_images,
        "test_images": len(training.validation),
        **{f"validation_{name}": 100 * getattr(validation, f"{name}_accuracy") for name in NAMES},
        **{f"test_{name}": 100 * getattr(test, f"{name}_accuracy") for name in NAMES},
    }


def line(name: str, frame: pd.DataFrame) -> str:
    """Return the line of an accuracy."""
    values = frame[[f"validation_{name}", f"test_{name}"]]
    means = values.groupby(frame["number"]).transform("mean")
    covariance = ((values - means).T @ (values - means)).to_numpy() / (len(frame) - frame["number"].nunique())
    validation, test = np.sqrt(np.diag(covariance))
    own = np.sqrt(max(0.0, covariance[0, 1]))
    share, correlation = covariance[0, 1] / covariance[0, 0], covariance[0, 1] / (validation * test)
    return f"| {name} | {validation:.2f} | {test:.2f} | {own:.2f} | {share:.2f} | {correlation:.2f} |\n"


if __name__ == "__main__":
    main()
