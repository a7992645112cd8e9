"""Write the generated files again: the space file reference, the module tree and the JSON Schema.

Run ``python scripts/update_docs.py`` after a change of a setting, a module's name or the first line of a
module's docstring; ``tests/test_docs.py`` compares the files with what this script would write.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "morel_search"
REFERENCE = ROOT / "docs" / "reference" / "space-file.md"
SCHEMA = ROOT / "search_spaces" / "space.schema.json"
ARCHITECTURE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- module tree: python scripts/update_docs.py -->\n", "<!-- end of the module tree -->\n"
INDENT = 4


def space_file_reference() -> str:
    """Return the space file reference, as ``python -m morel_search.config`` prints it."""
    from morel_search.config.fields import document

    return document()


def module_tree() -> str:
    """Return all packages and modules with the first line of their docstrings, as a text block."""
    lines = [*_entries(PACKAGE, 0)]
    width = max(len(name) for name, _ in lines) + 2
    rows = [f"{name:<{width}}{summary}".rstrip() for name, summary in lines]
    return "```text\n" + "\n".join(rows) + "\n```\n"


def with_tree(page: str) -> str:
    """Return the architecture page with the current module tree between its two markers."""
    head, rest = page.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}{module_tree()}{END}{tail}"


def _entries(folder: Path, depth: int) -> Iterator[tuple[str, str]]:
    yield f"{' ' * INDENT * depth}{folder.name}/", _summary(folder / "__init__.py")
    inside = sorted(folder.iterdir(), key=lambda path: (path.is_dir(), path.name))
    for path in inside:
        if path.is_dir() and (path / "__init__.py").exists():
            yield from _entries(path, depth + 1)
        elif path.suffix == ".py" and path.name != "__init__.py":
            yield f"{' ' * INDENT * (depth + 1)}{path.name}", _summary(path)


def _summary(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].replace("``", "").rstrip(".")


def main() -> int:
    """Write the files."""
    from morel_search.config.json_schema import schema_text

    SCHEMA.write_text(schema_text(), encoding="utf-8")
    REFERENCE.write_text(space_file_reference(), encoding="utf-8")
    ARCHITECTURE.write_text(with_tree(ARCHITECTURE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
