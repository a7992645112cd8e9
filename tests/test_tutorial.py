"""The notebook ``docs/tutorial.ipynb``: its cells run from top to bottom."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from trained_runs import TRAIN, make_trained_run, train_trial

import morel_search

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"
CELLS: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def code(*, search: bool) -> list[str]:
    """The code of each cell, with or without the cells that search."""
    return [
        "".join(cell["source"])
        for cell in CELLS
        if cell["cell_type"] == "code" and (search or "search" not in cell["metadata"].get("tags", []))
    ]


def test_the_notebook_is_stored_without_outputs_and_in_the_format_of_jupyter() -> None:
    content = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)
    for cell in CELLS:
        assert cell["cell_type"] in {"markdown", "code"}
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
    assert len(code(search=True)) == len(code(search=False)) + 1


def test_the_space_of_the_notebook_is_valid(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    exec(code(search=False)[0], {})
    space = morel_search.load_space("tutorial.yaml")
    assert space.search.trials == 4
    assert [warning for warning in space.warnings if not warning.startswith("search")] == []


def test_the_cells_after_the_search_run_on_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train_trial(tmp_path / "trial", train=replace(TRAIN, epochs=1))
    run = make_trained_run(tmp_path, tmp_path / "trial" / "model.pt").path
    (tmp_path / "notebook").mkdir()
    monkeypatch.chdir(tmp_path / "notebook")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("tutorial", "second"):
        shutil.copytree(run, f"results/{name}")
    variables: dict[str, Any] = {"morel_search": morel_search}
    for cell in code(search=False):
        exec(cell, variables)
    assert variables["results"]._repr_html_().startswith("<h3>tutorial: ")
    assert Path("picked/model.safetensors").exists()
    assert "<html" in Path("comparison.html").read_text(encoding="utf-8")
    assert "of all digits" in capsys.readouterr().out
    assert 0 < variables["accuracy"] < 1


@pytest.mark.slow
def test_the_whole_notebook_runs(tmp_path: Path) -> None:
    (tmp_path / "notebook.py").write_text("\n\n".join(code(search=True)), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "notebook.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "of all digits" in done.stdout
    assert len(morel_search.load_results(tmp_path / "results" / "tutorial").trials) == 5
    assert (tmp_path / "comparison.html").exists()
