"""The documentation against the repository: links, paths, commands, examples, and the generated pages."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import click
import pandas as pd
import pytest

from morel_search.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
TOP = ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "deploy/README.md"]
PAGES = [*(ROOT / name for name in TOP), *sorted(DOCS.rglob("*.md"))]
SHELLS = ("sh", "console", "bash")


def identity(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def load_script(path: Path) -> object:
    sys.path.insert(0, str(path.parent))
    try:
        return importlib.import_module(path.stem)
    finally:
        sys.path.pop(0)


hooks = load_script(DOCS / "hooks.py")
update_docs = load_script(ROOT / "scripts" / "update_docs.py")


@dataclass(frozen=True)
class Snippet:
    """A fenced block of a page.

    Attributes:
        page: The page.
        language: Word after the fence; empty where there is none.
        text: The block's content.
        mark: The comment in the line above, without its brackets.
    """

    page: Path
    language: str
    text: str
    mark: str


def snippets(page: Path) -> Iterator[Snippet]:
    lines = page.read_text(encoding="utf-8").splitlines()
    number = 0
    while number < len(lines):
        fence = re.match(r"\s*```(\w*)", lines[number])
        if fence is None:
            number += 1
            continue
        end = next(i for i in range(number + 1, len(lines)) if lines[i].strip() == "```")
        above = lines[number - 1].strip() if number else ""
        mark = re.fullmatch(r"<!-- (.*) -->", above)
        yield Snippet(page, fence[1], "\n".join(lines[number + 1 : end]) + "\n", mark[1] if mark else "")
        number = end + 1


def without_fences(page: Path) -> str:
    return re.sub(r"^\s*```.*?^\s*```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


ALL = [snippet for page in PAGES for snippet in snippets(page)]


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", without_fences(page), re.MULTILINE)
    included = re.findall(r'^--8<-- "(.*)"$', page.read_text(encoding="utf-8"), re.MULTILINE)
    slugs = {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
    return slugs.union(*(anchors(ROOT / name) for name in included)) if included else slugs


def problems_of_link(page: Path, target: str) -> str:
    """Say what is wrong with a link, or return an empty text."""
    path, _, anchor = target.partition("#")
    address = (page.parent / path).resolve() if path else page
    if not address.exists():
        site = os.path.relpath(address, DOCS)
        return "" if site in {hooks.REPORT, *hooks.FIGURES} else f"no such file: {path}"
    return "" if not anchor or anchor in anchors(address) else f"no such heading: {target}"


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)\s]+)\)", without_fences(page))
    faults = [fault for target in links if (fault := problems_of_link(page, target))]
    assert not faults


def test_a_broken_link_is_found() -> None:
    assert problems_of_link(ROOT / "README.md", "docs/missing.md") == "no such file: docs/missing.md"
    assert problems_of_link(ROOT / "README.md", "docs/index.md#missing").startswith("no such heading")
    assert not problems_of_link(DOCS / "example.md", "example/report.html")


def paths_in(text: str) -> list[str]:
    """Find words in backticks that look like a path of the repository."""
    roots = "|".join(
        re.escape(path.name) for path in sorted(ROOT.iterdir()) if path.is_dir() and path.name != "results"
    )
    found = re.findall(r"`([\w./+-]+)`", text)
    return [
        word
        for word in found
        if re.fullmatch(rf"(?:{roots})/[\w./+-]*", word)
        or re.fullmatch(r"[A-Z]+\.md|pyproject\.toml|mkdocs\.yml", word)
    ]


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_every_path_in_backticks_exists(page: Path) -> None:
    assert not [word for word in paths_in(without_fences(page)) if not (ROOT / word).exists()]


def test_a_missing_path_is_found() -> None:
    assert paths_in("in `morel_search/nothing.py` and `tests/test_docs.py`, not `results/NAME/x.csv`") == [
        "morel_search/nothing.py",
        "tests/test_docs.py",
    ]


def command_lines(page: Path) -> list[str]:
    """Find the morel_search commands of a page, in blocks and in backticks; not in the module tree."""
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    blocks = [
        line
        for snippet in snippets(page)
        if snippet.language != "text"
        for line in snippet.text.replace("\\\n", " ").splitlines()
    ]
    inline = re.findall(r"`((?:python -m morel_search|morel-search )[^`\n]*)`", text)
    return [line for line in [*blocks, *inline] if re.search(r"-m morel_search\b|morel-search [a-z]+ ", line)]


def problems_of_command(line: str) -> str:
    """Parse a command line with the project's own parser, and say what is wrong."""
    match = re.search(r"(?:-m morel_search\.|-m morel_search |morel-search )([a-z_]+)(.*)", line)
    if match is None:
        return "no command"
    name, rest = match[1], re.split(r"\s#|&&|'$|' ", match[2])[0].rstrip("'")
    if name in ("config", "completion"):
        return ""
    if name not in COMMANDS:
        return "" if line.strip().startswith(("docker", "pip", "kubectl")) else f"no command {name}"
    tool: click.Command = getattr(importlib.import_module(f"morel_search.{name}"), name)
    words = shlex.split(rest)
    if not words or "..." in words:  # the command's name in a sentence
        return ""
    known = {option for parameter in tool.params for option in parameter.opts} | {"-h", "--help"}
    unknown = [word for word in words if word.startswith("-") and word.split("=")[0] not in known]
    if unknown:
        return f"unknown options {unknown}"
    if "--space" in words and not words[words.index("--space") + 1].startswith(("my_", "FILE")):
        space = ROOT / words[words.index("--space") + 1]
        if not space.exists():
            return f"no such file: {space}"
    options = [parameter for parameter in tool.params if parameter.opts[0].startswith("-")]
    if len(words) == 1 and any(words[0] in option.opts for option in options):  # named in a sentence
        return ""
    try:
        tool.make_context(name, words)
    except click.ClickException as error:
        return error.format_message()
    return ""


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_every_command_parses(page: Path) -> None:
    faults = {line: fault for line in command_lines(page) if (fault := problems_of_command(line))}
    assert not faults


def test_a_wrong_command_is_found() -> None:
    assert problems_of_command("morel-search pick results/first --nothing")
    assert problems_of_command("python -m morel_search.run --space search_spaces/missing.yaml")
    assert problems_of_command("morel-search draw results/first")
    assert problems_of_command("morel-search train results/first --seed many")
    assert not problems_of_command("morel-search verify results/first --minutes 30  # half an hour")


def only_commands(snippet: Snippet) -> bool:
    lines = [line for line in snippet.text.splitlines() if line.strip() and not line.startswith("#")]
    return all(re.match(r"morel-search [a-z]|python -m morel_search", line) for line in lines)


@pytest.mark.parametrize("page", PAGES, ids=identity)
def test_every_shell_block_is_parsed_or_says_why_it_is_not_run(page: Path) -> None:
    blocks = [snippet for snippet in snippets(page) if snippet.language in SHELLS]
    assert not [
        block.text for block in blocks if not only_commands(block) and not block.mark.startswith("not run: ")
    ]


@pytest.mark.parametrize(
    "snippet",
    [snippet for snippet in ALL if snippet.language == "python"],
    ids=lambda snippet: identity(snippet.page),
)
def test_every_python_block_runs_or_says_why_not(
    snippet: Snippet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = compile(snippet.text, str(snippet.page), "exec")
    if not snippet.mark.startswith("not run: "):
        monkeypatch.chdir(tmp_path)
        exec(code, {"__name__": "snippet"})


GUIDES = sorted({snippet.page for snippet in ALL if snippet.mark.startswith("file: ")})


@pytest.fixture
def guide_folder(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Path]:
    """The files of a guide in a folder of their own, which is the working directory; scripts have run."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for snippet in snippets(request.param):
        if snippet.mark.startswith("file: "):
            (tmp_path / snippet.mark.removeprefix("file: ")).write_text(snippet.text, encoding="utf-8")
    for script in tmp_path.glob("make_*.py"):
        exec(compile(script.read_text(encoding="utf-8"), str(script), "exec"), {"__name__": "__main__"})
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("my_"):
            del sys.modules[name]


def guide_spaces(folder: Path) -> list[Path]:
    """The space files of a guide, without those of a library that is not installed."""
    files = sorted(folder.glob("*.yaml"))
    assert files
    missing = "timm_" if find_spec("timm") is None else "none"
    return [file for file in files if not file.name.startswith(missing)]


@pytest.mark.parametrize("guide_folder", GUIDES, indirect=True, ids=identity)
def test_the_example_of_a_guide_passes_the_checks_of_a_search(guide_folder: Path) -> None:
    from morel_search.config import load_space
    from morel_search.workflows.preflight import inspect

    for file in guide_spaces(guide_folder):
        space = load_space(file)
        assert not space.warnings
        assert inspect(space).train > 100


@pytest.mark.parametrize("guide_folder", [ROOT / "docs/guides/own-network.md"], indirect=True, ids=identity)
@pytest.mark.usefixtures("guide_folder")
def test_the_pair_of_the_guide_is_a_network() -> None:
    from morel_search.training.networks import build_network
    from morel_search.training.settings import NetworkSettings

    network = build_network(NetworkSettings(name="my_parts:cosine_net"), (1, 8, 8), 5)
    assert (network.feature_dim, tuple(network.head.directions.shape)) == (64, (5, 64))


@pytest.mark.slow
@pytest.mark.parametrize("guide_folder", GUIDES, indirect=True, ids=identity)
def test_the_example_of_a_guide_is_a_search(guide_folder: Path) -> None:
    """With the console script, in another folder than that of the checkout.

    Its own networks and losses are imported from the current folder, and relative paths of the images start
    there, though trials run in other folders.
    """
    small = ["train.epochs=2", "data.limit=400", "evaluation.steps=3", "evaluation.final_steps=3"]
    small += ["verify.enabled=false", "controls=[trades]", "early_stopping.enabled=false"]
    small += ["search.warmup=sobol"]  # both losses are among its first points
    words = [word for setting in small for word in ("--set", setting)]
    script = Path(sys.executable).with_name("morel-search")
    for file in guide_spaces(guide_folder):
        done = subprocess.run(
            [str(script), "run", "--space", file.name, "--trials", "3", *words],
            cwd=guide_folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        run = guide_folder / "results" / file.stem
        assert (run / "report.html").exists()
        trials = pd.read_csv(run / "trials.csv")
        assert list(trials["state"]) == ["COMPLETE"] * 4
        assert trials["test_clean_accuracy"].notna().any()
        if "my_losses:" in file.read_text(encoding="utf-8"):
            assert "my_losses:smoothed_trades" in set(trials["param_accuracy_loss"])


@pytest.mark.parametrize(
    "snippet",
    [
        snippet
        for snippet in ALL
        if snippet.language == "yaml" and "parameters:" in snippet.text and "data:" in snippet.text
    ],
    ids=lambda snippet: identity(snippet.page),
)
def test_every_whole_space_file_is_valid(
    snippet: Snippet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from morel_search.config import load_space

    for other in snippets(snippet.page):
        if other.mark.startswith("file: ") and other.language == "python":
            (tmp_path / other.mark.removeprefix("file: ")).write_text(other.text, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    if "timm/" in snippet.text:
        pytest.importorskip("timm")
    file = tmp_path / "space.yaml"
    file.write_text(snippet.text, encoding="utf-8")
    assert load_space(file).parameters


def test_the_generated_reference_is_that_of_the_settings() -> None:
    assert update_docs.REFERENCE.read_text(encoding="utf-8") == update_docs.space_file_reference(), (
        "run python scripts/update_docs.py"
    )


def test_the_generated_module_tree_is_that_of_the_package() -> None:
    page = update_docs.ARCHITECTURE.read_text(encoding="utf-8")
    assert page == update_docs.with_tree(page), "run python scripts/update_docs.py"


def test_the_module_tree_names_every_module_and_describes_it() -> None:
    tree = update_docs.module_tree()
    for path in (ROOT / "morel_search").rglob("*.py"):
        if path.name != "__init__.py":
            assert re.search(rf"^ +{re.escape(path.name)} +\S", tree, re.MULTILINE), path
    assert len(re.findall(r"\.py ", tree)) == len(
        [path for path in (ROOT / "morel_search").rglob("*.py") if path.name != "__init__.py"]
    )


def test_every_page_is_in_the_navigation_and_every_entry_exists() -> None:
    listed = set(
        re.findall(r"[\w/.-]+\.md$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    )
    assert listed == {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}


def test_the_decisions_are_numbered_and_dated() -> None:
    pages = sorted((DOCS / "decisions").glob("[0-9]*.md"))
    assert [int(page.name[:4]) for page in pages] == list(range(1, len(pages) + 1))
    for page in pages:
        assert re.search(r"^Date: \d{4}-\d{2}-\d{2}$", page.read_text(encoding="utf-8"), re.MULTILINE), page
        assert f"]({page.name})" in (DOCS / "decisions" / "index.md").read_text(encoding="utf-8")


def test_the_example_report_can_be_drawn_for_the_site() -> None:
    before = {path: path.stat().st_mtime_ns for path in hooks.EXAMPLE.rglob("*")}
    page = hooks.example_report()
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert {path: path.stat().st_mtime_ns for path in hooks.EXAMPLE.rglob("*")} == before
    assert all((ROOT / path).exists() for path in hooks.FIGURES.values())


def test_the_check_script_is_executable_bash() -> None:
    script, bash = ROOT / "scripts" / "check", shutil.which("bash")
    assert bash
    assert os.access(script, os.X_OK)
    subprocess.run([bash, "-n", str(script)], check=True)


def test_the_workflow_and_the_hooks_call_the_project_s_own_checks() -> None:
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe")
    workflow = yaml.load((ROOT / ".github/workflows/check.yml").read_text(encoding="utf-8"))
    steps = [step.get("run") for job in workflow["jobs"].values() for step in job["steps"]]
    assert {"scripts/check", ".ci/run", "mkdocs build --strict"} <= set(steps)
    hooks_file = yaml.load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repository["repo"] for repository in hooks_file["repos"]] == ["local"]


@pytest.mark.slow
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs the extra docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / hooks.REPORT).exists()
