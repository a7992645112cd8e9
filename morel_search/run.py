"""The command ``morel-search run``: a search, from its space file to its report."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from morel_search._cli import PathText, add_working_directory, command, main_of, quiet_flag

__all__ = ["main", "run"]

DESCRIPTION = """\
Find the trade-off between clean and robust accuracy: Ray Tune schedules MOREL trainings, Optuna's NSGA-II
proposes their settings."""
EXAMPLES = """\
Examples:
  morel-search init digits
  morel-search run --space digits.yaml
  morel-search run --space digits.yaml --dry-run
  morel-search run --space digits.yaml --name first --set train.epochs=5
  morel-search run --space digits.yaml --name first --resume
  morel-search run --space digits.yaml --address auto

Exit codes:
  0    finished
  1    too many trials in a row failed
  2    a mistake, which the message explains
  3    Ray was lost (one of its processes died, or the cluster is gone); --resume continues
  130  interrupted; --resume continues
"""


@command(DESCRIPTION, EXAMPLES)
@click.option(
    "--space",
    type=PathText(),
    required=True,
    metavar="FILE",
    help="Space file (YAML); morel-search init writes one.",
)
@click.option(
    "--name", metavar="NAME", help="Name of the run and of its folder.  [default: the space file's name]"
)
@click.option(
    "--results",
    type=PathText(),
    default=Path("results"),
    metavar="DIR",
    help="Folder of all runs.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a setting, such as train.epochs=3; may be given several times.",
)
@click.option("--trials", type=int, metavar="N", help="Short for --set search.trials=N.")
@click.option("--seed", type=int, metavar="N", help="Short for --set search.seed=N.")
@click.option(
    "--resume", is_flag=True, help="Continue a run that was stopped, or add trials to a finished one."
)
@click.option(
    "--continue",
    "or_start",
    is_flag=True,
    help="Resume the run if it exists, else start it: one command for jobs that are requeued.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Check everything and print the plan and its estimated cost; train nothing.",
)
@click.option(
    "--address",
    metavar="ADDRESS",
    help="Run on an existing Ray cluster: auto, HOST:PORT or ray://HOST:PORT.  "
    "[default: start Ray on this machine]",
)
@click.option(
    "--track",
    multiple=True,
    metavar="TRACKER[=PLACE]",
    help="Send trials to a tracker as they finish: tensorboard[=FOLDER], mlflow[=URI] or wandb[=PROJECT]; "
    "may be given several times.",
)
@click.option("-v", "--verbose", is_flag=True, help="Also print a line for each epoch.")
@quiet_flag
def run(
    *,
    space: Path,
    name: str | None,
    results: Path,
    overrides: tuple[str, ...],
    trials: int | None,
    seed: int | None,
    resume: bool,
    or_start: bool,
    dry_run: bool,
    address: str | None,
    track: tuple[str, ...],
    verbose: bool,
    quiet: bool,
) -> int:
    """Run a search."""
    from morel_search.config import load_space
    from morel_search.workflows import search
    from morel_search.workflows.ray_client import is_client_address, run_on_cluster
    from morel_search.workflows.request import Request

    add_working_directory()
    given = [*overrides]
    given += [f"search.trials={trials}"] * (trials is not None)
    given += [f"search.seed={seed}"] * (seed is not None)
    request = Request(
        space=load_space(space, given),
        name=name or space.stem,
        results=results.absolute(),
        resume=resume,
        or_start=or_start,
        address=address,
        track=track,
        verbosity=0 if quiet else 2 if verbose else 1,
    )
    if dry_run:
        return search.dry_run(request)
    if is_client_address(address):
        return run_on_cluster(request)
    return search.execute(request)


main = partial(main_of, run, "python -m morel_search.run")
"""Run the command with the words of a command line; see :func:`morel_search._cli.main_of`."""


if __name__ == "__main__":
    sys.exit(main())
