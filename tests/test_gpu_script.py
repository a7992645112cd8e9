"""benchmarks/gpu.sh: pieces run once, are taken up again, end in time, and need neither a GPU nor Ray."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

ROOT = Path(__file__).parents[1]
FAKE = """
import json, subprocess, sys, time
name, out = sys.argv[sys.argv.index("--piece") + 1], sys.argv[sys.argv.index("--out") + 1]
with open(f"{out}/calls", "a") as calls:
    print(name, file=calls)
if name == "slow":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    open(f"{out}/child", "w").write(str(child.pid))
    time.sleep(60)
if name == "broken":
    sys.exit("no such device")
json.dump({"rows": [{"what": name, "seconds": 1.0}]}, open(f"{out}/{name}.json", "w"))
"""


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu

    return gpu


@pytest.fixture
def setting(script: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    fake = tmp_path / "fake.py"
    fake.write_text(FAKE)
    monkeypatch.setattr(script, "__file__", str(fake))
    return script.Setting(tmp_path, torch.device("cpu"), script.TINY, None, None)


def calls(setting: Any) -> list[str]:
    return (setting.out / "calls").read_text().split()


def test_a_piece_with_a_result_does_not_run_again(script: Any, setting: Any) -> None:
    assert script.run_pieces(setting, ["a", "b"], 1, None) == {}
    assert script.run_pieces(setting, ["a", "b", "c"], 1, None) == {}
    assert calls(setting) == ["a", "b", "c"]


def test_a_piece_that_failed_is_named_and_tried_again(script: Any, setting: Any) -> None:
    for _ in range(2):
        failed = script.run_pieces(setting, ["broken", "a"], 1, None)
        assert failed == {"broken": "failed, see broken.log"}
    assert calls(setting) == ["broken", "a", "broken"]
    assert "no such device" in (setting.out / "broken.log").read_text()
    assert "broken: failed, see broken.log" in script.tables(setting, ["a", "broken"], failed)


def test_a_piece_that_takes_too_long_ends_with_its_children(script: Any, setting: Any) -> None:
    assert script.run_pieces(setting, ["slow", "a"], 0.05, None) == {"slow": "not finished in 0.05 minutes"}
    assert calls(setting) == ["slow", "a"]
    child = Path(f"/proc/{(setting.out / 'child').read_text()}/stat")
    assert not child.exists() or child.read_text().rsplit(")", 1)[1].split()[0] == "Z"


def test_no_piece_starts_beyond_the_budget(script: Any, setting: Any) -> None:
    assert script.run_pieces(setting, ["a"], 1, -1.0) == {"a": "not run yet"}
    assert not (setting.out / "calls").exists()


def test_tables_join_the_pieces_of_a_kind_and_mark_the_front(script: Any, setting: Any) -> None:
    scores = {"front-0": (0.9, 0.2), "front-1": (0.8, 0.3), "front-2": (0.8, 0.1)}
    for name, (clean, robust) in scores.items():
        (setting.out / f"{name}.json").write_text(json.dumps({"rows": [{"clean": clean, "robust": robust}]}))
    text = script.tables(setting, [*scores, "sharing-1"], {})
    assert text.count("## front") == 1
    assert "| 0.9 | 0.2 | yes |\n| 0.8 | 0.3 | yes |\n| 0.8 | 0.1 | no |" in text
    assert "sharing-1: not run yet" in text


def test_without_a_gpu_the_script_says_how_to_try_it(tmp_path: Path) -> None:
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh"), "--device", "cpu", "--out", str(tmp_path / "out")]
    run = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert run.returncode == 2
    assert "--tiny tries the script" in run.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_the_pieces_run_on_a_cpu_without_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, colour_parquet: tuple[str, str]
) -> None:
    """The real ones: through the command, one; of the others one of each kind, in one process."""
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "ray.py").write_text("raise ImportError('Ray is not installed')\n")
    monkeypatch.setenv("PYTHONPATH", str(blocked))
    out = tmp_path / "out"
    command = ["bash", str(ROOT / "benchmarks" / "gpu.sh"), "--device", "cpu", "--tiny", "--only", "epoch"]
    run = subprocess.run(
        [*command, "--out", str(out)], check=False, capture_output=True, text=True, timeout=200
    )
    assert run.returncode == 0, run.stdout
    assert "| training | 16 |" in run.stdout
    names = ("step-trades", "network", "pgd", "verify-float32", "verify-pyautoattack", "sharing-1", "front-0")
    code = (
        f"import sys; sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'benchmarks')!r}]\n"
        "import gpu, pathlib, torch\n"
        f"out, paths = pathlib.Path({str(out)!r}), {colour_parquet}\n"
        "setting = gpu.Setting(out, torch.device('cpu'), gpu.TINY, *paths)\n"
        "every = gpu.pieces(setting)\n"
        f"print({{name: len(every[name]()) for name in {names}}})\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=200
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines()[-1].startswith("{'step-trades': ")


@pytest.fixture
def colour_parquet(tmp_path: Path) -> tuple[str, str]:
    import io

    import pandas as pd
    from PIL import Image

    def png(pixels: torch.Tensor) -> bytes:
        file = io.BytesIO()
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file, "png")
        return file.getvalue()

    paths = []
    for name, count in (("train", 80), ("test", 20)):
        pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8)
        table = {"image": [png(image) for image in pixels], "label": [row % 10 for row in range(count)]}
        paths.append(str(tmp_path / f"{name}.parquet"))
        pd.DataFrame(table).to_parquet(paths[-1])
    return paths[0], paths[1]
