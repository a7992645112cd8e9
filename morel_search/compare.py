"""The command ``morel-search compare``: compare the fronts, the cost and the settings of several runs."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from morel_search._cli import PathText, command, main_of, print_out

__all__ = ["compare", "main"]

DESCRIPTION = """\
Compare runs: their fronts with intervals, hypervolumes above the common reference point (0, 0), cost, and
the settings that differ, as a table and as one page; the data of its figures are written beside it as CSV.

Verified accuracies are compared if every run has them, otherwise the validation accuracies of all runs. Runs
on other images, or with attacks of another norm or radius, are refused. Reads the run folders only, without
torch and Ray."""
EXAMPLES = """\
Examples:
  morel-search compare results/first results/second
  morel-search compare results/first results/second results/third --out three.html
"""


@command(DESCRIPTION, EXAMPLES)
@click.argument("folders", type=PathText(), metavar="RUN RUN ...", nargs=-1, required=True)
@click.option(
    "--out",
    type=PathText(),
    default=Path("comparison.html"),
    metavar="FILE",
    help="The page; beside page.html stands page-fronts.csv. Only files of a comparison are replaced.",
)
def compare(*, folders: tuple[Path, ...], out: Path) -> int:
    """Write the page of the comparison, and print the comparison and the path of the page."""
    from morel_search.analysis.comparison.runs import read_comparison
    from morel_search.analysis.comparison.words import comparison_text
    from morel_search.analysis.report.comparison_files import write_comparison

    comparison = read_comparison(folders)
    path = write_comparison(comparison, folders, out)  # first, so that a refusal is the only output
    print_out(comparison_text(comparison))
    print_out(str(path))
    return 0


main = partial(main_of, compare, "python -m morel_search.compare")
"""Run the command with the words of a command line; see :func:`morel_search._cli.main_of`."""


if __name__ == "__main__":
    sys.exit(main())
