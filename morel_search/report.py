"""The command ``morel-search report``: draw a run's report again."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from morel_search._cli import PathText, command, main_of, print_out

__all__ = ["main", "report"]


@command(
    "Draw the report of a run again: report.html and figures/front.png, .svg and .pdf.\n\n"
    "RUN is the run's folder, such as results/digits. Reads its files only. Works while the search runs, on "
    "any machine, without torch and Ray."
)
@click.argument("folder", type=PathText(), metavar="RUN")
def report(*, folder: Path) -> int:
    """Draw the report and print its path."""
    from morel_search.analysis.report.page import write_report
    from morel_search.results.folder import open_run_folder

    print_out(str(write_report(open_run_folder(folder))))
    return 0


main = partial(main_of, report, "python -m morel_search.report")
"""Run the command with the words of a command line; see :func:`morel_search._cli.main_of`."""


if __name__ == "__main__":
    sys.exit(main())
