"""Replicates: networks of the front and controls trained with other seeds, to measure the seed's effect."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from morel_search.cluster.placement import (
    concurrency,
    device_for,
    network_with_absolute_path,
    threads_for,
    with_absolute_paths,
)
from morel_search.cluster.tasks import Results, task_errors, trial_task
from morel_search.cluster.trainable import describe_failure
from morel_search.cluster.worker_data import development_for, test_images
from morel_search.config import Space
from morel_search.errors import TrainingError
from morel_search.models.recipe import TrainingConfig, train_from_config
from morel_search.models.teacher import load_teacher, search_consent
from morel_search.results.folder import RunFolder
from morel_search.results.tables import REPLICATE_COLUMNS
from morel_search.search.seeds import derive_seed
from morel_search.training.compute_settings import Compute
from morel_search.training.evaluation import TEST_SEED, evaluate

__all__ = ["Replicate", "missing_replicates", "train_replicates"]


@dataclass(frozen=True, slots=True)
class Replicate:
    """One training of a network's configuration with another seed.

    Attributes:
        network: The network's name, as its folder in ``front/`` or ``controls/`` is named.
        config: The network's configuration, with the seed of the replicate.
    """

    network: str
    config: TrainingConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class _Result:
    """The result of one training, as cells of ``replicates.csv``.

    None for what a failed training does not have.
    """

    epoch: int | None = None
    clean_accuracy: float | None = None
    robust_accuracy: float | None = None
    test_clean_accuracy: float | None = None
    test_robust_accuracy: float | None = None
    seconds: float
    failure: str


def missing_replicates(run: RunFolder, configs: Mapping[str, TrainingConfig], count: int) -> list[Replicate]:
    """Return the trainings that ``replicates.csv`` does not have yet.

    First one of each network, then a second of each, and so on.

    Two epochs of one training that are both on the front have replicates with different seeds, so all
    replicates are independent.

    Args:
        run: The run's folder.
        configs: The configuration of each network, with the network's own seed, by the network's name.
        count: Number of trainings of each network.
    """
    rows = run.read_replicates()
    known = set(zip(rows["network"], rows["seed"].astype(int), strict=True))
    wanted = (
        Replicate(network, replace(config, seed=derive_seed(config.seed, config.epoch, index)))
        for index in range(1, count + 1)
        for network, config in configs.items()
    )
    return [replicate for replicate in wanted if (replicate.network, replicate.config.seed) not in known]


def train_replicates(
    space: Space, run: RunFolder, wanted: list[Replicate], compute: Compute, on_done: Callable[[], None]
) -> None:
    """Train replicates and score them on the test split under the attack of the final evaluation.

    Add a row to ``replicates.csv`` after each.

    A training that is interrupted starts anew the next time. One that diverges or runs out of memory is
    recorded with the reason.

    Args:
        space: Its resources are used.
        run: The run's folder.
        wanted: The trainings, see :func:`missing_replicates`.
        compute: The arithmetic.
        on_done: Called after each training.

    Raises:
        MorelSearchError: The images cannot be read, a machine was lost, or the run folder cannot be written.
    """
    import pandas as pd
    import ray

    resources, device = space.resources, device_for(space.resources)
    threads, limit = threads_for(resources), concurrency(resources)
    task = trial_task(_train, resources)
    waiting, pending = wanted[::-1], dict[Any, Replicate]()
    rows, results = run.read_replicates(), Results()
    try:
        with task_errors(
            "the training of replicates was interrupted", "python -m morel_search.verify continues it"
        ):
            while waiting or pending:
                while waiting and len(pending) < limit:
                    replicate = waiting.pop()
                    data = with_absolute_paths(replicate.config.data)
                    network = network_with_absolute_path(replicate.config.network)
                    config = replace(replicate.config, data=data, network=network, threads=threads)
                    pending[task.remote(config, compute, device, run.teacher)] = replicate
                reference = results.next(pending)
                replicate = pending.pop(reference)
                result: _Result = ray.get(reference)
                row = {"network": replicate.network, "seed": replicate.config.seed, **asdict(result)}
                added = pd.DataFrame([row], columns=list(REPLICATE_COLUMNS)).astype(rows.dtypes.to_dict())
                rows = pd.concat([rows, added], ignore_index=True) if len(rows) else added
                run.write_table(run.replicates, rows)
                on_done()
    finally:
        for reference in pending:
            ray.cancel(reference)


def _train(config: TrainingConfig, compute: Compute, device: str, teacher: Path) -> _Result:
    """Train and score one replicate; run on a worker.

    Args:
        config: The configuration.
        compute: The arithmetic.
        device: ``cpu``, ``cuda`` or ``mps``.
        teacher: The run's copy of the folder of ``train.teacher``, if it has one.
    """
    began = time.perf_counter()
    try:
        development = development_for(config.data, device)
        loaded = load_teacher(
            config.train,
            development.train.images.shape[1:],
            development.classes,
            search_consent([config.network.name, config.train.accuracy_loss, config.train.teacher]),
            copy=teacher,
        )
        kept, model = train_from_config(
            config,
            development,
            compute=compute,
            device=device,
            teacher=None if loaded is None else loaded.model,
        )
        test = evaluate(
            model.to(device),
            test_images(config.data).to(device),
            config.evaluation,
            final=True,
            seed=TEST_SEED,
            compute=compute,
        )
    except TrainingError as error:
        return _Result(seconds=time.perf_counter() - began, failure=describe_failure(error))
    return _Result(
        epoch=kept.epoch,
        clean_accuracy=kept.clean_accuracy,
        robust_accuracy=kept.strongest_robust_accuracy,
        test_clean_accuracy=test.clean_accuracy,
        test_robust_accuracy=test.robust_accuracy,
        seconds=time.perf_counter() - began,
        failure="",
    )
