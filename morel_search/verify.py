"""The command ``morel-search verify``: attack the networks of a run with strong attacks."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from morel_search._cli import PathText, add_working_directory, command, main_of, quiet_flag, trust_flag
from morel_search.errors import ResourceError

__all__ = ["main", "verify"]

DESCRIPTION = """\
Verify the front of a run with strong attacks on the test split.

Each network of the front and each control is attacked: FGSM, the final attack of the search, PGD-50 with
five starts, and AutoAttack's APGD-CE, APGD-T, FAB-T and Square. An image is robust if it is correctly
classified under all of them. With --replicates, each network is also trained again with other random seeds.
Results are saved after each part, so the same command continues after an interrupt. At the end the report
is drawn again.

With --rival, a network that this search did not train is attacked in the same way and shown beside the
front.

With --model, networks that no search trained are attacked in the same way, without Ray, on the test split
that --data names."""
EXAMPLES = """\
Examples:
  morel-search verify results/digits
  morel-search verify results/digits --rival theirs=my_networks:trained
  morel-search verify --model my_networks:trained --data digits.yaml
  morel-search verify --model my_networks:trained --model results/digits/front/12 --data digits.yaml
  morel-search verify --model my_networks:trained --data images --set evaluation.epsilon=4/255
"""


@command(DESCRIPTION, EXAMPLES)
@click.argument("run", type=PathText(), metavar="[RUN]", required=False)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME",
    help="A network instead of a run: package.module:name of a trained network or of a function that returns "
    "it, or the folder of a network; may be given several times.",
)
@click.option(
    "--data",
    type=PathText(),
    metavar="PATH",
    help="--model: a space file with the data and the attacks, or a folder with train and test images.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="--model: change a setting, such as evaluation.epsilon=4/255; may be given several times.",
)
@click.option(
    "--out",
    type=PathText(),
    metavar="DIR",
    help="--model: folder of the results; a verification in it is continued.  [default: verified]",
)
@click.option("--minutes", type=float, metavar="M", help="Time limit of the attacks.  [default: none]")
@click.option("--images", type=int, metavar="N", help="Number of test images.  [default: all]")
@click.option(
    "--replicates",
    type=int,
    metavar="N",
    help="Number of trainings of each network with other random seeds.  [default: verify.replicates]",
)
@click.option(
    "--rival",
    "rivals",
    multiple=True,
    metavar="NAME=NETWORK",
    help="A network to compare with the run: package.module:name, the folder of a network, or {name: ..., "
    "options: ..., weights: FILE}; it is kept, and NAME=none leaves it out; may be given several times.",
)
@click.option(
    "--address",
    metavar="ADDRESS",
    help="Run on an existing Ray cluster: auto or HOST:PORT.  [default: start Ray on this machine]",
)
@quiet_flag
@trust_flag
def verify(
    *,
    run: Path | None,
    models: tuple[str, ...],
    data: Path | None,
    overrides: tuple[str, ...],
    out: Path | None,
    minutes: float | None,
    images: int | None,
    replicates: int | None,
    rivals: tuple[str, ...],
    address: str | None,
    quiet: bool,
    trust_code: bool,
) -> int:
    """Verify a run, or networks that no search trained."""
    from morel_search.workflows.verify_folder import verify_folder
    from morel_search.workflows.verify_models import verify_models_on

    for option, value in (("--minutes", minutes), ("--images", images), ("--replicates", replicates)):
        if value is not None and not value > 0:
            raise ResourceError(f"{option} must be above 0, got {value:g}")
    if models:
        if run is not None or data is None or replicates is not None or address is not None or rivals:
            raise click.UsageError(
                "--model needs --data, and takes neither a run nor --replicates, --rival nor --address"
            )
        add_working_directory()
        verify_models_on(
            models,
            data,
            out or Path("verified"),
            overrides=overrides,
            minutes=minutes,
            images=images,
            quiet=quiet,
            trust_code=trust_code,
        )
        return 0
    if run is None or data is not None or overrides or out is not None:
        raise click.UsageError("name a run folder alone, or networks with --model and --data")
    if trust_code or rivals:
        add_working_directory()
    verify_folder(
        run,
        minutes=minutes,
        images=images,
        replicates=replicates,
        address=address,
        rivals=rivals,
        quiet=quiet,
        trust_code=trust_code,
    )
    return 0


main = partial(main_of, verify, "python -m morel_search.verify")
"""Run the command with the words of a command line; see :func:`morel_search._cli.main_of`."""


if __name__ == "__main__":
    sys.exit(main())
