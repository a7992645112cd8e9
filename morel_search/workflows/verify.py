"""The verification of a run: its networks, the attacks, and the replicates."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search._cli import print_err, print_out
from morel_search._format import duration
from morel_search.errors import RunFolderError
from morel_search.results.names import member_trial
from morel_search.workflows.rivals import rivals_to_attack

if TYPE_CHECKING:
    from morel_search.analysis.replication import Replicated
    from morel_search.analysis.verification import Verification
    from morel_search.config import Space
    from morel_search.results.folder import RunFolder
    from morel_search.training.compute_settings import Compute
    from morel_search.verification.runner import VerificationBudget
    from morel_search.workflows.rivals import ChosenRival

__all__ = ["mixtures_of", "networks_of", "replicate_run", "verify_run"]


def networks_of(run: RunFolder) -> dict[str, Path]:
    """Return the files with the weights of the front and of the controls, by the networks' names.

    The weights of a network that left the front, and could not be deleted, are left out.

    Raises:
        RunFolderError: No trial has finished, or the folder holds no weights.
    """
    from morel_search.analysis.run_data import read_run_data

    folders = [*run.front_models.glob("*/model.pt"), *run.control_models.glob("*/model.pt")]
    if known := {entry.name for entry in read_run_data(run).networks}:
        folders = [path for path in folders if path.parent.name in known]
    if not folders:
        finished = (run.read_trials()["state"] == "COMPLETE").any()
        reason = "its front/ holds no weights" if finished else "no trial has finished yet"
        raise RunFolderError(f"{run.path}: there is nothing to verify, {reason}")
    return {path.parent.name: path for path in folders}


def mixtures_of(run: RunFolder) -> dict[str, Path]:
    """Return the files with the weights of the mixtures, by their names; empty before a mix.

    Raises:
        RunFolderError: See :func:`~morel_search.results.mixtures.mixture_folders`.
    """
    from morel_search.results.mixtures import mixture_folders

    files = [folder / "model.pt" for folder in mixture_folders(run)]
    return {path.parent.name: path for path in files if path.is_file()}


def verify_run(
    space: Space,
    run: RunFolder,
    compute: Compute,
    budget: VerificationBudget,
    *,
    rivals: Sequence[ChosenRival] = (),
    rivals_required: bool = False,
    quiet: bool = False,
) -> Verification | None:
    """Attack the networks of a run and write ``verified.csv``.

    Ray must be running, and the run's lock must be held.

    Args:
        space: The run's space.
        run: The run's folder.
        compute: The arithmetic of the attacks' gradients.
        budget: The limits of the verification.
        rivals: Networks that the run did not train, see :func:`~.rivals.chosen_rivals`.
        rivals_required: Whether a rival that cannot be used is an error, and not a warning.
        quiet: Whether to hide the progress bar on standard error.

    Returns:
        The results of this and earlier verifications; None if no image has been through every white-box
        attack yet.

    Raises:
        MorelSearchError: See :func:`networks_of`, :func:`~.rivals.rivals_to_attack` and
            :func:`morel_search.verification.runner.verify_networks`.
    """
    from tqdm import tqdm

    from morel_search.analysis.run_data import read_run_data
    from morel_search.analysis.verification_reader import read_verification
    from morel_search.results.earlier import keep_aside
    from morel_search.verification.runner import verify_networks

    models = networks_of(run)
    sources = _transfer_sources(run, models)
    others = rivals_to_attack(space, run, next(iter(models.values())), rivals, required=rivals_required)
    models |= mixtures_of(run)  # they come last: a time limit is spent on the single networks first
    with tqdm(
        total=0,
        unit="chunk",
        desc="verifying",
        file=sys.stderr,
        disable=quiet,
        dynamic_ncols=True,
        smoothing=0.1,
    ) as bar:

        def on_chunk(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        try:
            verify_networks(space, run, models, sources, compute, budget, on_chunk, others)
        finally:
            verification = read_verification(read_run_data(run))
            if verification is not None:
                run.write_table(run.verified, verification.table())
            elif run.verified.exists():
                # The table is about networks or attacks of which no record is left: it is not deleted.
                kept = keep_aside(run.verified)
                print_err(
                    f"warning: {run.path} has no records of the attacks that {run.verified.name} is about; "
                    f"that table is {kept.name} now"
                )
    return verification


def _transfer_sources(run: RunFolder, models: dict[str, Path]) -> dict[str, Path]:
    """Return the weights of the controls, by the controls' names.

    Their adversarial examples are transferred.
    """
    trials = run.read_trials()
    controls = trials[trials["origin"] == "control"]
    by_trial = {member_trial(name): path for name, path in models.items()}
    return {
        str(name): by_trial[number]
        for name, number in zip(controls["name"], controls["number"], strict=True)
        if number in by_trial
    }


def replicate_run(
    space: Space, run: RunFolder, compute: Compute, count: int, *, quiet: bool = False
) -> tuple[Replicated, ...]:
    """Train the networks of a run with other seeds and write ``replicates.csv``.

    Ray must be running, and the run's lock must be held.

    Args:
        space: The run's space.
        run: The run's folder.
        compute: The arithmetic of the trainings.
        count: Number of trainings of each network, those of earlier starts included.
        quiet: Whether to hide the progress bar on standard error.

    Returns:
        The results of this and earlier starts.

    Raises:
        MorelSearchError: See :func:`networks_of` and
            :func:`morel_search.verification.replicates.train_replicates`.
    """
    from tqdm import tqdm

    from morel_search._consent import consent_to
    from morel_search.analysis.replication import read_replication
    from morel_search.analysis.run_data import read_run_data
    from morel_search.analysis.verification_reader import read_verification
    from morel_search.cluster.placement import concurrency
    from morel_search.models.export import settings_of
    from morel_search.models.recipe import read_training_config
    from morel_search.verification.replicates import missing_replicates, train_replicates

    folders = {name: path.parent for name, path in networks_of(run).items()}
    settings = {name: settings_of(folder) for name, folder in folders.items()}
    consent = consent_to(space.describe())
    configs = {
        name: read_training_config(settings[name], folder, consent) for name, folder in folders.items()
    }
    wanted = missing_replicates(run, configs, count)
    if wanted and not quiet:
        seconds = run.read_trials().set_index("number")["seconds"]
        total = sum(float(seconds.get(settings[replicate.network].number, 0.0)) for replicate in wanted)
        times = "once" if count == 1 else f"{count} times"
        print_out(
            f"training {len(settings)} networks {times} with other seeds: {len(wanted)} trainings to "
            f"do, about {duration(total / concurrency(space.resources))}"
        )
    with tqdm(
        total=len(wanted),
        unit="training",
        desc="training with other seeds",
        file=sys.stderr,
        disable=quiet,
        dynamic_ncols=True,
    ) as bar:
        train_replicates(space, run, wanted, compute, bar.update)
    run_data = read_run_data(run)
    verification = read_verification(run_data)
    return read_replication(run_data, verification.flagged if verification else ())
