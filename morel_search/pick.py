"""The command ``morel-search pick``: take one network of a front and write it as a folder of its own."""

from __future__ import annotations

import math
import sys
from functools import partial
from pathlib import Path

import click

from morel_search._cli import PathText, add_working_directory, command, main_of, trust_flag
from morel_search.errors import MorelSearchError

__all__ = ["main", "pick"]

DESCRIPTION = """\
Take one network of a run's front, print the reason and the trade-off at its neighbours, and write it as a
folder of its own.

The rules use verified accuracies if the run has been verified (morel-search verify), otherwise validation
accuracies. Networks that the verification flagged, or found beaten by another network, are taken with
--member only."""
EXAMPLES = """\
Examples:
  python -m morel_search.pick results/first                          # the knee point
  python -m morel_search.pick results/first --robust-at-least 0.45
  python -m morel_search.pick results/first --weights 0.7,0.3 --onnx
  python -m morel_search.pick results/first --member 12 --out best
  python -m morel_search.pick results/first --member 33+2@30         # a mixture
"""


def _accuracy(_: click.Context, option: click.Parameter, text: str | None) -> float | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise MorelSearchError(f"{option.opts[0]} must be a fraction from 0 to 1, such as 0.45, got {text}")
    return value


def _weights(_: click.Context, option: click.Parameter, text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        clean, robust = (float(part) for part in text.split(","))
    except ValueError:
        clean = robust = math.nan
    if not (clean >= 0 and robust >= 0 and 0 < clean + robust < math.inf):
        raise MorelSearchError(
            f"{option.opts[0]} must be two numbers from 0, not both 0, for clean and robust accuracy, "
            f"such as 0.7,0.3, got {text}"
        )
    return clean, robust


@command(DESCRIPTION, EXAMPLES)
@click.argument("run", type=PathText(), metavar="RUN")
@click.option(
    "--robust-at-least",
    callback=_accuracy,
    metavar="R",
    help="Take the most accurate network whose robust accuracy is at least R.",
)
@click.option(
    "--clean-at-least",
    callback=_accuracy,
    metavar="C",
    help="Take the most robust network whose clean accuracy is at least C.",
)
@click.option(
    "--knee",
    is_flag=True,
    help="Take the knee point: the network farthest above the straight line between the two ends of the "
    "front, both axes scaled to the front's range. This is the default rule.",
)
@click.option(
    "--weights",
    callback=_weights,
    metavar="C,R",
    help="Take the network with the highest C x clean + R x robust accuracy.",
)
@click.option("--member", metavar="NUMBER[-EPOCH]", help="Take this network, or the mixture of this name.")
@click.option("--mixtures", is_flag=True, help="Let the rule take mixtures too, which cost more.")
@click.option(
    "--out",
    type=PathText(),
    metavar="FOLDER",
    help="Folder to write.  [default: RUN/picked/NUMBER[-EPOCH]]",
)
@click.option("--onnx", is_flag=True, help="Also write model.onnx; needs pip install 'morel-search[onnx]'.")
@click.option("--torch-export", is_flag=True, help="Also write model.pt2, a program of torch.export.")
@trust_flag
def pick(
    *,
    run: Path,
    robust_at_least: float | None,
    clean_at_least: float | None,
    knee: bool,
    weights: tuple[float, float] | None,
    member: str | None,
    mixtures: bool,
    out: Path | None,
    onnx: bool,
    torch_export: bool,
    trust_code: bool,
) -> int:
    """Pick a network and write it."""
    from morel_search.analysis.picking import best_weighted_sum, knee_point, most_accurate, most_robust
    from morel_search.workflows.pick import pick_network

    given = {
        "--robust-at-least": robust_at_least is not None,
        "--clean-at-least": clean_at_least is not None,
        "--knee": knee,
        "--weights": weights is not None,
        "--member": member is not None,
    }
    names = [name for name, is_given in given.items() if is_given]
    if len(names) > 1:
        raise MorelSearchError(f"{' and '.join(names)} exclude each other: give one rule")
    rule = knee_point
    if robust_at_least is not None:
        rule = partial(most_accurate, robust_at_least=robust_at_least)
    elif clean_at_least is not None:
        rule = partial(most_robust, clean_at_least=clean_at_least)
    elif weights is not None:
        rule = partial(best_weighted_sum, clean=weights[0], robust=weights[1])
    formats = ["onnx"] * onnx + ["torch_export"] * torch_export
    if trust_code:
        add_working_directory()
    if mixtures and member is not None:
        raise MorelSearchError(
            "--mixtures and --member exclude each other: --member takes a mixture by its name"
        )
    pick_network(
        run,
        rule=rule,
        member_name=member,
        mixtures=mixtures,
        target=out,
        formats=formats,
        trust_code=trust_code,
    )
    return 0


main = partial(main_of, pick, "python -m morel_search.pick")
"""Run the command with the words of a command line; see :func:`morel_search._cli.main_of`."""


if __name__ == "__main__":
    sys.exit(main())
