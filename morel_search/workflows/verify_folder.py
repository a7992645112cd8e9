"""The command ``verify``: open a run folder, start Ray, attack, train replicates, draw the report again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search._cli import print_out, terminate_as_interrupt
from morel_search.training.data_settings import is_hub_name

if TYPE_CHECKING:
    from morel_search.config import Space
    from morel_search.results.settings import RunSettings

__all__ = ["verify_folder"]


def verify_folder(
    path: Path,
    *,
    minutes: float | None = None,
    images: int | None = None,
    replicates: int | None = None,
    address: str | None = None,
    rivals: Sequence[str] = (),
    quiet: bool = False,
    trust_code: bool = False,
) -> None:
    """Verify the front and the controls of a run, and draw its report again.

    Args:
        path: The run's folder.
        minutes: Time limit of the attacks; None for none.
        images: Number of test images; None takes ``verify.images`` of the run's space.
        replicates: Trainings of each network with other random seeds; None takes ``verify.replicates``.
        address: Address of a Ray cluster; None starts Ray on this machine.
        rivals: Networks to verify beside those of the run, each ``NAME=NETWORK``; ``NAME=none`` leaves one
            out.
        quiet: Print nothing but warnings and the report's path.
        trust_code: Whether code that the run folder names may be run.

    Raises:
        MorelSearchError: The run cannot be verified, see :func:`morel_search.workflows.verify.verify_run`.
    """
    from morel_search._consent import consent_of
    from morel_search.analysis.report.page import write_report
    from morel_search.cluster.placement import MACHINE_SECONDS, check_resources
    from morel_search.cluster.session import ray_session
    from morel_search.cluster.tasks import on_cluster
    from morel_search.config import load_space
    from morel_search.config.rivals import read_rival_options
    from morel_search.results.folder import open_run_folder
    from morel_search.verification.runner import VerificationBudget
    from morel_search.workflows import preflight
    from morel_search.workflows.data_paths import relative_path_hint
    from morel_search.workflows.rivals import chosen_rivals
    from morel_search.workflows.terminal import replication_text, verification_text
    from morel_search.workflows.verify import networks_of, replicate_run, verify_run

    run = open_run_folder(path)
    settings = run.read_settings()
    consent = consent_of(trust_code=trust_code)
    space = load_space(run.space, settings.overrides, consent=consent)
    space = _with_recorded_data(_with_recorded_evaluation(space, settings), settings)
    networks_of(run)
    named = read_rival_options(rivals, [control.name for control in space.controls])
    chosen = chosen_rivals(space, run, named, consent)
    if address is None:
        preflight.check_device(space)
    budget = VerificationBudget(
        images=images or space.verify.images,
        seconds=None if minutes is None else 60 * minutes,
        seed=space.verify.seed,
    )
    with run.lock(), terminate_as_interrupt(), ray_session(address), terminate_as_interrupt():
        resources = space.resources
        check_resources(resources, 0 if address is None else MACHINE_SECONDS)
        with relative_path_hint(space.data):
            own = replace(space, rivals=())  # those that are attacked are checked below
            checked = on_cluster(preflight.inspect, own, num_cpus=resources.cpu, num_gpus=resources.gpu)
        verification = verify_run(
            space, run, checked.compute, budget, rivals=chosen, rivals_required=True, quiet=quiet
        )
        count = replicates or space.verify.replicates
        replicated = replicate_run(space, run, checked.compute, count, quiet=quiet) if count else ()
    report = write_report(run)
    if not quiet:
        if verification is None:
            print_out("no image has been through every white-box attack yet; raise --minutes")
        else:
            print_out(verification_text(verification))
        if replicated:
            print_out(replication_text(replicated))
    print_out(f"report: {report}")


def _with_recorded_data(space: Space, settings: RunSettings) -> Space:
    """Return the space with the commit of a data set of the Hugging Face hub that the search used."""
    if not is_hub_name(space.data.name):
        return space
    from morel_search.training.datasets.hub import with_recorded

    return replace(space, data=with_recorded(space.data, settings.section("data")))


def _with_recorded_evaluation(space: Space, settings: RunSettings) -> Space:
    """Return the space with the evaluation that the search used: defaults may have changed since.

    Raises:
        RunFolderError: The recorded evaluation is damaged.
    """
    from morel_search.errors import RunFolderError
    from morel_search.models.sections import read_section
    from morel_search.training.settings import EvaluationSettings

    recorded = settings.space.get("evaluation")
    if not recorded:
        return space
    try:
        return replace(space, evaluation=read_section(EvaluationSettings, recorded))
    except (TypeError, ValueError) as error:
        raise RunFolderError(f"the section evaluation of settings.json is damaged: {error}") from error
