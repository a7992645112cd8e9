"""Verifying a run's networks from start to end: which there are, the attacks, training again, and what the terminal says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search._cli import print_out
from morel_search.errors import RunFolderError

if TYPE_CHECKING:
    from morel_search.analysis.replication import Replicated
    from morel_search.analysis.verification import Verification
    from morel_search.config import Space
    from morel_search.results.folder import RunFolder
    from morel_search.training.settings import Compute
    from morel_search.verification.runner import VerificationBudget

__all__ = ["networks_of", "replicate_run", "verification_text", "verify_run"]


def networks_of(run: RunFolder) -> dict[str, Path]:
    """The weights of the front and of the controls, by the networks' names.

    Raises:
        RunFolderError: No trial has finished, or no weights are there.
    """
    folders = [*run.front_models.glob("*/model.pt"), *run.control_models.glob("*/model.pt")]
    if not folders:
        finished = (run.read_trials()["state"] == "COMPLETE").any()
        what = "its front/ holds no weights" if finished else "no trial has finished yet"
        raise RunFolderError(f"{run.path}: there is nothing to verify, {what}")
    return {path.parent.name: path for path in folders}


def verify_run(
    space: Space, run: RunFolder, compute: Compute, budget: VerificationBudget, *, quiet: bool = False
) -> Verification | None:
    """Verify what there is and write ``verified.csv``; Ray must be running, and the run's lock be held.

    Args:
        space: The run's space.
        run: Its folder.
        compute: The arithmetic of the attacks' gradients.
        budget: How much.
        quiet: No bar on standard error.

    Returns:
        What is known now, also of earlier starts; None where no image has seen all attacks by gradient yet.

    Raises:
        MorelSearchError: See :func:`networks_of` and
            :func:`morel_search.verification.runner.verify_networks`.
    """
    from tqdm import tqdm

    from morel_search.analysis.run_data import read_run_data
    from morel_search.analysis.verification import read_verification
    from morel_search.verification.runner import verify_networks

    models = networks_of(run)
    trials = run.read_trials()
    controls = trials[trials["origin"] == "control"]
    named = {name.partition("-")[0]: path for name, path in models.items()}
    sources = {
        str(name): named[str(number)]
        for name, number in zip(controls["name"], controls["number"], strict=True)
        if str(number) in named
    }
    with tqdm(
        total=0,
        unit="piece",
        desc="verifying",
        file=sys.stderr,
        disable=quiet,
        dynamic_ncols=True,
        smoothing=0.1,
    ) as bar:

        def on_chunk(done: int, of: int) -> None:
            bar.total = of
            bar.update(done - bar.n)

        try:
            verify_networks(space, run, models, sources, compute, budget, on_chunk)
        finally:
            found = read_verification(read_run_data(run))
            if found is not None:
                run.write_table(run.verified, found.table())
            else:
                run.verified.unlink(
                    missing_ok=True
                )  # what it says is of networks or attacks that are no more
    return found


def replicate_run(
    space: Space, run: RunFolder, compute: Compute, count: int, *, quiet: bool = False
) -> tuple[Replicated, ...]:
    """Train what there is again with other seeds and keep ``replicates.csv``; Ray must be running, and the run's lock be held.

    Args:
        space: The run's space.
        run: Its folder.
        compute: The arithmetic of the trainings.
        count: Trainings of each network; those of earlier starts count.
        quiet: No bar on standard error.

    Returns:
        What is known now.

    Raises:
        MorelSearchError: See :func:`networks_of` and
            :func:`morel_search.verification.replicates.train_replicates`.
    """
    from tqdm import tqdm

    from morel_search._format import duration
    from morel_search.analysis.replication import read_replication
    from morel_search.analysis.run_data import read_run_data
    from morel_search.analysis.verification import read_verification
    from morel_search.cluster.placement import concurrency
    from morel_search.models.export import settings_of
    from morel_search.models.recipe import read_training_config
    from morel_search.verification.replicates import missing_replicates, train_replicates

    settings = {name: (settings_of(path.parent), path.parent) for name, path in networks_of(run).items()}
    wanted = missing_replicates(
        run, {name: read_training_config(*both) for name, both in settings.items()}, count
    )
    if wanted and not quiet:
        took = run.read_trials().set_index("number")["seconds"]
        cost = sum(float(took.get(settings[one.network][0]["number"], 0.0)) for one in wanted) / concurrency(
            space.resources
        )
        print_out(
            f"training {len(settings)} networks again, {count} times each: {len(wanted)} trainings to do, about {duration(cost)}"
        )
    with tqdm(
        total=len(wanted),
        unit="training",
        desc="training again",
        file=sys.stderr,
        disable=quiet,
        dynamic_ncols=True,
    ) as bar:
        train_replicates(space, run, wanted, compute, bar.update)
    run_data = read_run_data(run)
    found = read_verification(run_data)
    return read_replication(run_data, found.flagged if found else ())


def verification_text(found: Verification) -> str:
    """The verified networks as a table, and what the search's own figures were worth."""
    from morel_search.analysis.report.verification import weakness

    width = max(7, *(len(network.name) for network in found.networks))
    rows = [
        "",
        f"verified on {found.images} of {found.all_images} images of the test split by AutoAttack's composition",
        "",
    ]
    if found.late_images < found.images:
        rows[1] += f" (FAB-T and Square on {found.late_images} of them)"
    rows.append(
        f"{'network':>{width}}  {'':<13} {'clean':>7} {'robust':>7}  {'95 % interval':<16} {'search said':>11}"
    )
    table = found.table()
    for network, row in zip(found.networks, table.to_dict("records"), strict=True):
        interval = f"{100 * row['robust_low']:.1f} to {100 * row['robust_high']:.1f} %"
        clean, robust = (f"{100 * value:.1f} %" for value in network.accuracy)
        verdict = (
            "flagged"
            if network.flags
            else f"dominated by {row['beaten_by']}"
            if row["beaten_by"]
            else "front"
            if row["on_front"]
            else "control"
        )
        said = f"{100 * network.validation[1]:.1f} %"
        rows.append(
            f"{network.name:>{width}}  {network.label:<13.13} {clean:>7} {robust:>7}  {interval:<16} {said:>11}  {verdict}"
        )
    rows += [f"{network.name}: {flag}" for network in found.networks for flag in network.flags]
    return "\n".join([*rows, *(f"warning: {sentence}" for sentence in weakness(found)), ""])
