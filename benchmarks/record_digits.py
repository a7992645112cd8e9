"""Train random configurations of the digits space to their end; write their accuracies to a table.

    python benchmarks/record_digits.py --workers 2

The table is ``digits_trainings.csv``: 280 configurations of ``search_spaces/digits.yaml``, drawn at random,
and two more trainings with other seeds of the first 60. A search with random proposals made the first
trainings of the numbers 0 to 147; this script makes all others. Each training runs through its 10 epochs,
with the quick attack after each and the final attack on the selected one. The same command continues an
interrupted recording. All 400 take about 40 minutes on two cores.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna

from morel_search._machine import usable_cpus
from morel_search.config import load_space
from morel_search.search.distributions import decode, distributions

if TYPE_CHECKING:
    from morel_search.training.selection import EpochResult
    from morel_search.training.trainer import Training

HERE = Path(__file__).parent
SPACE, TABLE = HERE.parent / "search_spaces/digits.yaml", HERE / "digits_trainings.csv"
CONFIGURATIONS, REPEATED, REPEATS = 280, 60, 3

Row = dict[str, Any]


def missing(rows: Iterable[Row]) -> list[tuple[int, int]]:
    """Return the trainings that are not in the table: number of the configuration, and of its training."""
    recorded = {(int(row["number"]), int(row["repeat"])) for row in rows}
    wanted = [(number, 0) for number in range(CONFIGURATIONS)]
    wanted += [(number, repeat) for repeat in range(1, REPEATS) for number in range(REPEATED)]
    return [training for training in wanted if training not in recorded]


def parameter_names() -> list[str]:
    """Return the names of the parameters of the space."""
    return [parameter.name for parameter in load_space(SPACE).parameters]


def configuration(number: int) -> dict[str, Any]:
    """Return the values of the active parameters of a configuration."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    space = load_space(SPACE)
    sampler = optuna.samplers.RandomSampler(seed=number)
    trial = optuna.create_study(sampler=sampler).ask(distributions(space))
    return decode(space, trial.params)


def train(number: int, repeat: int, values: dict[str, Any]) -> Row:
    """Train a configuration on one thread; the seed depends on both numbers."""
    training, history = trained(values, seed=1000 * repeat + number, every=1)
    final = training.evaluate_final(training.model)
    images = len(training.validation)

    def counts(name: str) -> str:
        return " ".join(str(round(getattr(result, name) * images)) for result in history)

    return {
        "number": number,
        "repeat": repeat,
        **{name: _text(values.get(name, "")) for name in parameter_names()},
        "images": images,
        "clean": counts("clean_accuracy"),
        "robust": counts("robust_accuracy"),
        "final_clean": round(final.clean_accuracy * images),
        "final_robust": round(final.robust_accuracy * images),
    }


def trained(
    values: Mapping[str, Any], *, seed: int, every: int | None = None
) -> tuple[Training, list[EpochResult]]:
    """Train a configuration of the space on one thread; the network is that of the selected epoch.

    Args:
        values: Its active parameters.
        seed: Random seed of the training.
        every: Epochs between two evaluations; None takes the space's.
    """
    import torch

    from morel_search.training.compute import operations, resolve_compute
    from morel_search.training.datasets.loading import load_development
    from morel_search.training.networks import build_network
    from morel_search.training.selection import chosen_epoch
    from morel_search.training.trainer import Training

    torch.set_num_threads(1)
    space = load_space(SPACE)
    development = load_development(space.data)
    _, channels, height, width = development.train.images.shape
    shape = (channels, height, width)
    network = build_network(space.network, shape, len(development.classes))
    evaluation = replace(space.evaluation, every=every or space.evaluation.every)
    compute = resolve_compute(space.compute, "cpu", operations(network, shape))
    train_settings = space.train_settings(dict(values))
    training = Training(train_settings, space.network, development, evaluation, seed=seed, compute=compute)
    history, weights = [], {}
    for result in training:
        history.append(result)
        weights[result.epoch] = {name: value.clone() for name, value in training.model.state_dict().items()}
    chosen = chosen_epoch(history, space.search.select_epoch)
    training.model.load_state_dict(weights[chosen.epoch])
    return training, history


def main() -> None:
    """Train what is not in the table yet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=usable_cpus())
    arguments = parser.parse_args()
    with TABLE.open(newline="") as file:
        rows: list[Row] = list(csv.DictReader(file))
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        pending = [
            pool.submit(train, number, repeat, values_of(number, rows)) for number, repeat in missing(rows)
        ]
        for future in as_completed(pending):
            rows.append(future.result())
            rows.sort(key=lambda row: (int(row["repeat"]), int(row["number"])))
            with TABLE.with_suffix(".tmp").open("w", newline="") as file:
                writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                writer.writeheader()
                writer.writerows(rows)
            TABLE.with_suffix(".tmp").replace(TABLE)
            print(f"{len(rows)} trainings", flush=True)


def values_of(number: int, rows: Iterable[Row]) -> dict[str, Any]:
    """Return the configuration of that number: from the table if it is there, else a new one."""
    for row in rows:
        if int(row["number"]) == number:
            read = {name: row[name] for name in parameter_names()}
            return {name: _value(text) for name, text in read.items() if text != ""}
    return configuration(number)


def _text(value: object) -> str:
    return value if isinstance(value, str) else f"{float(value):.4g}"


def _value(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


if __name__ == "__main__":
    main()
