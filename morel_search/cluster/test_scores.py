"""The one look at the test split: finished networks, after the search, by no choice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search.cluster.placement import device_for, with_absolute_paths
from morel_search.cluster.tasks import explained_errors
from morel_search.cluster.worker_data import test_images
from morel_search.config import Space
from morel_search.search.pareto import Member
from morel_search.training.settings import FLOAT32, Compute, DataSettings, EvaluationSettings

if TYPE_CHECKING:
    pass

__all__ = ["score_on_test"]


def score_on_test(
    space: Space, models: Mapping[Member, Path], compute: Compute = FLOAT32
) -> dict[Member, tuple[float, float]]:
    """Clean and robust accuracy of saved networks on the test split, under the search's evaluation attack.

    Each network is scored where a trial would run, as many at a time as fit.

    Args:
        space: Data, attack and resources are read.
        models: Trial and epoch to the file with its weights.
        compute: The arithmetic of the attack's gradients.

    Returns:
        Trial and epoch to (clean accuracy, robust accuracy).

    Raises:
        MorelSearchError: The test split cannot be read, or the machine that scores was lost.
    """
    import ray

    resources = space.resources
    task = ray.remote(num_cpus=resources.cpu, num_gpus=resources.gpu, max_calls=0)(_score)
    device, threads = device_for(resources), max(1, int(resources.cpu))
    what = (with_absolute_paths(space.data), space.evaluation, compute, device, threads)
    pending = [task.remote(member, str(path.absolute()), *what) for member, path in models.items()]
    with explained_errors("the front could not be scored on the test split ({reason}); --resume tries again"):
        scores: Sequence[tuple[Member, float, float]] = ray.get(pending)
    return {(member[0], member[1]): (clean, robust) for member, clean, robust in scores}


def _score(
    member: Member,
    path: str,
    data: DataSettings,
    evaluation: EvaluationSettings,
    compute: Compute,
    device: str,
    threads: int,
) -> tuple[Member, float, float]:
    import torch

    from morel_search.models.checkpoint import load_model
    from morel_search.training.compute import configure
    from morel_search.training.evaluation import TEST_SEED, evaluate

    torch.set_num_threads(threads)
    configure(compute, device)
    model, _ = load_model(Path(path))
    result = evaluate(
        model.to(device), test_images(data).to(device), evaluation, seed=TEST_SEED, compute=compute
    )
    return member, result.clean_accuracy, result.robust_accuracy
