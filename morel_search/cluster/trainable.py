"""One trial, on whichever machine Ray puts it: train, keep a checkpoint after each epoch, report."""

from __future__ import annotations

import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morel_search.cluster.worker_data import development_for
from morel_search.errors import MorelSearchError
from morel_search.training.settings import (
    FLOAT32,
    Compute,
    DataSettings,
    EvaluationSettings,
    NetworkSettings,
    TrainSettings,
)

if TYPE_CHECKING:
    from morel_search.training.datasets.loading import Development
    from morel_search.training.selection import EpochResult
    from morel_search.training.trainer import Training

__all__ = ["Job", "describe_failure", "model_file", "run_job"]

STATE_FILE = "state.pt"


def model_file(epoch: int, select_epoch: str) -> str:
    """The name of the file with the weights of an epoch; only the rule ``front`` keeps several."""
    return f"model-{epoch}.pt" if select_epoch == "front" else "model.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything that a trial needs to know.

    Attributes:
        number: The trial's number in the study.
        point: Rule for the epoch that counts, see :mod:`morel_search.training.selection`.
        device: ``cpu``, ``cuda`` or ``mps``.
        threads: Processor threads the trial may use.
        folder: The trial's own folder; it must be the same folder on every machine.
        compute: The arithmetic.
        rungs: Epochs after which early stopping looks at the trial, so it is evaluated there.
    """

    number: int
    seed: int
    train: TrainSettings
    network: NetworkSettings
    data: DataSettings
    evaluation: EvaluationSettings
    select_epoch: str
    device: str
    threads: int
    folder: str
    compute: Compute = FLOAT32
    rungs: tuple[int, ...] = ()


def run_job(config: dict[str, Any]) -> None:
    """Ray Tune's trainable: ``config["job"]`` is a :class:`Job`.

    Each epoch is reported with ``final: False`` and its result in the list ``history`` (Ray flattens dicts,
    not lists); a trial that continues reports the epochs of its checkpoint first. The last report has
    ``final: True``, every epoch's result and, where the training failed, the reason as ``failure``. An error
    in the training never leaves this function: it becomes the trial's reason, so that the search goes on.
    """
    from ray import tune

    job: Job = config["job"]
    try:
        history = _train(job, tune.report)
    except Exception as error:
        tune.report({"number": job.number, "final": True, "failure": describe_failure(error), "history": []})
    else:
        tune.report(
            {
                "number": job.number,
                "final": True,
                "failure": "",
                "history": [asdict(result) for result in history],
            }
        )


def describe_failure(error: Exception) -> str:
    """The reason in one line; the place in the code too where the error is not one that the project explains itself."""
    text = " ".join(str(error).split())[:500]
    if isinstance(error, MorelSearchError):
        return text
    if "out of memory" in text.lower() or "can't allocate memory" in text:
        return f"out of memory: {text}"
    frames = traceback.extract_tb(error.__traceback__)
    place = next((frame for frame in reversed(frames) if "site-packages" not in frame.filename), frames[-1])
    return f"{type(error).__name__}: {text} ({Path(place.filename).name}:{place.lineno})"


def task_identity(job: Job) -> str:
    """What a checkpoint must have been made with to be continued: everything that decides a training."""
    return repr((job.train, job.network, job.data, job.evaluation, job.seed, job.compute))


def _train(job: Job, report: Any) -> list[EpochResult]:
    import torch

    from morel_search.models.checkpoint import save_atomically, save_model
    from morel_search.training.selection import chosen_epochs

    torch.set_num_threads(job.threads)
    development = development_for(job.data, job.device)
    folder = Path(job.folder)
    folder.mkdir(parents=True, exist_ok=True)
    training, history = _begin(job, development, folder / STATE_FILE)
    if history:
        report({"number": job.number, "final": False, "history": [asdict(one) for one in history]})
    for result in training:
        history.append(result)
        standing = {one.epoch for one in chosen_epochs(history, job.select_epoch)}
        if result.epoch in standing:
            shape, classes = development.train.images.shape[1:], development.classes
            save_model(
                folder / model_file(result.epoch, job.select_epoch),
                training.model,
                job.network,
                shape,
                classes,
                epoch=result.epoch,
            )
        save_atomically(
            folder / STATE_FILE,
            {
                "job": task_identity(job),
                "training": training.state_dict(),
                "history": [asdict(one) for one in history],
            },
        )
        if (
            job.select_epoch == "front"
        ):  # only now that the state says so: a training that is killed here has every file it may need
            keep = {model_file(epoch, job.select_epoch) for epoch in standing}
            for path in folder.glob("model-*.pt"):
                if path.name not in keep:
                    path.unlink()
        report({"number": job.number, "final": False, "history": [asdict(result)]})
    return history


def _begin(job: Job, development: Development, checkpoint: Path) -> tuple[Training, list[EpochResult]]:
    """Continue from a checkpoint; without one, or with one that cannot be read or is of other settings, start from the seed."""
    import pickle

    import torch

    from morel_search.training.selection import EpochResult
    from morel_search.training.trainer import Training

    def fresh() -> Training:
        return Training(
            job.train,
            job.network,
            development,
            job.evaluation,
            seed=job.seed,
            device=job.device,
            augmentation=job.data.augmentation,
            also_evaluate=job.rungs,
            compute=job.compute,
        )

    training = fresh()
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        if state["job"] != task_identity(job):
            return fresh(), []
        history = [EpochResult(**result) for result in state["history"]]
        training.load_state_dict(state["training"])
    except FileNotFoundError:
        return training, []
    except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError):
        return fresh(), []
    return training, history
