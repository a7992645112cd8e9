"""The steps of a run: check, search, score on the test split, verify, report."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search._cli import INTERRUPTED, print_err, print_out, terminate_as_interrupt
from morel_search._format import without_passwords
from morel_search._version import __version__
from morel_search.config import Space, changes
from morel_search.errors import MorelSearchError, RunFolderError
from morel_search.results.folder import RunFolder, open_run_folder
from morel_search.results.new_run import check_new_run, create_run_folder
from morel_search.results.settings import ComputeRecord, ImageCounts, RunSettings

if TYPE_CHECKING:
    from morel_search.search.controller import FinishedTrial, SearchController
    from morel_search.search.study import TrialStore
    from morel_search.training.settings import Compute
    from morel_search.workflows.preflight import PreflightResult

__all__ = ["Request", "dry_run", "execute"]

SHARE_FOR_VERIFYING = 0.25
"""Time limit of the verification after a search, as a share of the search's duration."""

LEAST_VERIFYING = 120.0
"""Smallest time limit of the verification after a search, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The search that the user requested on the command line.

    Attributes:
        space: The checked space.
        name: The run's name.
        results: Absolute folder of all runs.
        resume: Whether to continue an existing run.
        address: Address of a Ray cluster; None to start Ray on this machine.
        verbosity: 0 prints only warnings, errors and the report's path; 1 also a line for each trial; 2 also
            one for each epoch.
    """

    space: Space
    name: str
    results: Path
    resume: bool = False
    address: str | None = None
    verbosity: int = 1


def dry_run(request: Request) -> int:
    """Check the request and print the plan of the search, without training and without writing files."""
    import os

    from morel_search.workflows.plan import plan_text
    from morel_search.workflows.preflight import check_device, inspect, time_epoch

    _refuse_early(request)
    if request.address is None:
        check_device(request.space)
    space = request.space
    preflight_result = inspect(space)
    concurrent = space.resources.concurrent or max(1, int((os.cpu_count() or 1) // space.resources.cpu))
    epoch_seconds = time_epoch(space, preflight_result.compute)
    print_out(plan_text(space, preflight_result, epoch_seconds, concurrent))
    return 0


def execute(request: Request) -> int:
    """Run the search until it is complete or interrupted, and write the report.

    Returns:
        0 if the budget is spent or a limit was reached, 1 if failures ended the search, 130 if it was
        interrupted.

    Raises:
        MorelSearchError: A mistake that the user can correct; nothing was written, unless the search had
            begun.
    """
    from morel_search.cluster.placement import MACHINE_SECONDS, check_resources
    from morel_search.cluster.session import ray_session
    from morel_search.cluster.shared_folder import check_shared
    from morel_search.cluster.tasks import on_cluster
    from morel_search.workflows import preflight

    _refuse_early(request)
    space, resources = request.space, request.space.resources
    preflight_result = None
    if request.address is None:  # report mistakes before Ray starts
        preflight.check_device(space)
        preflight_result = preflight.inspect(space)
    # Twice: Ray sets its own handler of SIGTERM when it starts, which ends the process at once.
    with terminate_as_interrupt(), ray_session(request.address), terminate_as_interrupt():
        check_resources(resources, 0 if request.address is None else MACHINE_SECONDS)
        if preflight_result is None:
            check_shared(request.results, resources)
            preflight_result = on_cluster(
                preflight.inspect, space, num_cpus=resources.cpu, num_gpus=resources.gpu
            )
        for warning in preflight.preflight_warnings(space, preflight_result):
            print_err(f"warning: {warning}")
        run = _open(request, preflight_result)
        with run.lock():
            controller, record = _begin(request, run)
            return _search(request, run, controller, record, preflight_result.compute)


def _refuse_early(request: Request) -> None:
    """Refuse an unusable run folder, or an unusable run in ``search.start_from``, before anything starts."""
    from morel_search.search.warm_start import enqueued_configurations

    if not request.resume:
        check_new_run(request.results, request.name)
        enqueued_configurations(request.space)
    elif not (request.results / request.name).is_dir():
        raise RunFolderError(
            f"{request.results / request.name} does not exist, so there is no run to resume; "
            "start it without --resume"
        )


def _open(request: Request, preflight_result: PreflightResult) -> RunFolder:
    if request.resume:
        return open_run_folder(request.results / request.name)
    run = create_run_folder(request.results, request.name)
    try:
        run.write_text(run.space, request.space.text)
        run.write_settings(_settings(request, preflight_result))
    except BaseException:
        shutil.rmtree(run.path, ignore_errors=True)
        raise
    return run


def _begin(request: Request, run: RunFolder) -> tuple[SearchController, TrialStore]:
    """Open the study and plan the controls; a new run that does not get so far leaves no folder."""
    from morel_search.search.controller import SearchController
    from morel_search.search.study import TrialStore, read_plan
    from morel_search.search.warm_start import enqueued_configurations

    try:
        record = TrialStore.of_file(run.study, run.name)
        _check_identity(request.space, record, run)
        begun = any(read_plan(trial).origin == "enqueued" for trial in record.trials())
        from_run = isinstance(
            request.space.search.start_from, str
        )  # its front is taken once; the study remembers it
        return SearchController(
            request.space, record, () if begun and from_run else enqueued_configurations(request.space)
        ), record
    except BaseException:
        if not request.resume:
            shutil.rmtree(run.path, ignore_errors=True)
        raise


def _search(
    request: Request, run: RunFolder, controller: SearchController, record: TrialStore, compute: Compute
) -> int:
    from morel_search.cluster.tuner import job_maker, search
    from morel_search.workflows.artifacts import RunArtifacts
    from morel_search.workflows.progress import Progress

    before = run.read_settings()
    earlier = compute if before.compute is None else _compute_of(before.compute)
    if earlier != compute:
        print_err(
            f"warning: the trainings so far were computed in {earlier}; "
            f"on this machine the next ones are computed in {compute}"
        )
    run.write_settings(_resumed_settings(before, request, compute))
    artifacts = RunArtifacts(request.space, run, record, controller, compute)
    began = time.monotonic()
    with Progress(controller.budget, controller.finished, request.verbosity) as progress:

        def finished(trial: FinishedTrial) -> None:
            progress.finished(trial)
            artifacts.finished(trial)

        shutil.rmtree(run.ray / "tune", ignore_errors=True)
        complete = search(
            controller,
            record,
            ray_folder=run.ray,
            job=job_maker(request.space, run.checkpoints, compute),
            on_finished=finished,
            on_epoch=progress.epoch,
        )
    failed = bool(controller.stopped_because)
    if request.verbosity and complete and not failed:
        print_out("scoring the front and the controls on the test split")
    artifacts.finish(
        "finished" if complete and not failed else "failed" if failed else "stopped",
        test=complete and not failed,
    )
    if missing := artifacts.missing_networks():
        print_err(
            f"warning: the weights of trials {', '.join(map(str, missing))} on the front are missing, "
            "because their checkpoints were deleted; these networks have no test accuracies"
        )
    verified: str | None = ""
    try:
        if complete and not failed:
            verified = _verify(request, run, compute, time.monotonic() - began)
    finally:
        _report(request, run)  # also after a failed verification
    if verified and request.verbosity:
        print_out(verified)
    record.close()
    if failed:
        print_err(f"morel_search: stopped: {controller.stopped_because}")
        return 1
    if controller.ended_because:
        print_out(
            f"ended: {controller.ended_because}; the same command with --resume and a higher limit continues"
        )
    if not complete:
        print_out(
            f"interrupted after {controller.finished} of {controller.budget} trials; "
            "the same command with --resume continues"
        )
        return INTERRUPTED
    return INTERRUPTED if verified is None else 0


def _verify(request: Request, run: RunFolder, compute: Compute, seconds: float) -> str | None:
    """Verify the networks of the run within a time limit, and train replicates if the space asks for them.

    Args:
        request: The request.
        run: The run's folder.
        compute: The arithmetic of attacks and trainings.
        seconds: Duration of the search, from which the time limit is derived.

    Returns:
        The text that is printed below the front; None if the verification was interrupted.
    """
    from morel_search.verification.runner import VerificationBudget
    from morel_search.workflows.terminal import replication_text, verification_text
    from morel_search.workflows.verify import replicate_run, verify_run

    settings, space, quiet = request.space.verify, request.space, not request.verbosity
    if not settings.enabled or not run.front_models.is_dir():
        return ""
    limit = 60 * settings.minutes if settings.minutes else max(LEAST_VERIFYING, SHARE_FOR_VERIFYING * seconds)
    command = f"python -m morel_search.verify {run.path}"
    replicated = ""
    try:
        budget = VerificationBudget(settings.images, limit, settings.seed)
        verification = verify_run(space, run, compute, budget, quiet=quiet)
        if settings.replicates:
            replicates = replicate_run(space, run, compute, settings.replicates, quiet=quiet)
            replicated = f"\n{replication_text(replicates)}" if replicates else ""
    except KeyboardInterrupt:
        print_err(f"the verification was interrupted; {command} continues it")
        return None
    except MorelSearchError as error:
        print_err(f"warning: the verification failed: {error}; {command} tries again")
        return ""
    if verification is None:
        reason = "no image has been through every white-box attack within the time limit"
        return f"the front is not verified yet: {reason}; {command} continues{replicated}"
    text = verification_text(verification)
    if verification.late_images < min(settings.images or verification.all_images, verification.all_images):
        text += f"the verification reached its time limit; {command} continues it"
    return f"{text}{replicated}"


def _check_identity(space: Space, record: TrialStore, run: RunFolder) -> None:
    identity, known = space.identity(), record.identity()
    if known is None:
        record.set_identity(identity)
        return
    differences = changes(known, identity)
    if differences:
        raise RunFolderError(
            f"{run.path} holds a search with other settings; start a new one with --name: "
            + "; ".join(differences)
        )


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


def _settings(request: Request, preflight_result: PreflightResult) -> RunSettings:
    from morel_search.cluster.placement import device_for
    from morel_search.results.provenance import commit, hardware, versions
    from morel_search.search.successive_halving import rungs_of

    return RunSettings(
        name=request.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        status="running",
        seed=request.space.search.seed,
        space=request.space.describe(),
        rungs=tuple(rungs_of(request.space)),
        images=ImageCounts(
            train=preflight_result.train,
            validation=preflight_result.validation,
            shape=list(preflight_result.image_shape),
            classes=preflight_result.classes,
        ),
        overrides=tuple(request.space.overrides),
        versions={**versions(), "morel_search": __version__},
        hardware=hardware(),
        commit=commit(),
        device=device_for(request.space.resources),
        compute=_compute_record(preflight_result.compute),
        command=("python", "-m", "morel_search.run", *map(without_passwords, sys.argv[1:])),
        warnings=tuple(request.space.warnings),
    )


def _resumed_settings(before: RunSettings, request: Request, compute: Compute) -> RunSettings:
    """Return the settings with what a resumed run may change: budget, resources, arithmetic, and status."""
    return replace(
        before,
        status="running",
        finished=None,
        compute=_compute_record(compute),
        space=request.space.describe(),
        overrides=tuple(request.space.overrides),
    )


def _compute_record(compute: Compute) -> ComputeRecord:
    return ComputeRecord(
        precision=compute.precision,
        channels_last=compute.channels_last,
        compile=compute.compile,
        deterministic=compute.deterministic,
    )


def _compute_of(record: ComputeRecord) -> Compute:
    from morel_search.training.settings import Compute

    return Compute(record["precision"], record["channels_last"], record["compile"], record["deterministic"])
