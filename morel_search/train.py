"""The command ``morel-search train``: train the configuration of one network again."""

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
    terminate_as_interrupt,
    trust_flag,
)
from morel_search._consent import names_code
from morel_search.training.names import DISTILLATION_LOSSES

__all__ = ["main", "train"]

NOTES = """\
Exit codes:
  0    finished
  2    a mistake or a failed training, which the message explains
  130  interrupted; no file is kept
"""


@command(
    "Train the configuration of one network again, with its own random seed or another one, and score it on "
    "the test split.\n\n"
    "FOLDER is a picked network or a run's front/NUMBER. Needs neither Ray nor Optuna. The same seed on the "
    "same kind of machine gives the same weights, bit for bit on a CPU. Relative data paths start from the "
    "current folder, as they did for the search.\n\n"
    "With --teacher, the configuration is trained by distillation: morel-search train RUN/front/33 --teacher "
    "RUN/mixtures/33+2@30 makes one network from a mixture.",
    NOTES,
)
@click.argument("folder", type=PathText(), metavar="FOLDER")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**63 - 1),
    metavar="N",
    help="Random seed.  [default: that of the first training]",
)
@click.option(
    "--out",
    type=PathText(),
    metavar="NEW",
    help="Folder to write.  [default: FOLDER-seedN; for a run's front/NUMBER, RUN/picked/NUMBER-seedN]",
)
@click.option(
    "--teacher",
    metavar="FOLDER",
    help="Distil this network into the configuration: a mixture, another network, or package.module:name.",
)
@click.option(
    "--loss",
    type=click.Choice(DISTILLATION_LOSSES),
    help="Accuracy objective of the distillation.  [default: that of the configuration, or else rslad]",
)
@device_option("that of the first training, or the fastest one of this machine")
@trust_flag
def train(
    *,
    folder: Path,
    seed: int | None,
    out: Path | None,
    teacher: str | None,
    loss: str | None,
    device: str,
    trust_code: bool,
) -> int:
    """Train a network again."""
    from morel_search.workflows.retrain import retrain

    if trust_code or names_code(teacher):
        add_working_directory()
    with terminate_as_interrupt():
        retrain(
            folder,
            seed=seed,
            target=out,
            teacher=teacher,
            loss=loss,
            device=device,
            trust_code=trust_code,
        )
    return 0


main = partial(main_of, train, "python -m morel_search.train")
"""Run the command with the words of a command line; see :func:`morel_search._cli.main_of`."""


if __name__ == "__main__":
    sys.exit(main())
