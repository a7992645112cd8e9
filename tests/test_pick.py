"""``python -m morel_search.pick``: what it takes, what it says, what it writes, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from run_folders import make_run
from trained_runs import FIGURES, make_trained_run, train_trial, write_verified

import morel_search
from morel_search.analysis.report.sections.networks import networks_section
from morel_search.analysis.run_data import read_run_data
from morel_search.models.checkpoint import load_model as load_checkpoint
from morel_search.pick import main
from morel_search.results.folder import RunFolder

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trial")
    train_trial(folder)
    return folder / "model.pt"


@pytest.fixture
def run(tmp_path: Path, trained: Path) -> RunFolder:
    return make_trained_run(tmp_path, trained)


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], *words: str) -> None:
    capsys.readouterr()
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1, error
    for word in words:
        assert word in error


@pytest.mark.parametrize(
    ("arguments", "member", "words"),
    [
        ([], 1, "It is the knee: it lies farthest above the straight line"),
        (["--knee"], 1, "both axes scaled to the front's own range"),
        (
            ["--robust-at-least", "0.65"],
            2,
            "most accurate of the 1 network with a robust accuracy of at least 65%",
        ),
        (["--robust-at-least", "0.3"], 0, "most accurate of the 3 networks"),
        (
            ["--clean-at-least", "0.85"],
            1,
            "most robust of the 2 networks with a clean accuracy of at least 85%",
        ),
        (["--weights", "0.7,0.3"], 1, "0.7 x clean + 0.3 x robust = 82.0%"),
        (["--weights", "9,1"], 0, "0.9 x clean + 0.1 x robust = 89.5%"),
        (["--weights", "0,5"], 2, "0 x clean + 1 x robust = 71.0%"),
        (["--member", "2"], 2, "It was named with --member"),
        (["--member", "2-3"], 2, "It was named with --member"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_rules(
    run: RunFolder, capsys: pytest.CaptureFixture[str], arguments: list[str], member: int, words: str
) -> None:
    assert main([str(run.path), *arguments]) == 0
    output = capsys.readouterr().out
    assert words in output
    assert f"network {member}: " in output
    assert "on validation images, targeted PGD-20 (9 classes), L∞, ε = 0.2, 2 starts" in output
    clean, robust = FIGURES[member]
    assert f"On test images, under the same attack: {clean:.1%} clean and {robust:.1%} robust" in output
    assert f"not verified; python -m morel_search.verify {run.path} verifies them" in output
    written = json.loads((run.path / "picked" / str(member) / "settings.json").read_text())
    assert (written["number"], written["threads"]) == (member, 1)
    assert written["picked"].get("figures") == (None if "--member" in arguments else "validation")
    assert f"python -m morel_search.train {run.path / 'picked' / str(member)}" in output


@pytest.mark.parametrize(
    "arguments",
    [[], ["--robust-at-least", "0.5"], ["--clean-at-least", "0.85"], ["--weights", "1,1"]],
    ids=" ".join,
)
def test_test_accuracies_choose_nothing_and_the_report_recommends_the_same_network(
    run: RunFolder, arguments: list[str]
) -> None:
    """By these test accuracies every rule would pick network 2, or network 0 for its clean accuracy."""
    front = run.read_front()
    front["test_clean_accuracy"] = [0.95, 0.5, 0.94]
    front["test_robust_accuracy"] = [0.7, 0.1, 0.9]
    run.write_table(run.front, front)
    assert main([str(run.path), *arguments]) == 0
    assert [path.name for path in (run.path / "picked").iterdir()] == ["1"]
    section = networks_section(read_run_data(run))
    assert section is not None
    assert "take network 1:" in section.html


def test_the_commands_of_the_report_work_on_a_front_of_low_robust_accuracy(
    tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_trained_run(tmp_path, trained, figures=((0.95, 0.10), (0.90, 0.29), (0.70, 0.31)))
    section = networks_section(read_run_data(run))
    assert section is not None
    commands = re.findall(r"morel_search\.pick \S+/small (--[^<\n]+)", section.html)
    assert commands == ["--member 1", "--robust-at-least 0.3", "--clean-at-least 0.91"]
    for command in commands:
        assert main([str(run.path), *shlex.split(command)]) == 0
        assert "network 1: " in capsys.readouterr().out


def test_the_report_of_a_running_search_says_when_the_weights_are_there(tmp_path: Path) -> None:
    for status, words in (("running", "when it ends"), ("finished", "are not in this copy")):
        section = networks_section(read_run_data(make_run(tmp_path, status, status=status)))
        assert section is not None
        assert words in section.html


def test_the_knee_s_neighbours_are_priced(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run.path)]) == 0
    assert "No cost of robustness was measurable here" in capsys.readouterr().out, "on 60 validation images"
    write_verified(run, (0, 0.95, 0.3, ""), (1, 0.9, 0.6, ""), (2, 0.5, 0.95, ""))
    assert main([str(run.path)]) == 0
    output = capsys.readouterr().out
    assert "One point of robustness costs 1.1 points of clean accuracy here (95% interval " in output
    assert "No cost of clean accuracy was measurable here, because the gain is within chance" in output


def test_the_folder_loads_in_a_fresh_process_to_the_same_bits(
    run: RunFolder, trained: Path, tmp_path: Path
) -> None:
    assert main([str(run.path), "--member", "1", "--out", str(tmp_path / "mine")]) == 0
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [
        "README.md",
        "model.safetensors",
        "settings.json",
    ]
    images = torch.rand(9, 1, 8, 8, generator=torch.Generator().manual_seed(3))
    torch.save(images, tmp_path / "images.pt")
    program = (
        "import sys, morel_search; assert 'torch' not in sys.modules\n"
        "import torch\n"
        "torch.set_num_threads(1); before = torch.get_rng_state()\n"
        "model = morel_search.load_model('mine')\n"
        "assert torch.equal(before, torch.get_rng_state())\n"
        "assert not {'ray', 'optuna', 'pydantic', 'pandas'} & set(sys.modules)\n"
        "assert isinstance(model, torch.nn.Module) and not model.training\n"
        "torch.save(model(torch.load('images.pt')).detach(), 'logits.pt')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, env=environment)
    torch.set_num_threads(1)
    expected = load_checkpoint(trained)[0](images).detach()
    assert torch.equal(torch.load(tmp_path / "logits.pt"), expected)
    assert torch.equal(morel_search.load_model(run.front_models / "1")(images).detach(), expected)


def test_verified_figures_decide_and_flagged_networks_wait_to_be_named(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    write_verified(
        run, (0, 0.94, 0.2, ""), (1, 0.9, 0.55, "gradients vanish, attacks stand still"), (2, 0.8, 0.5, "")
    )
    assert main([str(run.path), "--robust-at-least", "0.45"]) == 0
    output = capsys.readouterr().out
    assert (
        "network 2: 80.0% (78.0% to 82.0%) clean and 50.0% (48.0% to 52.0%) robust accuracy, verified on "
        "test images" in output
    )
    assert "Not considered: 1 (flagged)." in output
    assert "not verified" not in output
    assert main([str(run.path), "--member", "1"]) == 0
    captured = capsys.readouterr()
    assert (
        "warning: the verification flagged network 1; its robust accuracy is not reliable: gradients "
        "vanish, attacks stand still" in captured.err
    )
    card = (run.path / "picked" / "1" / "README.md").read_text()
    assert (
        "**The verification flagged this network; its robust accuracy is not reliable: gradients "
        "vanish, attacks stand still.**" in card
    )
    assert "90.0% (88.0% to 92.0%)" in card
    assert "95% intervals" in card
    write_verified(run, (1, 0.9, 0.55, "gradients vanish, attacks stand still"))
    refused(capsys, [str(run.path)], "each verified network was flagged", "1 is flagged", "--member")
    write_verified(run, (1, 0.9, 0.55, "gradients vanish"), images=20)
    assert main([str(run.path), "--member", "1"]) == 0
    assert "is not reliable: gradients vanish" in capsys.readouterr().err
    card = (run.path / "picked" / "1" / "README.md").read_text()
    assert "its robust accuracy is not reliable: gradients vanish.**" in card
    assert "55.0%" not in card, "on so few images the accuracies are not used"


def test_without_test_accuracies_the_validation_accuracies_are_printed_alone(
    tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_trained_run(tmp_path, trained, tested=False)
    assert main([str(run.path)]) == 0
    output = capsys.readouterr().out
    assert "91.0% clean and 61.0% robust accuracy, on validation images" in output
    assert "test images" not in output
    figures = json.loads((run.path / "picked" / "1" / "settings.json").read_text())["figures"]
    assert figures == {"validation": {"clean_accuracy": 0.91, "robust_accuracy": 0.61, "images": 60}}


def test_a_front_of_one(tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_trained_run(tmp_path, trained, figures=((0.9, 0.5),))
    for arguments in ([], ["--weights", "1,1"], ["--clean-at-least", "0"]):
        assert main([str(run.path), *arguments]) == 0
        assert "It has no neighbour" in capsys.readouterr().out


def test_epochs_of_one_training_have_folders_of_their_own(
    tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_trained_run(tmp_path, trained, select_epoch="front", epochs=(1, 2, 3))
    assert main([str(run.path), "--member", "1-2"]) == 0
    assert json.loads((run.path / "picked" / "1-2" / "settings.json").read_text())["epoch"] == 2
    refused(
        capsys, [str(run.path), "--member", "1-3"], "1-3 is not on the front; its networks are 0-1, 1-2, 2-3"
    )


def test_an_earlier_pick_is_replaced_and_nothing_else(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main([str(run.path), "--member", "1", "--out", str(out)]) == 0
    assert main([str(run.path), "--knee", "--out", str(out)]) == 0
    assert "knee" in json.loads((out / "settings.json").read_text())["picked"]["why"]
    refused(
        capsys,
        [str(run.path), "--member", "2", "--out", str(out)],
        "holds another network: trial 1, epoch 3, seed 7 of small",
        "--out",
    )
    (out / "LICENSE").write_text("mine")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    refused(capsys, [str(run.path), "--member", "1", "--out", str(out)], "holds LICENSE", "--out")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    refused(capsys, [str(run.path), "--out", str(run.front_models / "1")], "holds model.pt")
    (tmp_path / "file").write_text("")
    refused(capsys, [str(run.path), "--out", str(tmp_path / "file")], "a part of the path is a file")
    (tmp_path / "empty").mkdir()
    assert main([str(run.path), "--out", str(tmp_path / "empty")]) == 0
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_link_to_an_earlier_pick_stays_a_link(run: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "disk")
    for rule in (["--member", "1"], ["--knee"]):
        assert main([str(run.path), *rule, "--out", str(tmp_path / "out")]) == 0
        assert (tmp_path / "out").is_symlink()
    assert "knee" in json.loads((tmp_path / "disk/settings.json").read_text())["picked"]["why"]
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_pick_of_another_run_of_the_same_name_is_kept(
    run: RunFolder, tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both runs have the default seed, so the settings of their networks name the same trial."""
    out = tmp_path / "out"
    assert main([str(run.path), "--member", "1", "--out", str(out)]) == 0
    before = contents(out)
    other = make_trained_run(tmp_path / "elsewhere", trained)
    path = other.front_models / "1" / "model.pt"
    content = torch.load(path, weights_only=True)
    first = next(iter(content["weights"]))
    content["weights"][first] += 1
    torch.save(content, path)
    refused(
        capsys, [str(other.path), "--member", "1", "--out", str(out)], f"{out} holds other weights", "--out"
    )
    assert contents(out) == before


def test_a_model_card_that_was_edited_and_files_in_other_formats_are_kept(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = [str(run.path), "--member", "1", "--out", str(out)]
    assert main([*arguments, "--torch-export"]) == 0
    before = contents(out)
    assert main(arguments) == 0
    assert contents(out) == before, "the program is kept, and the card names it"
    for text in (before["README.md"] + b"\nFor the paper.\n", b"\xff"):
        (out / "README.md").write_bytes(text)
        changed = contents(out)
        refused(capsys, arguments, "README.md is not as it was written", "--out")
        assert contents(out) == changed
    (out / "README.md").unlink()
    assert main(arguments) == 0
    assert contents(out) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--robust-at-least", "1.2"], ["fraction from 0 to 1", "1.2"]),
        (["--clean-at-least", "nan"], ["fraction from 0 to 1", "nan"]),
        (["--clean-at-least", "85%"], ["fraction from 0 to 1", "85%"]),
        (["--weights", "0,0"], ["--weights", "0,0"]),
        (["--weights=-1,2"], ["--weights", "-1,2"]),
        (["--weights", "1,inf"], ["--weights", "1,inf"]),
        (["--weights", "1"], ["--weights"]),
        (
            ["--robust-at-least", "0.9"],
            ["at least 90%", "network 2 comes nearest with 71%, which is 19 points less"],
        ),
        (
            ["--clean-at-least", "0.9601"],
            ["at least 96.01%", "network 0 comes nearest with 96%, which is 0.01 points less"],
        ),
        (["--member", "8"], ["8 is not on the front; its networks are 0, 1, 2"]),
    ],
    ids=lambda value: " ".join(value)[:40],
)
def test_mistakes_are_one_sentence(
    run: RunFolder, capsys: pytest.CaptureFixture[str], arguments: list[str], words: list[str]
) -> None:
    refused(capsys, [str(run.path), *arguments], *words)
    assert not (run.path / "picked").exists()


def test_runs_that_cannot_be_picked_from(
    run: RunFolder, tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(capsys, [str(tmp_path / "nowhere")], "does not exist", "small")
    dead = make_run(tmp_path, "dead", trials=2, failures=2, controls=False)
    refused(capsys, [str(dead.path)], "has no network to pick", "No trial finished")
    running = make_run(tmp_path, "running", status="running")
    refused(capsys, [str(running.path)], "the weights of network", "model.pt does not exist")
    newer = make_trained_run(tmp_path, trained, name="newer", format=1000)
    refused(capsys, [str(newer.path)], "newer morel_search", "format 1000")
    (run.front_models / "1" / "model.pt").write_bytes(b"torn")
    refused(capsys, [str(run.path)], "is not a network of this project")
    (run.front_models / "1" / "model.pt").unlink()
    refused(capsys, [str(run.path)], "the weights of network 1 are missing")
    assert not (run.path / "picked").exists()


def test_two_rules_at_once_are_refused(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run.path), "--knee", "--member", "1"]) == 2
    assert "--knee and --member exclude each other" in capsys.readouterr().err
    result = subprocess.run(
        [sys.executable, "-m", "morel_search.pick", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "straight line between the two ends of the front" in " ".join(result.stdout.split())
