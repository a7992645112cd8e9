"""``python -m morel_search.train FOLDER``: train the configuration of one network again, by itself."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from morel_search import __version__
from morel_search._cli import exit_code_of, terminate_as_interrupt
from morel_search.errors import MorelSearchError

__all__ = ["main"]

EPILOG = """\
Needs neither Ray nor Optuna. The same seed on the same kind of machine gives the same weights, to the last bit on a processor.
Relative paths of the data start from the current folder, as they did for the search. After Ctrl-C nothing is left.

exit codes: 0 finished, 2 a mistake or a failed training that the message names, 130 interrupted
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="python -m morel_search.train",
        description="Train the configuration of one network again, with its seed or another one, and score it on the test split.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "folder", type=Path, metavar="FOLDER", help="a picked network, or a run's front/NUMBER"
    )
    command.add_argument(
        "--seed", type=_seed, metavar="N", help="seed of the training (default: the network's own)"
    )
    command.add_argument(
        "--out",
        type=Path,
        metavar="NEW",
        help="where to write it (default: FOLDER-seedN; of a run's front/NUMBER, RUN/picked/NUMBER-seedN)",
    )
    command.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda", "mps"),
        default="auto",
        help="default: auto, where it was trained, or else the best there is",
    )
    command.add_argument("--version", action="version", version=f"morel_search {__version__}")
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Train a network again.

    Args:
        arguments: The command line's words; None takes those of the process.

    Returns:
        The exit code: 0, 2 after a mistake or a failed training, which one sentence on the error stream explains, 130 after Ctrl-C.
    """

    def run() -> int:
        options = parser().parse_args(arguments)
        from morel_search.workflows.retrain import retrain

        with terminate_as_interrupt():
            retrain(options.folder, seed=options.seed, target=options.out, device=options.device)
        return 0

    return exit_code_of(run)


def _seed(text: str) -> int:
    if not (text.isdecimal() and int(text) < 2**63):
        raise MorelSearchError(f"--seed must be a whole number from 0, got {text}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
