"""The command ``morel-search schema``: print the JSON Schema of a space file, for editors."""

from __future__ import annotations

import sys
from functools import partial

from morel_search._cli import command, main_of, print_out

__all__ = ["main", "schema"]

EXAMPLES = """\
Examples:
  morel-search schema > space.schema.json

A space file with this first line is completed and checked by editors with a YAML language server:
  # yaml-language-server: $schema=space.schema.json
"""


@command("Print the JSON Schema of a space file.", EXAMPLES)
def schema() -> int:
    """Print the schema."""
    from morel_search.config.json_schema import schema_text

    print_out(schema_text().rstrip("\n"))
    return 0


main = partial(main_of, schema, "python -m morel_search.schema")
"""Run the command with the words of a command line; see :func:`morel_search._cli.main_of`."""


if __name__ == "__main__":
    sys.exit(main())
