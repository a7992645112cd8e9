"""A search with a teacher, with real Ray: its copy, a resumed search without the first folder, replicates."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from morel_search.models.checkpoint import save_model
from morel_search.results.folder import RunFolder
from morel_search.training.networks import build_network
from morel_search.training.settings import NetworkSettings

ROOT = Path(__file__).parents[1]
TINY = (
    *("--set", "train.epochs=1", "--set", "data.limit=300", "--set", "search.population=2"),
    *("--set", "evaluation.steps=3", "--set", "network.options.width=4", "--set", "verify.enabled=false"),
    *("--set", "early_stopping.enabled=false", "--set", "controls=[pgd]"),
    *("--set", "parameters.accuracy_loss.choices=[ard, rslad]", "--set", "parameters.beta=null"),
    *("--set", "parameters.loat_theta=null"),
)


def teacher(folder: Path, seed: int) -> Path:
    """A network as a search writes it to ``front/NUMBER``."""
    network = NetworkSettings(name="small_cnn", options={"width": 4})
    torch.manual_seed(seed)
    folder.mkdir()
    save_model(
        folder / "model.pt", build_network(network, (1, 8, 8), 10), network, (1, 8, 8), [*"0123456789"]
    )
    described = {"name": network.name, "options": dict(network.options)}
    (folder / "settings.json").write_text(json.dumps({"format": 1, "network": described}))
    return folder


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "morel_search.run", "--space", str(ROOT / "search_spaces/digits.yaml")]
    words += ["--results", str(folder / "results"), "--name", "taught", *TINY, *arguments]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_a_search_with_a_teacher(tmp_path: Path) -> None:
    source = teacher(tmp_path / "source", 0)
    given = ("--set", "train.teacher=source")
    first = call(tmp_path, "--trials", "2", *given)
    assert first.returncode == 0, first.stderr
    assert "note: the teacher source has" in first.stderr
    run = RunFolder(tmp_path / "results" / "taught")
    assert (run.teacher / "model.pt").read_bytes() == (source / "model.pt").read_bytes()
    noted = run.read_settings().section("train")
    assert noted["teacher"] == "source"
    assert list(run.read_trials()["state"]) == ["COMPLETE"] * 3
    for path in run.front_models.glob("*/settings.json"):
        assert json.loads(path.read_text())["train"]["teacher_sha256"] == noted["teacher_sha256"]

    shutil.rmtree(source)
    teacher(tmp_path / "source", 1)
    other = call(tmp_path, "--trials", "3", "--resume", *given)
    assert other.returncode == 2
    assert "train.teacher_sha256 was" in other.stderr
    assert "Traceback" not in other.stderr
    shutil.rmtree(tmp_path / "source")
    again = call(tmp_path, "--trials", "3", "--resume", *given)
    assert again.returncode == 0, again.stderr
    assert list(run.read_trials()["state"]) == ["COMPLETE"] * 4

    words = [
        sys.executable,
        "-m",
        "morel_search.verify",
        str(run.path),
        "--replicates",
        "1",
        "--images",
        "20",
    ]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    replicates = run.read_replicates()
    assert len(replicates) >= 2
    assert not replicates["failure"].fillna("").any()
