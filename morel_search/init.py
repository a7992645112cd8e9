"""The command ``morel-search init``: write a space file to start from."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from morel_search._cli import PathText, command, main_of, print_out

__all__ = ["init", "main"]

EXAMPLES = """\
Examples:
  morel-search init
  morel-search init digits
  morel-search init image_folder --out my_images.yaml
"""


@command(
    "Write a commented space file into the current folder, from a template.\n\n"
    "NAME is the name of a template; without it, the names are listed.",
    EXAMPLES,
)
@click.argument("name", required=False)
@click.option("--out", type=PathText(), metavar="FILE", help="The file.  [default: NAME.yaml]")
def init(*, name: str | None, out: Path | None) -> int:
    """Write a template, or list their names."""
    from morel_search.workflows.templates import summary, template_text, templates, write_space

    if name is None:
        names = templates()
        width = max(map(len, names), default=0)
        for known in names:
            print_out(f"{known:<{width}}  {summary(known)}")
        return 0
    path = out if out is not None else Path(f"{name}.yaml")
    write_space(template_text(name, path), path)
    print_out(f"{path}: edit it, then morel-search run --space {path} --dry-run")
    return 0


main = partial(main_of, init, "python -m morel_search.init")
"""Run the command with the words of a command line; see :func:`morel_search._cli.main_of`."""


if __name__ == "__main__":
    sys.exit(main())
