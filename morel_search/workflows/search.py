"""The steps of a run: check, search, score on the test split, verify, report."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from morel_search._cli import INTERRUPTED, print_err, print_out, terminate_as_interrupt
from morel_search.errors import MorelSearchError, RunFolderError
from morel_search.results.files import check_locks, kind_of_path
from morel_search.results.folder import RunFolder, open_run_folder
from morel_search.results.names import check_run_name
from morel_search.results.new_run import check_new_run, create_run_folder, remove_unbegun
from morel_search.results.settings import RunSettings
from morel_search.workflows.final_verification import verify_after_search
from morel_search.workflows.loss_of_ray import finish_search, finish_verification
from morel_search.workflows.request import Request
from morel_search.workflows.resume import check_identity, check_study_file, open_study
from morel_search.workflows.run_settings import (
    compute_of,
    continued_compute,
    new_settings,
    write_resumed,
)
from morel_search.workflows.teacher_copy import copy_teacher, copy_to_read, with_teacher_noted

if TYPE_CHECKING:
    from morel_search.search.controller import FinishedTrial, SearchController
    from morel_search.search.study import TrialStore
    from morel_search.training.compute_settings import Compute
    from morel_search.workflows.artifacts import RunArtifacts
    from morel_search.workflows.preflight import PreflightResult

__all__ = ["dry_run", "execute"]


def dry_run(request: Request) -> int:
    """Check the request and print the plan of the search, without training and without writing files."""
    import torch

    from morel_search.cluster.placement import local_places
    from morel_search.workflows.followers import check_trackers
    from morel_search.workflows.plan import plan_text
    from morel_search.workflows.preflight import check_device, inspect, time_epoch

    request = request.decided()
    _refuse_early(request)  # before noted(), which may download a data set
    request = request.noted()
    check_trackers(request.track)
    if request.address is None:
        check_device(request.space)
    space, copy = request.space, copy_to_read(request)
    preflight_result = inspect(space, copy)
    # How many trials fit on a cluster is not known before the search joins it.
    concurrent = space.resources.concurrent if request.address else None
    concurrent = concurrent or local_places(space.resources, torch.cuda.device_count())
    epoch_seconds = time_epoch(space, preflight_result.compute, teacher_copy=copy)
    print_out(plan_text(space, preflight_result, epoch_seconds, concurrent))
    return 0


def execute(request: Request) -> int:
    """Run the search until it is complete or interrupted, and write the report.

    Returns:
        0 if the budget is spent or a limit was reached, 1 if failures ended the search, 130 if it was
        interrupted. If Ray is lost, the process itself ends, with 3.

    Raises:
        MorelSearchError: A mistake that the user can correct; nothing was written, unless the search had
            begun.
    """
    from morel_search.cluster.placement import MACHINE_SECONDS, check_resources, train_with_absolute_path
    from morel_search.cluster.session import ray_session
    from morel_search.cluster.shared_folder import check_shared
    from morel_search.cluster.tasks import on_cluster
    from morel_search.workflows import preflight
    from morel_search.workflows.followers import Followers

    check_locks()
    request = request.decided()
    if request.or_start and not request.resume:
        remove_unbegun(RunFolder(request.results / request.name), request.space.path, request.space.text)
    _refuse_early(request)  # before noted(), which may download a data set
    request = request.noted()
    if request.resume:
        with RunFolder(request.results / request.name).lock():
            pass  # a run that another process continues is refused before Ray starts
    space, resources = request.space, request.space.resources
    preflight_result = None
    if request.address is None:  # report mistakes before Ray starts
        preflight.check_device(space)
        preflight_result = preflight.inspect(space, copy_to_read(request))
    trackers = Followers(request.track, request.results / request.name)
    # Twice: Ray sets its own handler of SIGTERM when it starts, which ends the process at once.
    with trackers, terminate_as_interrupt(), ray_session(request.address), terminate_as_interrupt():
        check_resources(resources, 0 if request.address is None else MACHINE_SECONDS)
        if preflight_result is None:
            check_shared(request.results, resources)
            preflight_result = on_cluster(
                preflight.inspect,
                replace(space, train=train_with_absolute_path(space.train)),
                copy_to_read(request),
                num_cpus=resources.cpu,
                num_gpus=resources.gpu,
            )
        for warning in preflight.preflight_warnings(space, preflight_result):
            print_err(f"warning: {warning}")
        for note in preflight_result.notes:
            print_err(f"note: {note}")
        request = with_teacher_noted(request, preflight_result.teacher_sha256)
        run = _open(request, preflight_result)
        with run.lock():
            controller, record = _begin(request, run)
            try:
                return _search(request, run, controller, record, preflight_result.compute)
            finally:
                record.close()


def _refuse_early(request: Request) -> None:
    """Refuse an unusable run folder, or an unusable run in ``search.start_from``, before anything starts."""
    from morel_search.search.warm_start import enqueued_configurations

    if not request.resume:
        check_new_run(request.results, request.name)
        enqueued_configurations(request.space)
        return
    check_run_name(request.name)
    if kind_of_path(request.results / request.name) != "folder":
        raise RunFolderError(
            f"{request.results / request.name} does not exist, so there is no run to resume; "
            "start it without --resume"
        )
    check_study_file(RunFolder(request.results / request.name))


def _open(request: Request, preflight_result: PreflightResult) -> RunFolder:
    if request.resume:
        return open_run_folder(request.results / request.name)
    run = create_run_folder(request.results, request.name)
    try:
        run.write_text(run.space, request.space.text)
        run.write_settings(new_settings(request.name, request.space, preflight_result))
    except BaseException:
        shutil.rmtree(run.path, ignore_errors=True)
        raise
    return run


def _begin(request: Request, run: RunFolder) -> tuple[SearchController, TrialStore]:
    """Open the study and plan the controls; a new run that does not get so far leaves no folder."""
    from morel_search.search.controller import SearchController
    from morel_search.search.trial import read_plan
    from morel_search.search.warm_start import enqueued_configurations

    record: TrialStore | None = None
    try:
        record = open_study(run, resume=request.resume)
        check_identity(request.space, record, run)
        copy_teacher(request.space.train, run)
        begun = any(read_plan(trial).origin == "enqueued" for trial in record.trials())
        from_run = isinstance(
            request.space.search.start_from, str
        )  # its front is taken once; the study remembers it
        return SearchController.begin(
            request.space, record, () if begun and from_run else enqueued_configurations(request.space)
        ), record
    except BaseException:
        if record is not None:
            record.close()
        if not request.resume:
            shutil.rmtree(run.path, ignore_errors=True)
        raise


def _search(
    request: Request, run: RunFolder, controller: SearchController, record: TrialStore, compute: Compute
) -> int:
    """Run the trials, write the results, verify and report; return the exit code."""
    from morel_search.cluster.lifeline import on_loss
    from morel_search.workflows.artifacts import RunArtifacts

    began = time.monotonic()
    before = run.read_settings()
    compute = continued_compute(before, request.space.compute, compute)
    _warn_of_other_compute(before, compute)
    write_resumed(run, before, request.space, compute)
    artifacts = RunArtifacts(request.space, run, record, controller, compute)
    report = partial(_report, request, run)
    try:
        with on_loss(partial(finish_search, controller, record, artifacts, report)):
            complete = _run_trials(request, run, controller, record, compute, artifacts)
            failed = bool(controller.criterion.too_many_failures)
            finished = complete and not failed
            if request.verbosity and finished:
                print_out("scoring the front and the controls on the test split")
            artifacts.finish("finished" if finished else "failed" if failed else "stopped", test=finished)
    except MorelSearchError:
        # What has finished gets its tables and its page, as far as the error, such as a full disk, allows it.
        with suppress(MorelSearchError):
            artifacts.finish("stopped", test=False)
        _mark_stopped(run)
        with suppress(MorelSearchError):
            report()
        raise
    except BaseException:
        _mark_stopped(run)
        raise
    if missing := artifacts.missing_networks():
        print_err(
            f"warning: the weights of trials {', '.join(map(str, missing))} on the front are missing, "
            "because their checkpoints were deleted; these networks have no test accuracies"
        )
    quiet = not request.verbosity
    verified: str | None = ""
    try:
        if finished:
            seconds = time.monotonic() - began
            with on_loss(partial(finish_verification, request.space, run, report)):
                verified = verify_after_search(request.space, run, compute, seconds, quiet=quiet)
    finally:
        report()  # also after a failed verification
    if verified and not quiet:
        print_out(verified)
    return _exit_code(controller, complete=complete, interrupted=verified is None)


def _mark_stopped(run: RunFolder) -> None:
    with suppress(RunFolderError):  # the disk may be full
        run.write_settings(replace(run.read_settings(), status="stopped"))


def _warn_of_other_compute(before: RunSettings, compute: Compute) -> None:
    earlier = compute if before.compute is None else compute_of(before.compute)
    if earlier != compute:
        print_err(
            f"warning: the trainings so far were computed in {earlier}; "
            f"on this machine the next ones are computed in {compute}"
        )


def _run_trials(
    request: Request,
    run: RunFolder,
    controller: SearchController,
    record: TrialStore,
    compute: Compute,
    artifacts: RunArtifacts,
) -> bool:
    """Run the trials until the search ends; return whether it is complete, not interrupted."""
    from morel_search.cluster.shared_folder import write_token
    from morel_search.cluster.tuner import job_maker, search
    from morel_search.workflows.progress import Progress

    with Progress(controller.criterion.budget, controller.finished, request.verbosity) as progress:

        def finished(trial: FinishedTrial) -> None:
            progress.finished(trial)
            artifacts.finished(trial)

        shutil.rmtree(run.ray / "tune", ignore_errors=True)
        return search(
            controller,
            record,
            ray_folder=run.ray,
            job=job_maker(request.space, run.checkpoints, compute, write_token(run), str(run.teacher)),
            on_finished=finished,
            on_epoch=progress.epoch,
        )


def _exit_code(controller: SearchController, *, complete: bool, interrupted: bool) -> int:
    """Print why the search ended, unless the budget is spent, and return the exit code.

    Args:
        controller: The search.
        complete: Whether the trials ran to the end of the search.
        interrupted: Whether the verification was interrupted.
    """
    if controller.criterion.too_many_failures:
        print_err(f"morel_search: stopped: {controller.criterion.too_many_failures}")
        return 1
    if controller.criterion.limit_reached:
        print_out(
            f"ended: {controller.criterion.limit_reached}; "
            "the same command with --resume and a higher limit continues"
        )
    if not complete:
        print_out(
            f"interrupted after {controller.finished} of {controller.criterion.budget} trials; "
            "the same command with --resume continues"
        )
        return INTERRUPTED
    return INTERRUPTED if interrupted else 0


def _report(request: Request, run: RunFolder) -> None:
    """Write the report, and print the front and what early stopping saved."""
    from morel_search.analysis.report.page import write_report
    from morel_search.workflows.terminal import front_text, stopping_text

    report = write_report(run)
    if request.verbosity:
        print_out(front_text(run.read_front(), run.read_trials(), request.space.search.select_epoch))
        for sentence in stopping_text(run):
            print_out(sentence)
    print_out(f"report: {report}")
