"""The front's networks and the controls, trained again with other seeds: how much of an accuracy was luck."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from morel_search.cluster.placement import concurrency, device_for, with_absolute_paths
from morel_search.cluster.tasks import explained_errors
from morel_search.cluster.trainable import describe_failure
from morel_search.cluster.worker_data import development_for, test_images
from morel_search.config import Space
from morel_search.errors import TrainingError
from morel_search.models.recipe import TrainingConfig, train_from_config
from morel_search.results.folder import RunFolder
from morel_search.results.tables import REPLICATE_COLUMNS
from morel_search.search.proposer import derive_seed
from morel_search.training.evaluation import TEST_SEED, evaluate
from morel_search.training.settings import Compute

__all__ = ["Replicate", "missing_replicates", "train_replicates"]


@dataclass(frozen=True, slots=True)
class Replicate:
    """One training: the network it repeats, as its folder is named, and the recipe with the seed of its own."""

    network: str
    recipe: TrainingConfig


def missing_replicates(run: RunFolder, recipes: Mapping[str, TrainingConfig], count: int) -> list[Replicate]:
    """The trainings that ``replicates.csv`` does not have yet, one of each network first.

    Two epochs of one training that are networks of their own have seeds of their own: the trainings are
    independent.

    Args:
        run: The run's folder.
        recipes: What trains each network, with the network's own seed.
        count: Trainings of each network.
    """
    rows = run.read_replicates()
    known = set(zip(rows["network"], rows["seed"].astype(int), strict=True))
    wanted = (
        Replicate(network, replace(recipe, seed=derive_seed(recipe.seed, recipe.epoch, again)))
        for again in range(1, count + 1)
        for network, recipe in recipes.items()
    )
    return [one for one in wanted if (one.network, one.recipe.seed) not in known]


def train_replicates(
    space: Space, run: RunFolder, wanted: list[Replicate], compute: Compute, on_done: Callable[[], None]
) -> None:
    """Train, score on the test split under the search's own attack, and add a row to ``replicates.csv`` after each.

    A training that is cut off begins anew; one that diverges or runs out of memory is a row with its reason.

    Args:
        space: Data and resources are read.
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
    threads, at_a_time = max(1, int(resources.cpu)), concurrency(space.resources)
    task = ray.remote(num_cpus=resources.cpu, num_gpus=resources.gpu, max_calls=0)(_train)
    waiting, pending = wanted[::-1], dict[Any, Replicate]()
    rows = run.read_replicates()
    lost = "training again was interrupted ({reason}); python -m morel_search.verify continues it"
    try:
        while waiting or pending:
            while waiting and len(pending) < at_a_time:
                replicate = waiting.pop()
                data = with_absolute_paths(replicate.recipe.data)
                config = replace(replicate.recipe, data=data, threads=threads)
                pending[task.remote(config, compute, device)] = replicate
            with explained_errors(lost):
                ready, _ = ray.wait(list(pending))
                replicate = pending.pop(ready[0])
                result = ray.get(ready[0])
            row = {"network": replicate.network, "seed": replicate.recipe.seed, **result}
            added = pd.DataFrame([row], columns=list(REPLICATE_COLUMNS)).astype(rows.dtypes.to_dict())
            rows = pd.concat([rows, added], ignore_index=True) if len(rows) else added
            run.write_table(run.replicates, rows)
            on_done()
    finally:
        for reference in pending:
            ray.cancel(reference)


def _train(recipe: TrainingConfig, compute: Compute, device: str) -> dict[str, Any]:
    """Run on a worker: the cells of the training's row."""
    began = time.perf_counter()
    try:
        kept, model = train_from_config(
            recipe, development_for(recipe.data, device), compute=compute, device=device
        )
        test = evaluate(
            model.to(device),
            test_images(recipe.data).to(device),
            recipe.evaluation,
            seed=TEST_SEED,
            compute=compute,
        )
    except TrainingError as error:
        return {"seconds": time.perf_counter() - began, "failure": describe_failure(error)}
    return {
        "epoch": kept.epoch,
        "clean_accuracy": kept.clean_accuracy,
        "robust_accuracy": kept.robust_accuracy,
        "test_clean_accuracy": test.clean_accuracy,
        "test_robust_accuracy": test.robust_accuracy,
        "seconds": time.perf_counter() - began,
        "failure": "",
    }
