"""``python -m morel_search.train``: the weights of the search's trial, another seed, and its errors."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from trained_runs import DATA, EVALUATION, TRAIN, make_trained_run, train_trial

import morel_search
from morel_search.errors import DataError
from morel_search.models.checkpoint import load_model as load_checkpoint
from morel_search.pick import main as pick
from morel_search.results.folder import RunFolder
from morel_search.train import main
from morel_search.training.compute_settings import Compute
from morel_search.training.datasets import loading as data
from morel_search.training.datasets.loading import load_test
from morel_search.training.evaluation import evaluate
from morel_search.training.selection import EpochResult
from morel_search.training.trainer import Training
from morel_search.workflows import retrain as retraining

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[EpochResult]]:
    """What a search's trial left: its network, and its epochs."""
    folder = tmp_path_factory.mktemp("trial")
    history = train_trial(folder)
    return folder / "model.pt", history


@pytest.fixture
def run(tmp_path: Path, trial: tuple[Path, list[EpochResult]]) -> RunFolder:
    return make_trained_run(tmp_path, trial[0], epochs=[int(load_checkpoint(trial[0])[1].epoch)] * 3)


def same(folder: Path, checkpoint: Path) -> bool:
    new, old = morel_search.load_model(folder).state_dict(), load_checkpoint(checkpoint)[0].state_dict()
    assert list(new) == list(old)
    return all(torch.equal(new[name], old[name]) for name in old)


def settings(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "settings.json").read_text()))


def change(folder: Path, section: str, /, **values: Any) -> None:
    before = settings(folder)
    (folder / "settings.json").write_text(json.dumps({**before, section: {**before[section], **values}}))


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], *words: str) -> None:
    capsys.readouterr()
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1, error
    for word in words:
        assert word in error


def raiser(error: Exception) -> Callable[..., Any]:
    def fail(*arguments: Any, **named: Any) -> Any:
        raise error

    return fail


def test_the_same_seed_gives_the_trial_s_weights_to_the_bit(
    run: RunFolder, trial: tuple[Path, list[EpochResult]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run.front_models / "1"), "--out", str(tmp_path / "again")]) == 0
    said = capsys.readouterr().out
    assert same(tmp_path / "again", trial[0])
    made, epoch = settings(tmp_path / "again"), load_checkpoint(trial[0])[1].epoch
    chosen = trial[1][epoch - 1]
    assert (made["epoch"], made["seed"], made["threads"], made["device"]) == (epoch, 7, 1, "cpu")
    assert made["figures"]["validation"] == {
        "clean_accuracy": chosen.clean_accuracy,
        "robust_accuracy": chosen.robust_accuracy,
        "images": 60,
    }
    scored = evaluate(load_checkpoint(trial[0])[0], load_test(DATA), EVALUATION, seed=1)
    assert made["figures"]["test"] == {
        "clean_accuracy": scored.clean_accuracy,
        "robust_accuracy": scored.robust_accuracy,
        "images": 80,
    }
    assert said.splitlines()[0] == "images: digits"
    lines = [line for line in said.splitlines() if " of 3: loss " in line]
    assert len(lines) == 3
    assert all(f"loss {result.loss:.4f}" in line for line, result in zip(lines, trial[1], strict=True))
    assert all("clean" in line for line in lines), "epoch 1 is a rung, epoch 2 is due, epoch 3 is the last"
    assert f"on the test split: clean {100 * scored.clean_accuracy:.1f}%" in said


def test_a_picked_network_trains_again_in_a_process_without_ray(
    run: RunFolder, trial: tuple[Path, list[EpochResult]]
) -> None:
    assert pick([str(run.path)]) == 0
    folder = run.path / "picked" / "1"
    program = (
        "import sys\nfrom morel_search.train import main\nassert main(['1']) == 0\n"
        "assert not {'ray', 'optuna', 'pydantic', 'ruamel'} & set(sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder.parent,
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    again = run.path / "picked" / "1-seed7"
    assert same(again, trial[0])
    assert "picked" not in settings(again)
    assert settings(again)["made_by"] == "python -m morel_search.train"
    card = (again / "README.md").read_text()
    assert "Why this network" not in card
    assert "python -m morel_search.train 1-seed7" in card


def test_another_seed_gives_other_weights_in_a_folder_of_its_own(
    run: RunFolder, trial: tuple[Path, list[EpochResult]], tmp_path: Path
) -> None:
    assert main([str(run.front_models / "1"), "--seed", "8"]) == 0
    other = run.path / "picked" / "1-seed8"  # a search tidies its front/ when it is resumed
    assert settings(other)["seed"] == 8
    assert not same(other, trial[0])
    train_trial(tmp_path / "trial8", seed=8)
    assert settings(other)["epoch"] == load_checkpoint(tmp_path / "trial8" / "model.pt")[1].epoch
    assert same(other, tmp_path / "trial8" / "model.pt")
    assert sorted(path.name for path in run.front_models.iterdir()) == ["0", "1", "2"]


def test_with_the_rule_front_the_stored_epoch_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train_trial(tmp_path / "trial", select_epoch="front")
    file = min((tmp_path / "trial").glob("model-*.pt"))
    epoch = int(file.stem.removeprefix("model-"))
    run = make_trained_run(tmp_path, file, select_epoch="front", epochs=(epoch,))
    assert main([str(run.front_models / f"0-{epoch}"), "--out", str(tmp_path / "again")]) == 0
    assert same(tmp_path / "again", file)
    assert settings(tmp_path / "again")["epoch"] == epoch
    assert capsys.readouterr().out.count(": loss ") == epoch


@pytest.mark.parametrize("rule", ["last", "best_robust"])
def test_the_epoch_follows_the_search_s_rule(rule: str, tmp_path: Path) -> None:
    train = dataclasses.replace(TRAIN, ema=0.0, epochs=4, schedule="step", schedule_drops=(0.5, 0.75))
    train_trial(tmp_path / "trial", select_epoch=rule, train=train)
    file = tmp_path / "trial" / "model.pt"
    epoch = int(load_checkpoint(file)[1].epoch)
    run = make_trained_run(tmp_path, file, select_epoch=rule, train=train, epochs=(epoch,))
    assert main([str(run.front_models / "0"), "--out", str(tmp_path / "again")]) == 0
    assert settings(tmp_path / "again")["epoch"] == epoch
    assert same(tmp_path / "again", file)


def test_an_existing_folder_is_refused_before_training(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    member = str(run.front_models / "1")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("")
    refused(capsys, [member, "--out", str(tmp_path / "full")], "exists already and holds thesis.tex", "--out")
    refused(capsys, [member, "--out", member], "exists already and holds model.pt")


def test_what_came_into_the_new_folder_during_the_training_is_kept(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as another network that was written there: a training takes hours."""
    new, score = tmp_path / "new", retraining._score

    def written(*_: object) -> None:
        new.mkdir(exist_ok=True)
        (new / "settings.json").write_text("another network")

    def noted(folder: Path, *rest: Any) -> Any:
        (folder / "notes.txt").write_text("mine")
        return score(folder, *rest)

    monkeypatch.setattr(retraining, "_print_epoch", written)
    monkeypatch.setattr(retraining, "_score", noted)
    assert main([str(run.front_models / "1"), "--out", str(new)]) == 0
    assert {path.name: path.read_text() for path in new.iterdir()} == {"settings.json": "another network"}
    assert list(settings(tmp_path / "new-2")["figures"]) == ["test", "validation"]
    assert (tmp_path / "new-2" / "notes.txt").read_text() == "mine"
    captured = capsys.readouterr()
    assert f"{new} was written by somebody else meanwhile; the network is in {new}-2" in captured.err
    assert f"written to {new}-2" in captured.out
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_the_paths_of_the_images_are_printed_before_they_are_read(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder from somebody else names them."""
    folder = run.front_models / "1"
    change(folder, "data", name="image_folder", train="/no/train", test="/no/test")
    assert main([str(folder)]) == 2
    assert capsys.readouterr().out == "images: image_folder, data.train /no/train, data.test /no/test\n"
    change(folder, "data", name="cifar10", folder="/no/data", download=False)
    assert main([str(folder)]) == 2
    assert capsys.readouterr().out == "images: cifar10, data.folder /no/data\n"


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        ("train", {"lr": 1e30, "optimizer": "sgd", "schedule": "constant"}, ["diverged in epoch 1"]),
        ("train", {"batch_size": 0}, ["cannot be trained again", "batch_size must be >= 1, got 0"]),
        ("train", {"warp": 9}, ["knows no setting warp"]),
        ("train", {"accuracy_loss": "nowhere:loss"}, ["nowhere:loss"]),
        ("train", {"epochs": 0}, ["epochs must be >= 1"]),
        (
            "data",
            {"name": "parquet", "train": "mine/*.parquet", "test": "t.parquet"},
            [".parquet", "start from the current folder"],
        ),
        (
            "data",
            {"name": "image_folder", "train": "mine", "test": "t"},
            ["is not a folder", "start from the current folder"],
        ),
        ("network", {"options": {"width": -1}}, ["width"]),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_cannot_be_trained_is_one_sentence(
    run: RunFolder, capsys: pytest.CaptureFixture[str], section: str, values: dict[str, Any], words: list[str]
) -> None:
    folder = run.front_models / "1"
    change(folder, section, **values)
    refused(capsys, [str(folder)], *words)
    assert not (run.path / "picked").exists()


def test_mistakes_of_the_command_line(
    run: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    member = run.front_models / "1"
    refused(capsys, [str(tmp_path / "nowhere")], "no such folder")
    refused(capsys, [str(run.path)], "is not the settings of a network")
    for seed in ("-1", "x", str(2**63)):
        refused(capsys, [str(member), f"--seed={seed}"], "invalid value for '--seed'", seed)
    if not torch.cuda.is_available():
        refused(
            capsys, [str(member), "--device", "cuda"], "--device is cuda, which this machine does not have"
        )
    stored = settings(member)
    for change_, words in (
        ({"seed": None}, ["cannot be trained again"]),
        ({"select_epoch": "lucky"}, ["select_epoch must be one of last", "lucky"]),
        ({"epoch": 4}, ["epoch must be 1 to 3 (train.epochs), got 4"]),
    ):
        (member / "settings.json").write_text(json.dumps({**stored, **change_}))
        refused(capsys, [str(member)], *words)
    (member / "settings.json").write_text(
        json.dumps({name: value for name, value in stored.items() if name != "seed"})
    )
    refused(capsys, [str(member)], "its settings have no seed")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_too_little_memory_is_one_sentence(
    run: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(Training, "_train_epoch", raiser(error))
    refused(capsys, [str(run.front_models / "1")], "out of memory", "cpu")
    monkeypatch.setattr(Training, "_train_epoch", raiser(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        main([str(run.front_models / "1")])


def test_arithmetic_that_is_not_here_is_replaced_with_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    assert retraining._compute(Compute(precision="tf32", channels_last=True), "cpu") == Compute(
        channels_last=True
    )
    assert "the training uses float32 instead, and the weights will differ" in capsys.readouterr().err
    assert retraining._compute(None, "cpu") == Compute()
    assert not capsys.readouterr().err


def test_a_device_that_is_not_here_is_replaced_with_a_warning(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert retraining._device("auto", "cuda") == "cpu"
    assert "the network was trained on cuda, which this machine does not have" in capsys.readouterr().err
    assert retraining._device("auto", None) == "cpu"
    assert not capsys.readouterr().err


def test_a_test_split_that_fails_leaves_the_network(
    run: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "load_test", raiser(DataError("image 3 of test.parquet is damaged")))
    refused(
        capsys,
        [str(run.front_models / "1")],
        "image 3 of test.parquet is damaged; the network is in",
        "1-seed7",
    )
    made = run.path / "picked" / "1-seed7"
    assert list(settings(made)["figures"]) == ["validation"]
    morel_search.load_model(made)


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_ctrl_c_ends_with_130_and_leaves_nothing(run: RunFolder, number: signal.Signals) -> None:
    folder = run.front_models / "1"
    change(folder, "train", epochs=5000)
    command = [sys.executable, "-m", "morel_search.train", str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "images: digits\n"
    assert process.stdout.readline().startswith("epoch   1 of 5000")
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert errors.strip() == "morel_search: interrupted"
    assert not (run.path / "picked").exists()
