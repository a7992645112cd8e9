"""The steps of a run: check, search, score on the test split, report."""

from __future__ import annotations

import shutil
import sys
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morel_search._cli import INTERRUPTED, print_err, print_out, terminate_as_interrupt
from morel_search._version import __version__
from morel_search.config import Space, changes
from morel_search.errors import MorelSearchError, RunFolderError
from morel_search.results.folder import RunFolder, check_new_run, create_run_folder, open_run_folder
from morel_search.results.settings import ComputeRecord, ImageCounts, RunSettings

if TYPE_CHECKING:
    from morel_search.search.controller import SearchController
    from morel_search.search.study import TrialStore
    from morel_search.training.settings import Compute
    from morel_search.workflows.preflight import PreflightResult

__all__ = ["Request", "dry_run", "execute"]

SHARE_FOR_VERIFYING, LEAST_VERIFYING = 0.25, 120.0
"""How long the verification after a search may take: a share of the search's time, but at least so many seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the user asked for.

    Attributes:
        space: The checked space.
        name: The run's name.
        results: Absolute folder of all runs.
        resume: Whether to continue a run that is there.
        address: A Ray cluster's address, or None to start Ray here.
        verbosity: 0 quiet, 1 a line a trial, 2 a line an epoch too.
    """

    space: Space
    name: str
    results: Path
    resume: bool = False
    address: str | None = None
    verbosity: int = 1


def dry_run(request: Request) -> int:
    """Check everything and print the plan; trains nothing and writes nothing."""
    import os

    from morel_search.workflows.preflight import check_device, inspect, plan_text, time_epoch

    _refuse_early(request)
    if request.address is None:
        check_device(request.space)
    preflight_result = inspect(request.space)
    concurrent = request.space.resources.concurrent or max(
        1, int((os.cpu_count() or 1) // request.space.resources.cpu)
    )
    print_out(
        plan_text(
            request.space, preflight_result, time_epoch(request.space, preflight_result.compute), concurrent
        )
    )
    return 0


def execute(request: Request) -> int:
    """Run the search to its end, or until it is interrupted, and report what there is.

    Returns:
        0 when every trial of the budget is over or a limit was reached, 1 when failures ended the search, 130
        when it was interrupted.

    Raises:
        MorelSearchError: Something is wrong that the user can mend; nothing was written then, unless the
            search had begun.
    """
    from morel_search.cluster.placement import MACHINE_SECONDS, check_resources
    from morel_search.cluster.session import ray_session
    from morel_search.cluster.shared_folder import check_shared
    from morel_search.cluster.tasks import on_cluster
    from morel_search.workflows import preflight

    _refuse_early(request)
    space, resources = request.space, request.space.resources
    preflight_result = None
    if request.address is None:  # what is wrong here is said before Ray starts
        preflight.check_device(space)
        preflight_result = preflight.inspect(space)
    # Twice: Ray sets a handler of its own when it starts, one that ends the process at once.
    with terminate_as_interrupt(), ray_session(request.address), terminate_as_interrupt():
        check_resources(resources, 0 if request.address is None else MACHINE_SECONDS)
        if preflight_result is None:
            check_shared(request.results, resources)
            preflight_result = on_cluster(
                preflight.inspect, space, num_cpus=resources.cpu, num_gpus=resources.gpu
            )
        for warning in preflight.warnings(space, preflight_result):
            print_err(f"warning: {warning}")
        run = _open(request, preflight_result)
        with run.lock():
            controller, record = _begin(request, run)
            return _search(request, run, controller, record, preflight_result.compute)


def _refuse_early(request: Request) -> None:
    """What is wrong with the run folder, or with that of ``search.start_from``, is said before anything starts."""
    from morel_search.search.warm_start import enqueued_configurations

    if not request.resume:
        check_new_run(request.results, request.name)
        enqueued_configurations(request.space)
    elif not (request.results / request.name).is_dir():
        raise RunFolderError(f"{request.results / request.name} does not exist: there is nothing to resume")


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
            f"warning: the trainings so far were computed in {earlier}; on this machine it is {compute} from now on"
        )
    run.write_settings(_resumed_settings(before, request, compute))
    artifacts = RunArtifacts(request.space, run, record, controller, compute)
    began = time.monotonic()
    with Progress(controller.budget, controller.finished, request.verbosity) as progress:

        def finished(trial: Any) -> None:
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
        print_out("scoring the front and the controls on the test split, drawing the report")
    artifacts.finish(
        "finished" if complete and not failed else "failed" if failed else "stopped",
        test=complete and not failed,
    )
    if lost := artifacts.lost():
        print_err(
            f"warning: the networks of trials {', '.join(map(str, lost))} are on the front and gone, because their checkpoints were "
            "removed; they have no test accuracies"
        )
    verified: str | None = ""
    try:
        if complete and not failed:
            verified = _verify(request, run, compute, time.monotonic() - began)
    finally:
        _conclude(request, run)  # whatever became of the verification
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
            f"interrupted after {controller.finished} of {controller.budget} trials; the same command with --resume continues"
        )
        return INTERRUPTED
    return INTERRUPTED if verified is None else 0


def _verify(request: Request, run: RunFolder, compute: Compute, seconds: float) -> str | None:
    """Attack the front with what the search's time allows, and train it again where that was asked for.

    Returns:
        What to say of it below the front; None where it was interrupted.
    """
    from morel_search.analysis.report.replication import replication_text
    from morel_search.verification.runner import VerificationBudget
    from morel_search.workflows.verify import replicate_run, verification_text, verify_run

    settings = request.space.verify
    if not settings.enabled or not run.front_models.is_dir():
        return ""
    limit = 60 * settings.minutes if settings.minutes else max(LEAST_VERIFYING, SHARE_FOR_VERIFYING * seconds)
    quiet = not request.verbosity
    try:
        found = verify_run(
            request.space,
            run,
            compute,
            VerificationBudget(settings.images, limit, settings.seed),
            quiet=quiet,
        )
        again = (
            replicate_run(request.space, run, compute, settings.replicates, quiet=quiet)
            if settings.replicates
            else ()
        )
    except KeyboardInterrupt:
        print_err(f"the verification was interrupted; python -m morel_search.verify {run.path} continues it")
        return None
    except MorelSearchError as error:
        print_err(
            f"warning: the verification failed: {error}; python -m morel_search.verify {run.path} tries again"
        )
        return ""
    more = f"python -m morel_search.verify {run.path} continues where the time was over"
    said = (
        f"the time was too short to verify the front: {more}" if found is None else verification_text(found)
    )
    if found is not None and found.late_images < min(settings.images or found.all_images, found.all_images):
        said += more
    return f"{said}\n{replication_text(again)}" if again else said


def _check_identity(space: Space, record: TrialStore, run: RunFolder) -> None:
    identity, known = space.identity(), record.identity()
    if known is None:
        record.set_identity(identity)
        return
    differences = changes(known, identity)
    if differences:
        raise RunFolderError(
            f"{run.path} holds another search, start a new one with --name: {'; '.join(differences)}"
        )


def _conclude(request: Request, run: RunFolder) -> None:
    from morel_search.analysis.report.page import write_report
    from morel_search.workflows.terminal import front_text, stopping_text

    report = write_report(run)
    if request.verbosity:
        print_out(front_text(run.read_front(), run.read_trials()))
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
        command=("python", "-m", "morel_search.run", *sys.argv[1:]),
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
