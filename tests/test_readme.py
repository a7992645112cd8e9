"""The README says what is true: its two lines, its tables, its file tree, its picture."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from morel_search.config.fields import document
from morel_search.run import run

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_two_lines_are_all_the_set_up() -> None:
    lines = [line for line in README.splitlines() if line.startswith("pip install -e ")]
    assert lines == [
        "pip install -e . && python -m morel_search.run --space search_spaces/digits.yaml",
        "pip install -e '.[test]' && pytest",
    ]


def test_the_field_tables_are_those_of_the_settings() -> None:
    shown = README.split("<!-- made by: python -m morel_search.config -->\n")[1].split("\n<!-- end -->")[0]
    assert shown == document().rstrip()


def test_the_file_tree_names_every_module_and_no_other() -> None:
    tree = README.split("## Files")[1].split("```")[1]
    stack: list[str] = []
    shown = set()
    for line in tree.splitlines():
        match = re.match(r"( *)(\S+)", line)
        if match is None or not (line.startswith(" ") or line == "morel_search/"):
            continue
        stack = [*stack[: len(match[1]) // 4], match[2].rstrip("/")]
        if match[2].endswith(".py"):
            shown.add("/".join(stack))
            assert len(line.split(maxsplit=1)) == 2, f"{match[2]} has no description"
    there = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "morel_search").rglob("*.py")
        if path.name != "__init__.py"
    }
    assert shown == there


@pytest.mark.parametrize(
    "line", [line for line in README.splitlines() if line.startswith("python -m morel_search.run ")]
)
def test_every_command_is_one(line: str) -> None:
    command = shlex.split(
        line.split("#", maxsplit=1)[0].replace("--space ...", "--space search_spaces/digits.yaml")
    )
    assert (ROOT / run.make_context("run", command[3:]).params["space"]).exists()


@pytest.mark.parametrize("target", re.findall(r"\]\((?!http)([^)#]+)\)", README))
def test_every_link_leads_somewhere(target: str) -> None:
    assert (ROOT / target).exists()
