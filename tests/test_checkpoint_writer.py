"""Checkpoints that are written while the training continues: nothing is lost, mixed up or hidden."""

from __future__ import annotations

import dataclasses
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from test_final_evaluation import job_in, without_seconds

from morel_search.cluster.trainable import STATE_FILE, train_job
from morel_search.cluster.trial_report import TrialReport
from morel_search.errors import RunFolderError
from morel_search.models import checkpoint_writer
from morel_search.models.checkpoint import save_atomically
from morel_search.models.checkpoint_writer import Checkpoint, CheckpointWriter, snapshot


def loaded(path: Path) -> Any:
    return torch.load(path, weights_only=True)


class Gate:
    """Takes the place of ``save_atomically``: writes only while the gate is open."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.entered = threading.Event(), threading.Event()
        self.written: list[str] = []
        monkeypatch.setattr(checkpoint_writer, "save_atomically", self.save)

    def save(self, path: Path, content: dict[str, object]) -> None:
        self.entered.set()
        self.open.wait()
        save_atomically(path, content)
        self.written.append(path.name)


def test_two_processes_that_write_one_file_do_not_mix_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The network lost a machine, its training was moved, and the first process still runs."""
    path, save = tmp_path / STATE_FILE, torch.save

    def interrupted(content: Any, file: Any) -> None:
        monkeypatch.setattr(torch, "save", save)
        file.write(b"the beginning of ")
        save_atomically(path, {"process": 2, "long": torch.zeros(1000)})
        file.seek(0)
        save(content, file)

    monkeypatch.setattr(torch, "save", interrupted)
    save_atomically(path, {"process": 1})
    assert loaded(path) == {"process": 1}
    assert [file.name for file in tmp_path.iterdir()] == [STATE_FILE]


def test_a_snapshot_is_equal_and_independent() -> None:
    weights: Any = torch.nn.Sequential(torch.nn.BatchNorm2d(2)).state_dict()
    weights["a"] = torch.ones(2, 3, 4, 5).to(memory_format=torch.channels_last)
    value = {"weights": weights, "groups": [{"lr": 0.1, "params": (0, 1)}], "none": None}
    copied: Any = snapshot(value)
    weights["a"].zero_()
    assert torch.equal(copied["weights"]["a"], torch.ones(2, 3, 4, 5))
    assert copied["weights"]["a"].stride() == weights["a"].stride()
    assert copied["weights"]._metadata["0"] == {"version": 2}  # of batch normalisation
    assert copied["groups"] == value["groups"]
    assert copied["none"] is None


def test_later_steps_do_not_change_what_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, weights = Gate(monkeypatch), torch.ones(3)
    with CheckpointWriter(tmp_path, "state.pt") as writer:
        writer.submit(Checkpoint({"weights": weights}, {"model.pt": {"weights": weights}}))
        weights.add_(1)
        gate.open.set()
    assert loaded(tmp_path / "state.pt")["weights"].tolist() == [1, 1, 1]
    assert loaded(tmp_path / "model.pt")["weights"].tolist() == [1, 1, 1]


def test_the_newest_checkpoint_takes_the_place_of_one_that_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that is slower than an epoch never holds a training up; needed networks are all written."""
    gate = Gate(monkeypatch)
    names = {epoch: f"model-{epoch}.pt" for epoch in range(1, 5)}
    with CheckpointWriter(tmp_path, "state.pt") as writer:
        writer.submit(Checkpoint({"epoch": 1}, {names[1]: {"epoch": 1}}, {names[1]}))
        gate.entered.wait()
        writer.submit(Checkpoint({"epoch": 2}, {names[2]: {"epoch": 2}}, {names[1], names[2]}))
        writer.submit(Checkpoint({"epoch": 3}, {names[3]: {"epoch": 3}}, {names[2], names[3]}))
        writer.submit(Checkpoint({"epoch": 4}, {}, {names[2]}))
        gate.open.set()
    assert gate.written == [names[1], "state.pt", names[2], "state.pt"]
    assert loaded(tmp_path / "state.pt") == {"epoch": 4}
    assert sorted(path.name for path in tmp_path.iterdir()) == [names[2], "state.pt"]


def test_a_full_disk_ends_the_training_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, content: dict[str, object]) -> None:
        raise RunFolderError(f"cannot write {path}: the disk is full")

    monkeypatch.setattr(checkpoint_writer, "save_atomically", full)
    reports: list[TrialReport] = []
    with pytest.raises(RunFolderError, match="the disk is full"):
        train_job(job_in(tmp_path, "last"), reports.append)
    assert len(reports) < 5  # it is not noticed at the end alone


def test_a_failed_last_write_is_not_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(path: Path, content: dict[str, object]) -> None:
        raise RunFolderError("the disk is full")

    monkeypatch.setattr(checkpoint_writer, "save_atomically", fails)
    with pytest.raises(RunFolderError, match="full"), CheckpointWriter(tmp_path, "state.pt") as writer:
        writer.submit(Checkpoint({}, {}))


def test_after_a_failed_write_no_later_state_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A state of epoch 2 beside the network of an earlier epoch would select weights that do not exist."""
    entered, opened = threading.Event(), threading.Event()

    def full_once(path: Path, content: dict[str, object]) -> None:
        if not entered.is_set():
            entered.set()
            opened.wait()
            raise RunFolderError("the disk is full")
        save_atomically(path, content)

    monkeypatch.setattr(checkpoint_writer, "save_atomically", full_once)

    def train() -> None:
        with CheckpointWriter(tmp_path, "state.pt") as writer:
            writer.submit(Checkpoint({"epoch": 1}, {"model.pt": {"epoch": 1}}))
            entered.wait()
            writer.submit(Checkpoint({"epoch": 2}, {}))
            opened.set()

    with pytest.raises(RunFolderError, match="full"):
        train()
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_training_stays_and_the_last_checkpoint_is_written(tmp_path: Path) -> None:
    def train() -> None:
        with CheckpointWriter(tmp_path, "state.pt") as writer:
            writer.submit(Checkpoint({"epoch": 1}, {}))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        train()
    assert loaded(tmp_path / "state.pt") == {"epoch": 1}
    assert not [thread for thread in threading.enumerate() if thread.name == "checkpoints"]


def test_at_a_rung_the_checkpoint_is_on_the_disk_before_the_report(tmp_path: Path) -> None:
    """Early stopping may end the training there; a later start never has less than what was compared."""
    job = dataclasses.replace(job_in(tmp_path, "last"), rungs=(1, 3))
    on_disk: dict[int, int] = {}

    def report(progress: TrialReport) -> None:
        epoch = progress.history[-1].epoch
        if epoch in job.rungs:
            on_disk[epoch] = len(loaded(tmp_path / STATE_FILE)["history"])

    train_job(job, report)
    assert on_disk == {1: 1, 3: 3}


@pytest.mark.parametrize("rule", ["best_robust", "front"])
def test_a_kill_before_the_checkpoint_is_written_costs_epochs_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    """The folder as a kill leaves it after epoch 4: the checkpoints of epochs 3 and 4 are not written."""
    expected = train_job(job_in(tmp_path / "whole", rule), lambda report: None)
    gate = Gate(monkeypatch)
    gate.open.set()

    def report(progress: TrialReport) -> None:
        epoch = progress.history[-1].epoch
        if epoch == 2:
            while len(loaded(tmp_path / "killed" / STATE_FILE)["history"]) < 2:
                pass
            gate.open.clear()
        if epoch == 4:
            shutil.copytree(tmp_path / "killed", tmp_path / "left")
            gate.open.set()

    (tmp_path / "killed").mkdir()
    save_atomically(tmp_path / "killed" / STATE_FILE, {"job": "another", "history": []})
    train_job(job_in(tmp_path / "killed", rule), report)
    reported: list[list[int]] = []
    resumed = train_job(
        job_in(tmp_path / "left", rule), lambda report: reported.append([one.epoch for one in report.history])
    )
    assert reported == [[1, 2], [3], [4], [5]]
    assert without_seconds(resumed) == without_seconds(expected)
    whole = {path.name: loaded(path) for path in (tmp_path / "whole").glob("model*.pt")}
    left = {path.name: loaded(path) for path in (tmp_path / "left").glob("model*.pt")}
    assert whole.keys() == left.keys()
    for name, content in whole.items():
        for key, weight in content["weights"].items():
            assert torch.equal(weight, left[name]["weights"][key]), (name, key)
