"""``python -m morel_search.report results/NAME``: draw a run's report again."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from morel_search import __version__
from morel_search._cli import exit_code_of, print_out

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw the report and say where it is.

    Args:
        arguments: The command line's words; None takes those of the process.

    Returns:
        The exit code: 0, or 2 after a mistake of the user's, which one sentence on the error stream explains.
    """
    parser = argparse.ArgumentParser(
        prog="python -m morel_search.report",
        description="Draw the report of a run again: report.html and figures/front.png, .svg and .pdf, from the files in its folder alone.",
        epilog="Works while the search runs, on any machine that has the folder, with neither torch nor Ray.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the run's folder, such as results/digits")
    parser.add_argument("--version", action="version", version=f"morel_search {__version__}")
    given = parser.parse_args(arguments)
    return exit_code_of(lambda: _draw(given.run))


def _draw(path: Path) -> int:
    from morel_search.analysis.report.page import write_report
    from morel_search.results.folder import open_run_folder

    print_out(str(write_report(open_run_folder(path))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
