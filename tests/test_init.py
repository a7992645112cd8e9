"""The command that writes a space file to start from, in a checkout and installed from a wheel."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from config_files import SHIPPED

from morel_search.__main__ import main
from morel_search.config import load_space
from morel_search.config.json_schema import schema_text
from morel_search.workflows.templates import summary, templates

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_names_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert last.startswith("data sets: mnist, ")
    assert last.endswith("huggingface/OWNER/NAME")
    assert [line.split()[0] for line in lines] == [path.stem for path in SHIPPED]
    assert all(len(line.split()) > 3 and len(line) <= 130 for line in lines)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_a_template_is_the_shipped_space(
    folder: Path, path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", path.stem]) == 0
    assert f"{path.name}: edit it" in capsys.readouterr().out
    text = (folder / path.name).read_text(encoding="utf-8")
    assert "search_spaces" not in text
    assert f"#     python -m morel_search.run --space {path.name}" in text
    assert load_space(folder / path.name).describe() == load_space(path).describe()


def test_another_file(folder: Path) -> None:
    assert main(["init", "digits", "--out", "mine.yaml"]) == 0
    assert "--space mine.yaml" in (folder / "mine.yaml").read_text(encoding="utf-8")


def test_a_file_that_exists_is_kept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "digits.yaml").write_text("mine")
    assert main(["init", "digits"]) == 2
    assert "digits.yaml exists already; name another file with --out" in capsys.readouterr().err
    assert (folder / "digits.yaml").read_text() == "mine"
    assert main(["init", "digits", "--out", "no/folder.yaml"]) == 2
    assert "cannot write no/folder.yaml: no such folder" in capsys.readouterr().err
    assert main(["init", "digits", "--out", "."]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_name_that_is_not_utf8(folder: Path) -> None:
    assert main(["init", "digits", "--out", os.fsdecode(b"\xff.yaml")]) == 0
    (path,) = folder.glob("*.yaml")
    assert "digits" in load_space(path).describe()["data"].values()


def test_the_schema_is_written_beside_the_space_file(folder: Path) -> None:
    schema = folder / "space.schema.json"
    assert main(["init", "digits"]) == 0
    assert schema.read_text() == schema_text()
    schema.write_text(schema_text().replace("Space file", "An older space file"))
    assert main(["init", "digits", "--out", "second.yaml"]) == 0
    assert schema.read_text() == schema_text()
    schema.write_text("mine")
    assert main(["init", "digits", "--out", "third.yaml"]) == 0
    assert schema.read_text() == "mine"
    first = (folder / "third.yaml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=space.schema.json"


def test_a_full_disk_leaves_no_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    assert main(["init", "digits"]) == 2
    assert "cannot write digits.yaml: the disk is full" in capsys.readouterr().err
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("digit", "did you mean digits?"),
        ("mnits", "did you mean mnist?"),
        ("", "the names are"),
        ("../x", ""),
    ],
)
def test_an_unknown_name(folder: Path, name: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", name]) == 2
    message = capsys.readouterr().err
    assert f"there is no template {name!r}: {hint}" in message
    assert all(path.stem in message for path in SHIPPED)
    assert not list(folder.iterdir())


def test_a_summary_is_one_phrase() -> None:
    assert summary("image_folder").startswith("Own images in folders, one folder for each class")
    assert set(templates()) == {path.stem for path in SHIPPED}


def test_a_wheel_and_a_source_distribution_hold_the_templates(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77")
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    for name in ("morel_search", "search_spaces"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    # Twice a process: setuptools keeps its state, and changes sys.argv.
    make = "import sys; from setuptools import build_meta; build_meta.build_{}(sys.argv[1])"
    made = [sys.executable, "-c", make.format("sdist"), str(tmp_path)]
    subprocess.run(made, cwd=checkout, check=True, capture_output=True)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        opened.extractall(tmp_path, filter="data")
    made = [sys.executable, "-c", make.format("wheel"), str(tmp_path)]
    subprocess.run(made, cwd=archive.with_suffix("").with_suffix(""), check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    assert {path.name for path in (tmp_path / "installed").iterdir() if "dist-info" not in path.name} == {
        "morel_search"
    }
    assert (tmp_path / "installed/morel_search/search_spaces/space.schema.json").read_text() == schema_text()
    empty = tmp_path / "empty"
    empty.mkdir()
    subprocess.run(
        [sys.executable, "-m", "morel_search", "init", "digits"],
        cwd=empty,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "installed")},
        check=True,
        capture_output=True,
    )
    assert (
        load_space(empty / "digits.yaml").describe()
        == load_space(ROOT / "search_spaces/digits.yaml").describe()
    )
