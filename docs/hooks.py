"""MkDocs hook: add the report of the example run and figures of the repository to the site."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search.analysis.report.page import write_report
from morel_search.results.folder import open_run_folder

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
EXAMPLE = ROOT / "results" / "example"
REPORT = "example/report.html"
"""Address of the example's report in the site."""

FIGURES = {
    "figures/front.png": "results/example/figures/front.png",
    "figures/search.png": "benchmarks/search.png",
    "figures/early_stopping.png": "benchmarks/early_stopping.png",
}
"""Address of a figure in the site to its file in the repository."""


def example_report() -> str:
    """Draw the report of the example run from its tables, in a temporary copy of the run folder."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / EXAMPLE.name
        shutil.copytree(EXAMPLE, copy)
        return write_report(open_run_folder(copy)).read_text(encoding="utf-8")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated files to those of ``docs/``."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, REPORT, content=example_report()))
    for address, path in FIGURES.items():
        files.append(File.generated(config, address, content=(ROOT / path).read_bytes()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Link the figures of the repository to their addresses in the site; the arguments' names are MkDocs'."""
    for address, path in FIGURES.items():
        markdown = markdown.replace(f"](../{path})", f"]({address})")
    return markdown
