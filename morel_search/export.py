"""The command ``morel-search export``: write a run as a study for Optuna's own tools."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from morel_search._cli import PathText, command, main_of, print_out

__all__ = ["export", "main"]

DESCRIPTION = """\
Write a run as an Optuna study in real units, for optuna.visualization, optuna-dashboard and notebooks.

RUN is the run's folder. study.db is the store of the search and holds grid steps and inactive parameters; the
exported study has the values that were trained with, active parameters only, and the controls with theirs.
Reads the tables of the run folder only, also while the search runs, without torch and Ray."""
EXAMPLES = """\
Examples:
  morel-search export results/first
  optuna-dashboard sqlite:///results/first/optuna.db
"""


@command(DESCRIPTION, EXAMPLES)
@click.argument("folder", type=PathText(), metavar="RUN")
@click.option(
    "--optuna", "target", type=PathText(), metavar="FILE", help="The file.  [default: RUN/optuna.db]"
)
@click.option("--replace", is_flag=True, help="Replace the file of an earlier export.")
def export(*, folder: Path, target: Path | None, replace: bool) -> int:
    """Write the study and print its path."""
    from morel_search.analysis.optuna_study import write_optuna_file
    from morel_search.analysis.run_data import read_run_data
    from morel_search.analysis.verification_reader import read_verification
    from morel_search.results.folder import open_run_folder

    run = open_run_folder(folder)
    run_data = read_run_data(run)
    path = run.path / "optuna.db" if target is None else target
    write_optuna_file(run_data, read_verification(run_data), path, replace=replace)
    print_out(str(path))
    return 0


main = partial(main_of, export, "python -m morel_search.export")
"""Run the command with the words of a command line; see :func:`morel_search._cli.main_of`."""


if __name__ == "__main__":
    sys.exit(main())
