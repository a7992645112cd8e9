"""Scores of finished networks on the test split, computed once, after the search.

They are not used to select networks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from morel_search._consent import Consent, consent_to
from morel_search._user_code import named_errors
from morel_search.cluster.placement import device_for, threads_for, with_absolute_paths
from morel_search.cluster.tasks import Results, task_errors, trial_task
from morel_search.cluster.worker_data import test_images
from morel_search.config import Space
from morel_search.search.pareto import Member
from morel_search.training.compute_settings import FLOAT32, Compute
from morel_search.training.settings import DataSettings, EvaluationSettings

__all__ = ["score_on_test"]


def score_on_test(
    space: Space, models: Mapping[Member, Path], compute: Compute = FLOAT32
) -> dict[Member, tuple[float, float]]:
    """Compute clean and robust accuracy of saved networks on the test split.

    The attack is the final attack of the evaluation. Each network is scored by a task with the resources of a
    trial; as many run at the same time as there are resources.

    Args:
        space: Its data, evaluation and resources are used.
        models: Trial and epoch to the file with the network's weights.
        compute: The arithmetic of the attack's gradients.

    Returns:
        Trial and epoch to (clean accuracy, robust accuracy), fractions.

    Raises:
        MorelSearchError: The test split cannot be read, or a machine was lost.
    """
    import ray

    resources = space.resources
    task = trial_task(_score, resources)
    data = with_absolute_paths(space.data)
    device, threads = device_for(resources), threads_for(resources)
    consent = consent_to(space.network.name)
    with task_errors("the front could not be scored on the test split", "--resume tries again"):
        pending = [
            task.remote(
                member, str(path.absolute()), data, space.evaluation, compute, device, threads, consent
            )
            for member, path in models.items()
        ]
        results, scores = Results(), list[tuple[Member, float, float]]()
        while pending:
            reference = results.next(pending)
            pending.remove(reference)
            scores.append(ray.get(reference))
    return {(member[0], member[1]): (clean, robust) for member, clean, robust in scores}


def _score(
    member: Member,
    path: str,
    data: DataSettings,
    evaluation: EvaluationSettings,
    compute: Compute,
    device: str,
    threads: int,
    consent: Consent,
) -> tuple[Member, float, float]:
    import torch

    from morel_search.models.checkpoint import load_model
    from morel_search.training.compute import configure
    from morel_search.training.evaluation import TEST_SEED, evaluate

    torch.set_num_threads(threads)
    configure(compute, device)
    images = test_images(data).to(device)
    with named_errors(f"the network in {path}", consent.names):
        model, _ = load_model(Path(path), consent)
        result = evaluate(model.to(device), images, evaluation, final=True, seed=TEST_SEED, compute=compute)
    return member, result.clean_accuracy, result.robust_accuracy
