"""The command ``python -m morel_search.run``: a search, from its space file to its report."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from morel_search import __version__
from morel_search._cli import exit_code_of

__all__ = ["main"]

DESCRIPTION = "Find the trade-off between clean and robust accuracy: many MOREL trainings, chosen by NSGA-II, scheduled by Ray Tune."
EXAMPLES = """\
examples:
  python -m morel_search.run --space search_spaces/digits.yaml
  python -m morel_search.run --space search_spaces/cifar10.yaml --name first --set resources.gpu=0.5
  python -m morel_search.run --space search_spaces/cifar10.yaml --dry-run
  python -m morel_search.run --space search_spaces/cifar10.yaml --name first --resume
  python -m morel_search.run --space search_spaces/cifar10.yaml --address auto

exit codes: 0 finished, 1 too many trials in a row failed, 2 a mistake that the message names, 130 interrupted (--resume continues)
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="morel-search",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--space", type=Path, required=True, metavar="FILE", help="the space file (YAML), see search_spaces/"
    )
    command.add_argument(
        "--name", metavar="NAME", help="name of the run and of its folder (default: the space file's name)"
    )
    command.add_argument(
        "--results",
        type=Path,
        default=Path("results"),
        metavar="DIR",
        help="folder of all runs (default: results)",
    )
    command.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        dest="overrides",
        help="change a setting, such as train.epochs=3; repeatable",
    )
    command.add_argument("--trials", type=int, metavar="N", help="short for --set search.trials=N")
    command.add_argument("--seed", type=int, metavar="N", help="short for --set search.seed=N")
    command.add_argument(
        "--resume",
        action="store_true",
        help="continue a run that was stopped, or give a finished one more trials",
    )
    command.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, print the plan and its cost, and train nothing",
    )
    command.add_argument(
        "--address",
        metavar="ADDRESS",
        help="run on an existing Ray cluster: auto, HOST:PORT or ray://HOST:PORT (default: Ray starts here)",
    )
    command.add_argument("-v", "--verbose", action="store_true", help="a line an epoch too")
    command.add_argument(
        "-q", "--quiet", action="store_true", help="nothing but warnings, errors and where the report is"
    )
    command.add_argument("--version", action="version", version=f"morel_search {__version__}")
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; see ``--help``."""
    options = parser().parse_args(arguments)
    return exit_code_of(lambda: _run(options))


def _run(options: argparse.Namespace) -> int:
    from morel_search.config import load_space
    from morel_search.workflows.ray_client import is_client_address, run_on_cluster
    from morel_search.workflows.search import Request, dry_run, execute

    if str(Path.cwd()) not in sys.path:
        sys.path.append(
            str(Path.cwd())
        )  # objectives and networks by import path, also for the console script
    overrides = list(options.overrides)
    overrides += [f"search.trials={options.trials}"] * (options.trials is not None)
    overrides += [f"search.seed={options.seed}"] * (options.seed is not None)
    space = load_space(options.space, overrides)
    request = Request(
        space=space,
        name=options.name or options.space.stem,
        results=options.results.absolute(),
        resume=options.resume,
        address=options.address,
        verbosity=0 if options.quiet else 2 if options.verbose else 1,
    )
    if options.dry_run:
        return dry_run(request)
    if is_client_address(options.address):
        return run_on_cluster(request)
    return execute(request)


if __name__ == "__main__":
    sys.exit(main())
