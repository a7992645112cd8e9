"""The command ``morel-search track``: send a run to TensorBoard, MLflow or Weights & Biases."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from morel_search._cli import PathText, command, main_of, print_err, print_out

__all__ = ["main", "track"]

DESCRIPTION = """\
Send the trials of a run to TensorBoard, MLflow or Weights & Biases: one entry for each trial, with its
parameters, its epochs, its accuracies and the weights of the front.

RUN is the run's folder; its search may be running. A second call sends only what is new. Needs neither torch
nor Ray; each tracker is an extra of the package."""
EXAMPLES = """\
Examples:
  morel-search track results/first --to tensorboard
  morel-search track results/first --to mlflow=sqlite:///mlflow.db
  morel-search track results/first --to wandb=robustness --follow
"""


@command(DESCRIPTION, EXAMPLES)
@click.argument("folder", type=PathText(), metavar="RUN")
@click.option(
    "--to",
    "targets",
    multiple=True,
    required=True,
    metavar="TRACKER[=PLACE]",
    help="tensorboard[=FOLDER], mlflow[=URI] or wandb[=PROJECT]; may be given several times.",
)
@click.option("--follow", "following", is_flag=True, help="Keep sending until the search has ended.")
def track(*, folder: Path, targets: tuple[str, ...], following: bool) -> int:
    """Send the run and print how many trials were sent."""
    from morel_search.results.folder import open_run_folder
    from morel_search.tracking.follow import SearchEnd, follow
    from morel_search.tracking.send import check_target, send_run
    from morel_search.tracking.targets import parse_target

    run = open_run_folder(folder)
    parsed = [parse_target(text) for text in targets]
    if following and len(parsed) > 1:
        raise click.UsageError("--follow takes one --to; start a process for each tracker")
    for target in parsed:
        check_target(target)
    for target in parsed:
        if following:
            follow(run, target, SearchEnd(run, print_err), print_err)
        counts = send_run(run, target)
        print_out(f"{target}: {counts.new} trials sent, {counts.updated} updated, {counts.same} unchanged")
    return 0


main = partial(main_of, track, "python -m morel_search.track")
"""Run the command with the words of a command line; see :func:`morel_search._cli.main_of`."""


if __name__ == "__main__":
    sys.exit(main())
