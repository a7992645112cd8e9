"""The command ``morel-search init``: write a space file to start from."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from morel_search._cli import PathText, add_working_directory, command, main_of, print_out

if TYPE_CHECKING:
    from morel_search.workflows.data_facts import DataFacts

__all__ = ["init", "main"]

EXAMPLES = """\
Examples:
  morel-search init
  morel-search init digits
  morel-search init image_folder --out my_images.yaml
  morel-search init fashion_mnist
  morel-search init huggingface/uoft-cs/cifar10 --out my_cifar.yaml
  morel-search init my_space.yaml --data images
  morel-search init my_space.yaml --data train.parquet --test test.parquet --network timm/resnet18
"""


@command(
    "Write a commented space file, from a template or for data of your own.\n\n"
    "NAME is the name of a template or of a data set, such as mnist or huggingface/OWNER/NAME, which is "
    "downloaded; without it, the names are listed. With --data, NAME is the file to write. The file "
    "for a data set holds what was found: classes, sizes, and settings that suit them.",
    EXAMPLES,
)
@click.argument("name", required=False)
@click.option("--out", type=PathText(), metavar="FILE", help="The file.  [default: NAME.yaml]")
@click.option(
    "--data",
    type=PathText(),
    metavar="PATH",
    help="Folder with train and test images or Parquet files; with --test, the training images.",
)
@click.option("--test", type=PathText(), metavar="PATH", help="Folder or Parquet file of the test images.")
@click.option("--subset", metavar="TEXT", help="The subset (configuration) of the data set NAME.")
@click.option(
    "--network", metavar="NAME", help="The network, such as timm/resnet18.  [default: chosen for the data]"
)
def init(
    *,
    name: str | None,
    out: Path | None,
    data: Path | None,
    test: Path | None,
    subset: str | None,
    network: str | None,
) -> int:
    """Write a space file, or list the templates."""
    if data is not None:
        if name is not None and out is not None:
            raise click.UsageError("with --data, NAME is the file to write; --out names another one")
        if subset is not None:
            raise click.UsageError("--subset needs the name of a data set, not --data")
        from morel_search.workflows.new_space import space_for

        return _init_for_data(out or Path(name or "space.yaml"), partial(space_for, data, test, network))
    if test is not None:
        raise click.UsageError("--test needs --data")
    from morel_search.workflows.new_space import DESCRIBED, can_be_described, space_for_name

    if name is not None and can_be_described(name):
        path = out if out is not None else Path(f"{name.rpartition('/')[2]}.yaml")
        return _init_for_data(path, partial(space_for_name, name, subset, network))
    if subset is not None:
        raise click.UsageError("--subset needs the name of a data set")
    if network is not None:
        raise click.UsageError("--network needs --data or the name of a data set")
    from morel_search.workflows.templates import summary, template_text, templates, write_space

    data_sets = (*DESCRIBED, "huggingface/OWNER/NAME")
    if name is None:
        names = templates()
        width = max(map(len, names), default=0)
        for known in names:
            print_out(f"{known:<{width}}  {summary(known)}")
        print_out(f"data sets: {', '.join(data_sets)}")
        return 0
    path = out if out is not None else Path(f"{name}.yaml")
    write_space(template_text(name, path, data_sets), path)
    print_out(f"{path}: edit it, then morel-search run --space {path} --dry-run")
    return 0


def _init_for_data(path: Path, described: Callable[[Path], tuple[str, DataFacts]]) -> int:
    """Look at the data, and write a space file for it."""
    from morel_search.workflows.templates import check_new, write_space

    add_working_directory()
    check_new(path)
    text, facts = described(path)
    write_space(text, path)
    colour = "in colour" if facts.channels == 3 else "grey"
    height, width = facts.size
    print_out(
        f"{facts.train:,} training images and {facts.test:,} test images, {len(facts.classes)} classes, "
        f"{colour}, {height} x {width} pixels"
    )
    print_out(f"{path}: edit it, then morel-search run --space {path} --dry-run")
    return 0


main = partial(main_of, init, "python -m morel_search.init")
"""Run the command with the words of a command line; see :func:`morel_search._cli.main_of`."""


if __name__ == "__main__":
    sys.exit(main())
