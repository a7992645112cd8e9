"""Scores of finished networks on the test split, computed once, after the search.

They are not used to select networks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from morel_search._cli import print_err
from morel_search._consent import Consent, consent_to
from morel_search._user_code import named_errors
from morel_search.cluster.placement import device_for, threads_for, with_absolute_paths
from morel_search.cluster.tasks import Results, task_errors, trial_task
from morel_search.cluster.worker_data import test_images
from morel_search.config import Space
from morel_search.errors import NetworkError
from morel_search.search.pareto import Member
from morel_search.training.compute_settings import FLOAT32, Compute
from morel_search.training.settings import DataSettings, EvaluationSettings

__all__ = ["score_on_test"]


@dataclass(frozen=True, slots=True)
class Score:
    """The score of one network.

    Attributes:
        member: Trial and epoch.
        result: Clean and robust accuracy, fractions; a text is the reason why there are none.
        problem: A sentence about images without a prediction; empty if there are none.
    """

    member: Member
    result: tuple[float, float] | str
    problem: str = ""


def score_on_test(
    space: Space,
    models: Mapping[Member, Path],
    compute: Compute = FLOAT32,
    note: Callable[[str], None] = print_err,
) -> dict[Member, tuple[float, float]]:
    """Compute clean and robust accuracy of saved networks on the test split.

    The attack is the final attack of the evaluation. Each network is scored by a task with the resources of a
    trial; as many run at the same time as there are resources.

    Args:
        space: Its data, evaluation and resources are used.
        models: Trial and epoch to the file with the network's weights.
        compute: The arithmetic of the attack's gradients.
        note: Called with a sentence about each network that has no scores, because it cannot be read or
            raises an error, and about each that has no finite logits on some images.

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
        results, scores = Results(), dict[Member, tuple[float, float]]()
        while pending:
            reference = results.next(pending)
            pending.remove(reference)
            score: Score = ray.get(reference)
            if isinstance(score.result, str):
                note(f"warning: a network has no test accuracies: {score.result}")
            else:
                scores[score.member] = score.result
                if score.problem:
                    note(f"warning: {score.problem}")
    return scores


def _score(
    member: Member,
    path: str,
    data: DataSettings,
    evaluation: EvaluationSettings,
    compute: Compute,
    device: str,
    threads: int,
    consent: Consent,
) -> Score:
    """Score one network, on a worker; an error of this network does not keep the others from their scores."""
    import torch

    from morel_search.models.checkpoint import load_model
    from morel_search.training.compute import configure
    from morel_search.training.evaluation import TEST_SEED, evaluate, not_finite_text

    torch.set_num_threads(threads)
    configure(compute, device)
    images = test_images(data).to(device)
    try:
        with named_errors(f"the network in {path}", consent.names):
            model, _ = load_model(Path(path), consent)
            model = model.to(device)
            result = evaluate(model, images, evaluation, final=True, seed=TEST_SEED, compute=compute)
    except NetworkError as error:
        return Score(member, str(error))
    problem = not_finite_text(f"the network in {path}", result)
    return Score(member, (result.clean_accuracy, result.robust_accuracy), problem)
