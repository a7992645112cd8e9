"""One start of a search: Ray Tune runs trials until the budget is spent or the user interrupts it."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search._cli import print_err
from morel_search.cluster.lifeline import waiting
from morel_search.cluster.placement import (
    PlacesNow,
    device_for,
    network_with_absolute_path,
    threads_for,
    with_absolute_paths,
)
from morel_search.cluster.scheduler import StudyScheduler
from morel_search.cluster.searcher import StudySearcher
from morel_search.cluster.shared_folder import LATE_SECONDS
from morel_search.cluster.trainable import Job, run_job
from morel_search.cluster.watch import SearchWatch
from morel_search.config import Space
from morel_search.errors import RunFolderError
from morel_search.results.files import os_error_sentence
from morel_search.search.controller import FinishedTrial, SearchController
from morel_search.search.hang_detector import HangDetector
from morel_search.search.study import TrialStore
from morel_search.search.successive_halving import rungs_of
from morel_search.search.trial import Assignment
from morel_search.training.compute_settings import FLOAT32, Compute
from morel_search.training.selection import EpochResult

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

__all__ = ["job_maker", "search"]

UNLIMITED = 10**9
"""Ray Tune's number of samples; the searcher ends the search."""

RETRIES = 2
"""How often a trial whose process died continues from its checkpoint before it is recorded as failed."""

DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EACCES, errno.ENOENT, errno.EIO)
"""Errors of the file system with which Ray Tune fails to write its own files."""


def search(
    controller: SearchController,
    record: TrialStore,
    *,
    ray_folder: Path,
    job: Callable[[Assignment], Job],
    on_finished: Callable[[FinishedTrial], None] = lambda _: None,
    on_epoch: Callable[[int, EpochResult], None] = lambda number, result: None,
    note: Callable[[str], None] = print_err,
    trainable: Callable[[dict[str, Job]], None] = run_job,
) -> bool:
    """Run trials until the budget is spent or SIGINT is received.

    Each start creates a new Tuner: all state is in the study and in the trials' own checkpoints. Afterwards
    no trial is RUNNING; the trials that were running are WAITING, and ``--resume`` continues them.

    Args:
        controller: The search.
        record: Its study.
        ray_folder: Absolute folder for Ray Tune's own files, which are not read again.
        job: Returns the job of an assignment.
        on_finished: Called after each trial.
        on_epoch: Called after each epoch of each trial.
        note: Called with a sentence about a training that hangs.
        trainable: The function that Ray Tune runs; it reports as :func:`run_job` does.

    Returns:
        Whether the search is complete.

    Raises:
        RunFolderError: The study or the run folder cannot be written; trials recorded before are kept.
    """
    from ray import tune

    resources = controller.space.resources
    errors: list[Exception] = []
    losses: dict[str, str] = {}
    detector = HangDetector(controller.space.search.max_epoch_minutes, note)
    watch = SearchWatch(controller, detector, errors, note)
    try:
        if not controller.done:
            with _writable(ray_folder):
                tuner = tune.Tuner(
                    tune.with_resources(trainable, {"cpu": resources.cpu, "gpu": resources.gpu}),
                    tune_config=tune.TuneConfig(
                        search_alg=StudySearcher(
                            controller,
                            job,
                            on_finished,
                            errors,
                            losses,
                            detector.reason,
                            PlacesNow(resources, note),
                            note,
                        ),
                        scheduler=StudyScheduler(controller, on_epoch, errors, watch, losses),
                        num_samples=UNLIMITED,
                        reuse_actors=True,
                        trial_name_creator=_name,
                        trial_dirname_creator=_name,
                    ),
                    run_config=tune.RunConfig(
                        name="tune",
                        storage_path=str(ray_folder.absolute()),
                        verbose=0,
                        stop=watch,
                        failure_config=tune.FailureConfig(max_failures=RETRIES),
                    ),
                )
                with waiting():
                    tuner.fit()
    finally:
        _settle(controller, record, errors)
    if errors:
        raise errors[0]
    return controller.complete


@contextmanager
def _writable(ray_folder: Path) -> Iterator[None]:
    """Explain an error with which Ray Tune cannot write its own files.

    Raises:
        RunFolderError: The disk is full, for example.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:  # ConnectionError, for example
            raise
        raise os_error_sentence("write", ray_folder, error) from error


def _settle(controller: SearchController, record: TrialStore, errors: list[Exception]) -> None:
    """Make the trials that were running WAITING, then write the time of the search.

    An error is appended to those of the search, which are reported first.
    """
    try:
        record.requeue_running()
        if not errors:
            controller.note_time()
    except RunFolderError as error:
        errors.append(error)


def job_maker(
    space: Space, folder: Path, compute: Compute = FLOAT32, token: str = "", teacher: str = ""
) -> Callable[[Assignment], Job]:
    """Return a function from assignments to jobs whose checkpoints are in ``folder/NUMBER``.

    Args:
        space: The space.
        folder: Folder of the checkpoints of all trials.
        compute: The arithmetic.
        token: See :attr:`Job.token`.
        teacher: See :attr:`Job.teacher`.
    """
    minutes = space.search.max_epoch_minutes
    # A training that waits for its folder must not be taken for one that hangs.
    folder_seconds = LATE_SECONDS if minutes is None else min(LATE_SECONDS, 30.0 * minutes)

    def make(assignment: Assignment) -> Job:
        return Job(
            number=assignment.number,
            seed=assignment.plan.seed,
            train=assignment.train,
            network=network_with_absolute_path(assignment.settings.network),
            data=with_absolute_paths(assignment.settings.data),
            evaluation=space.evaluation,
            select_epoch=space.search.select_epoch,
            device=device_for(space.resources),
            threads=threads_for(space.resources),
            folder=str((folder / str(assignment.number)).absolute()),
            compute=compute,
            rungs=rungs_of(space),
            token=token,
            folder_seconds=folder_seconds,
            teacher=teacher,
        )

    return make


def _name(trial: Trial) -> str:
    return f"trial_{trial.config['job'].number}_{trial.trial_id}"
