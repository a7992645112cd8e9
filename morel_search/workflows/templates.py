"""Space files to start from: those of ``search_spaces/``, of a checkout or of the installed package."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from morel_search.config.json_schema import IDENTIFIER, schema_text
from morel_search.errors import RunFolderError, SpaceError
from morel_search.results.files import write_atomically
from morel_search.results.json_values import read_json

__all__ = ["SCHEMA", "SCHEMA_LINE", "check_new", "summary", "template_text", "templates", "write_space"]


SCHEMA = "space.schema.json"
"""Name of the file with the JSON Schema, beside a space file."""

SCHEMA_LINE = f"# yaml-language-server: $schema={SCHEMA}\n"
"""First line of a template, by which editors find the schema."""


def templates() -> dict[str, Path]:
    """Return the path of each template, by its name."""
    package = Path(__file__).parents[1]
    for folder in (package / "search_spaces", package.parent / "search_spaces"):
        found = {path.stem: path for path in sorted(folder.glob("*.yaml"))}
        if found:
            return found
    return {}


def summary(name: str) -> str:
    """Return what a template is, from the comment at its top."""
    lines = []
    for line in templates()[name].read_text(encoding="utf-8").removeprefix(SCHEMA_LINE).splitlines():
        if not line.startswith("# "):
            break
        lines.append(line[2:])
    text = " ".join(lines)
    return re.split(r"(?<=[^.])[.:;] ", text.rstrip("."))[0]


def template_text(name: str, path: Path, data_sets: Sequence[str] = ()) -> str:
    """Return a template as it is written to a path: its comments name this file.

    Args:
        name: The template.
        path: The file.
        data_sets: Other names that the user may have meant.

    Raises:
        SpaceError: There is no template of this name, nor a data set.
    """
    known = templates()
    if name not in known:
        near = get_close_matches(name, [*known, *data_sets], n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        sets = f"; data sets are {', '.join(data_sets)}" if data_sets else ""
        raise SpaceError(
            [f"there is no template {name!r}: {hint}the names are {', '.join(known) or 'none'}{sets}"]
        )
    text = known[name].read_text(encoding="utf-8")
    text = text.replace(f"search_spaces/{name}.yaml", str(path))
    return text.replace("search_spaces/", "")


def check_new(path: Path) -> None:
    """Check that a file does not exist.

    Raises:
        RunFolderError: It does.
    """
    if os.path.lexists(path):
        raise RunFolderError(f"{path} exists already; name another file with --out")


def write_space(text: str, path: Path) -> None:
    """Write a space file, and its JSON Schema beside it.

    A file of that name which is not the schema of a version of this package is kept.

    Raises:
        RunFolderError: The space file exists, or a file cannot be written.
    """
    check_new(path)
    write_atomically(path, text.encode("utf-8", "backslashreplace"))  # a path may not be UTF-8
    schema = path.parent / SCHEMA
    if not os.path.lexists(schema) or _is_schema(schema):
        write_atomically(schema, schema_text().encode())


def _is_schema(path: Path) -> bool:
    """Return whether a file is the schema of a version of this package."""
    try:
        content = read_json(path)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("$id") == IDENTIFIER
