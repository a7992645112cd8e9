"""The command ``morel-search mix``: make mixtures of two networks of a run."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from morel_search._cli import (
    PathText,
    add_working_directory,
    command,
    device_option,
    main_of,
    quiet_flag,
    terminate_as_interrupt,
    trust_flag,
)
from morel_search.errors import MorelSearchError

__all__ = ["main", "mix"]

DESCRIPTION = """\
Make mixtures of two networks of a finished run, without training.

A mixture averages the predictions of two networks of the front and the controls. Weights are chosen on the
validation images alone, by the final attack of the search through the mixture. Mixtures that no single
network and no other mixture dominates are written to RUN/mixtures/; those of an earlier mix are replaced.
Each prediction costs two forward passes. Then morel-search verify attacks them like any network, and
morel-search pick takes one. Needs no Ray."""
EXAMPLES = """\
Examples:
  python -m morel_search.mix results/first
  python -m morel_search.mix results/first --members 2,33 --keep 3
"""


def _names(_: click.Context, option: click.Parameter, text: str | None) -> list[str]:
    if text is None:
        return []
    names = [part.strip() for part in text.split(",")]
    if not all(names):
        raise MorelSearchError(f"{option.opts[0]} must be names with commas, such as 2,33, got {text!r}")
    return names


@command(DESCRIPTION, EXAMPLES)
@click.argument("run", type=PathText(), metavar="RUN")
@click.option(
    "--members",
    callback=_names,
    metavar="A,B,...",
    help="Networks to mix.  [default: the front and the controls, 16 of them at most]",
)
@click.option(
    "--keep", type=click.IntRange(1), default=6, metavar="N", help="Number of mixtures to keep, at most."
)
@device_option("that of the search, or the fastest one of this machine")
@quiet_flag
@trust_flag
def mix(*, run: Path, members: list[str], keep: int, device: str, quiet: bool, trust_code: bool) -> int:
    """Mix the networks of a run."""
    from morel_search.workflows.mix import mix_run

    if trust_code:
        add_working_directory()
    with terminate_as_interrupt():
        mix_run(run, members=members, most=keep, device=device, quiet=quiet, trust_code=trust_code)
    return 0


main = partial(main_of, mix, "python -m morel_search.mix")
"""Run the command with the words of a command line; see :func:`morel_search._cli.main_of`."""


if __name__ == "__main__":
    sys.exit(main())
