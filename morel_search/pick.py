"""``python -m morel_search.pick results/NAME``: take one network of a front, and write it as a folder that stands by itself."""

from __future__ import annotations

import argparse
import math
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from morel_search import __version__
from morel_search._cli import exit_code_of, print_err, print_out
from morel_search.errors import MorelSearchError

if TYPE_CHECKING:
    from morel_search.analysis.members import Member
    from morel_search.analysis.picking import Rule
    from morel_search.results.folder import RunFolder

__all__ = ["main"]

EXAMPLES = """\
examples:
  python -m morel_search.pick results/first                             # the knee
  python -m morel_search.pick results/first --robust-at-least 0.45      # the most accurate network that is at least so robust
  python -m morel_search.pick results/first --weights 0.7,0.3 --onnx
  python -m morel_search.pick results/first --member 12 --out best

Verified figures decide where there are any (python -m morel_search.verify), else those on the test split, else those on the
validation split. Networks that the verification flagged are picked by --member alone.
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser(
        prog="python -m morel_search.pick",
        description="Take one network of a run's front, say why and what its neighbours cost, and write it as a folder of its own.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("run", type=Path, metavar="RUN", help="the run's folder, such as results/digits")
    rule = command.add_mutually_exclusive_group()
    rule.add_argument(
        "--robust-at-least",
        type=_accuracy,
        metavar="R",
        help="the most accurate network that is at least so robust",
    )
    rule.add_argument(
        "--clean-at-least",
        type=_accuracy,
        metavar="C",
        help="the most robust network that is at least so accurate",
    )
    rule.add_argument(
        "--knee",
        action="store_true",
        help="the network farthest above the straight line between the front's two ends, both axes scaled to the front's own range "
        "(the default)",
    )
    rule.add_argument(
        "--weights", type=_weights, metavar="C,R", help="the network with the highest C x clean + R x robust"
    )
    rule.add_argument("--member", metavar="NUMBER[-EPOCH]", help="this network")
    command.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where to write it (default: RUN/picked/NUMBER[-EPOCH])"
    )
    command.add_argument(
        "--onnx", action="store_true", help="write model.onnx too; needs pip install 'morel-search[onnx]'"
    )
    command.add_argument(
        "--torch-export", action="store_true", help="write model.pt2 too, a program of torch.export"
    )
    command.add_argument("--version", action="version", version=f"morel_search {__version__}")
    return command


def main(arguments: Sequence[str] | None = None) -> int:
    """Pick a network and say what it is.

    Args:
        arguments: The command line's words; None takes those of the process.

    Returns:
        The exit code: 0, or 2 after a mistake of the user's, which one sentence on the error stream explains.
    """
    return exit_code_of(lambda: _pick(parser().parse_args(arguments)))


def _accuracy(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise MorelSearchError(f"an accuracy must be a fraction from 0 to 1, such as 0.45, got {text}")
    return value


def _weights(text: str) -> tuple[float, float]:
    try:
        clean, robust = (float(part) for part in text.split(","))
    except ValueError:
        clean = robust = math.nan
    if not (clean >= 0 and robust >= 0 and 0 < clean + robust < math.inf):
        raise MorelSearchError(
            f"--weights must be two numbers from 0, not both 0, clean and robust, such as 0.7,0.3, got {text}"
        )
    return clean, robust


def _pick(options: argparse.Namespace) -> int:
    from morel_search.analysis.members import read_members
    from morel_search.analysis.picking import candidate, candidates, cost_sentences
    from morel_search.analysis.run_data import read_run_data
    from morel_search.models.formats import check_format
    from morel_search.results.folder import open_run_folder

    formats = [name for name in ("onnx", "torch_export") if getattr(options, name)]
    for name in formats:
        check_format(name)
    run = open_run_folder(options.run)
    members = read_members(read_run_data(run))
    member, kind, why = _choose(options, members)
    target = options.out or options.run / "picked" / member.name
    picked = {"why": why} if options.member is not None else {"why": why, "figures": kind}
    settings = _export(run, member, picked, target, formats)
    for line in _account(member, kind, why, settings, options.run):
        print_out(line)
    for sentence in cost_sentences(candidate(member, kind), candidates(members, kind)):
        print_out(sentence)
    left_out = [one.name for one in members if kind not in one.figures or one.flags]
    if left_out and options.member is None:
        print_out(
            f"Not among the choice, because they were flagged or have no {kind} figures: {', '.join(left_out)}."
        )
    if member.flags:
        print_err(
            f"warning: the verification flagged network {member.name}, do not believe its robust accuracy: {member.flags}"
        )
    print_out(f"written to {target}")
    print_out(f"train it again: python -m morel_search.train {shlex.quote(str(target))}")
    return 0


def _choose(options: argparse.Namespace, members: Sequence[Member]) -> tuple[Member, str, str]:
    from morel_search.analysis.members import find_member
    from morel_search.analysis.picking import choose

    if options.member is None:
        return choose(members, _rule(options))
    member = find_member(members, options.member)
    return member, member.kind, "It is the one that was named."


def _rule(options: argparse.Namespace) -> Rule:
    from morel_search.analysis.picking import best_weighted_sum, knee_point, most_accurate, most_robust

    if options.robust_at_least is not None:
        return partial(most_accurate, robust_at_least=options.robust_at_least)
    if options.clean_at_least is not None:
        return partial(most_robust, clean_at_least=options.clean_at_least)
    if options.weights is not None:
        return partial(best_weighted_sum, clean=options.weights[0], robust=options.weights[1])
    return knee_point


def _export(
    run: RunFolder, member: Member, picked: dict[str, str], target: Path, formats: Sequence[str]
) -> dict[str, Any]:
    """Write the network's folder and return its settings."""
    from morel_search.errors import RunFolderError
    from morel_search.models.checkpoint import load_model
    from morel_search.models.export import check_target, figures_json, settings_of, write_export
    from morel_search.models.load import CHECKPOINT

    folder = run.front_models / member.name
    if not (folder / CHECKPOINT).is_file():
        raise RunFolderError(
            f"the weights of network {member.name} are missing: {folder / CHECKPOINT} is not there; a search writes them when it ends"
        )
    model, metadata = load_model(folder / CHECKPOINT)
    settings = {
        **settings_of(folder),
        "made_by": "python -m morel_search.pick",
        "image_shape": metadata["image_shape"],
        "classes": metadata["classes"],
        "figures": figures_json(member.figures),
        "picked": picked,
    }
    check_target(target, settings)
    write_export(target, model, settings, formats)
    return settings


def _account(member: Member, kind: str, why: str, settings: dict[str, Any], run: Path) -> list[str]:
    """Which network it is, why, and what its figures are."""
    from morel_search._format import percent
    from morel_search.models.model_card import kind_words

    figures = member.figures[kind]
    between = [
        "" if interval is None else f" ({percent(interval[0])} to {percent(interval[1])})"
        for interval in (figures.clean_interval, figures.robust_interval)
    ]
    lines = [
        f"network {member.name}: {percent(figures.clean)}{between[0]} clean and {percent(figures.robust)}{between[1]} robust accuracy, "
        f"{kind_words(kind, settings['evaluation'])}",
        why,
    ]
    if kind != "verified":
        lines.append(
            f"These figures are not verified, which python -m morel_search.verify {shlex.quote(str(run))} does."
        )
    return lines


if __name__ == "__main__":
    sys.exit(main())
