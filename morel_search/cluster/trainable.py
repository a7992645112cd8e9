"""One trial on a Ray worker: train, write a checkpoint after each epoch, and report the epoch to Ray Tune."""

from __future__ import annotations

import errno
import math
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search._consent import consent_to
from morel_search._user_code import error_text
from morel_search.cluster.shared_folder import LATE_SECONDS, unshared_reason
from morel_search.cluster.trial_report import TrialReport
from morel_search.cluster.worker_data import development_for
from morel_search.errors import MorelSearchError, NetworkError, RunFolderError
from morel_search.results.files import os_error_sentence
from morel_search.training.compute_settings import FLOAT32, Compute
from morel_search.training.selection import EpochResult, chosen_epochs
from morel_search.training.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainSettings

if TYPE_CHECKING:
    from morel_search.training.datasets.loading import Development
    from morel_search.training.trainer import Training

__all__ = ["Job", "begin_training", "describe_failure", "model_file", "run_job", "train_job"]

STATE_FILE = "state.pt"

OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")
"""Words of the errors of libraries that could not allocate memory of a GPU or of the machine."""


def model_file(epoch: int, select_epoch: str) -> str:
    """Return the name of the file with the weights of an epoch.

    Only the rule ``front`` keeps several epochs.
    """
    return f"model-{epoch}.pt" if select_epoch == "front" else "model.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The settings of one trial, as a worker receives them.

    Attributes:
        number: The trial's number in the study.
        seed: Random seed of the training.
        train: Settings of the training.
        network: Settings of the network.
        data: Settings of the data, with absolute paths.
        evaluation: Settings of the evaluation on the validation split.
        select_epoch: Epoch selection rule, see :mod:`morel_search.training.selection`.
        device: ``cpu``, ``cuda`` or ``mps``.
        threads: Number of processor threads.
        folder: The trial's own folder; it must be the same folder on every machine.
        compute: The arithmetic.
        rungs: Epochs after which early stopping compares trials; the network is evaluated after each of them.
        token: Content of the file that shows whether the trial's machine shares the run folder, see
            :mod:`morel_search.cluster.shared_folder`; empty to skip this check.
        folder_seconds: How long the run folder may take to appear on the trial's machine.
        teacher: The run's copy of the folder of ``train.teacher``, which may be missing; empty for none.
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
    token: str = ""
    folder_seconds: float = LATE_SECONDS
    teacher: str = ""


def run_job(config: dict[str, Job]) -> None:
    """Run one trial as Ray Tune's trainable; ``config["job"]`` is a :class:`Job`.

    Each epoch is reported; a trial that continues from a checkpoint reports the epochs of the checkpoint
    first. The final report has the results of all epochs, or the reason if the training failed. This function
    does not raise errors of the training: they are recorded as the reason of the failure, and the search
    continues.
    """
    from ray import tune

    ended = False

    def report(progress: TrialReport) -> None:
        nonlocal ended
        try:
            tune.report(progress.to_ray())
        except BaseException as error:  # Ray ends a trial by SystemExit
            ended = not isinstance(error, Exception)
            raise

    job = config["job"]
    ray_folder = Path(job.folder).parents[1]
    unshared = unshared_reason(ray_folder, job.token, job.folder_seconds) if job.token else ""
    if unshared:
        report(TrialReport(failure=unshared, wrong_machine=True))
        # Its place stays taken: Ray would give it the next trial, and the one after it. It does not wait
        # longer than the search: Ray Tune stops this process at the end, and Ray kills it 2 s (measured)
        # after the process of the search, whatever ends that one.
        unshared_reason(ray_folder, job.token, math.inf)
        report(TrialReport(final=True, wrong_machine=True))
        return
    try:
        history = train_job(job, report)
    except BaseException as error:  # a network or loss of the user may raise anything
        if ended:
            raise
        folder_error = isinstance(error, RunFolderError)
        report(TrialReport(final=True, failure=describe_failure(error), folder_error=folder_error))
    else:
        report(TrialReport(final=True, history=tuple(history)))


def describe_failure(error: BaseException) -> str:
    """Return the reason in one line.

    For an error of another library or a bug, with its type, file and line.
    """
    described = error_text(error, 500)
    text = described.partition(": ")[2]
    if isinstance(error, MorelSearchError):
        return text
    no_memory = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    if no_memory or any(words in text.lower() for words in OUT_OF_MEMORY):
        return f"out of memory: {text}"
    frames = traceback.extract_tb(error.__traceback__)
    place = next((frame for frame in reversed(frames) if "site-packages" not in frame.filename), frames[-1])
    return f"{described} ({Path(place.filename).name}:{place.lineno})"


def task_identity(job: Job) -> str:
    """Return a text of all settings that determine a training.

    A checkpoint continues only a job with the same text.
    """
    return repr((job.train, job.network, job.data, job.evaluation, job.seed, job.compute))


def train_job(job: Job, report: Callable[[TrialReport], None]) -> list[EpochResult]:
    """Train a job to its last epoch; write the checkpoint and the weights after each epoch.

    They are written in a thread while the next epoch runs. At a rung, the training waits for them: early
    stopping may end it there, and what it decides is never older than a checkpoint.

    Args:
        job: The job. Its training continues from the checkpoint in its folder, if there is one.
        report: Called with the epochs of the checkpoint, and after each further epoch.

    Returns:
        The results of all epochs; the selected ones with the robust accuracy under the final attack.
    """
    import torch

    from morel_search.models.checkpoint import network_content
    from morel_search.models.checkpoint_writer import Checkpoint, CheckpointWriter

    torch.set_num_threads(job.threads)
    development = development_for(job.data, job.device)
    folder = Path(job.folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise os_error_sentence("create", folder, error) from error
    training, history = begin_training(job, development, folder / STATE_FILE)
    if history:
        report(TrialReport(history=tuple(history)))
    shape, classes = development.train.images.shape[1:], development.classes
    with CheckpointWriter(folder, STATE_FILE) as writer:
        for result in training:
            history.append(result)
            names = {
                chosen.epoch: model_file(chosen.epoch, job.select_epoch)
                for chosen in chosen_epochs(history, job.select_epoch)
            }
            networks = {}
            if result.epoch in names:
                networks[names[result.epoch]] = network_content(
                    training.model, job.network, shape, classes, epoch=result.epoch
                )
            state: dict[str, object] = {
                "job": task_identity(job),
                "training": training.state_dict(),
                "history": [result.to_dict() for result in history],
            }
            keep = set(names.values()) if job.select_epoch == "front" else None
            writer.submit(Checkpoint(state, networks, keep))
            if result.epoch in job.rungs:
                writer.wait()
            report(TrialReport(history=(result,)))
    return _evaluate_selected(job, training, history)


def _evaluate_selected(job: Job, training: Training, history: list[EpochResult]) -> list[EpochResult]:
    """Check the saved weights of the selected epochs, and measure them under the final attack, if any.

    The duration is added to that of the last epoch.

    Raises:
        NetworkError: The saved weights are those of another epoch.
    """
    from morel_search.models.checkpoint import load_model

    began = time.perf_counter()
    selected = {chosen.epoch for chosen in chosen_epochs(history, job.select_epoch)}
    consent = consent_to(job.network.name)
    measured = []
    for result in history:
        if result.epoch in selected:
            path = Path(job.folder) / model_file(result.epoch, job.select_epoch)
            model, metadata = load_model(path, consent)
            if metadata.epoch != result.epoch:
                # A worker was killed between weights and checkpoint, and the repeated epoch differed.
                raise NetworkError(
                    f"the saved weights are those of epoch {metadata.epoch}, not of the selected epoch "
                    f"{result.epoch}; train the configuration again"
                )
            robust = None
            if job.evaluation.final_steps:
                robust = training.evaluate_final(model.to(job.device)).robust_accuracy
            measured.append(replace(result, final_robust_accuracy=robust))
        else:
            measured.append(result)
    last = measured[-1]
    return [*measured[:-1], replace(last, seconds=last.seconds + time.perf_counter() - began)]


def begin_training(
    job: Job, development: Development, checkpoint: Path
) -> tuple[Training, list[EpochResult]]:
    """Continue a training from a checkpoint, or start a new one.

    A new one is started if the checkpoint is missing, cannot be read, or was written with other settings.

    Args:
        job: The job.
        development: Training and validation images on the job's device.
        checkpoint: The file.

    Returns:
        The training, and the results of the epochs that it has finished.
    """
    import torch

    from morel_search.models.archive import UNREADABLE, check_archive
    from morel_search.models.teacher import load_teacher, search_consent
    from morel_search.training.trainer import Training

    loaded = load_teacher(
        job.train,
        development.train.images.shape[1:],
        development.classes,
        search_consent([job.network.name, job.train.accuracy_loss, job.train.teacher]),
        copy=Path(job.teacher) if job.teacher else None,
    )

    def fresh() -> Training:
        return Training(
            job.train,
            job.network,
            development,
            job.evaluation,
            seed=job.seed,
            device=job.device,
            augmentation=job.data.augmentation,
            extra_share=job.data.extra_share,
            also_evaluate=job.rungs,
            compute=job.compute,
            teacher=None if loaded is None else loaded.model,
        )

    training = fresh()
    try:
        check_archive(checkpoint)
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)
        if state["job"] != task_identity(job):
            return fresh(), []
        history = [EpochResult(**result) for result in state["history"]]
        training.load_state_dict(state["training"])
    except FileNotFoundError:
        return training, []
    except UNREADABLE:
        return fresh(), []
    return training, history
