"""Folders from somebody else: pipes, devices, large files, links that lead out, a journal that deletes."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import shutil
import sqlite3
import struct
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from trained_runs import TRAIN, train_trial

from morel_search.cluster.trainable import STATE_FILE
from morel_search.config.reader import read_text
from morel_search.errors import NetworkError, RunFolderError, SpaceError
from morel_search.models import checkpoint
from morel_search.models.archive import check_archive
from morel_search.models.load import load_model
from morel_search.results import reading
from morel_search.results.attack_records import fingerprint
from morel_search.results.files import hold_lock
from morel_search.results.folder import RunFolder, open_run_folder
from morel_search.results.links import check_links
from morel_search.search.study import TrialStore
from morel_search.training.networks import build_network
from morel_search.training.settings import NetworkSettings

EXAMPLE = Path(__file__).parents[1] / "results" / "example"


def pipe(path: Path) -> None:
    os.mkfifo(path)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def large(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2 * reading.TABLE_BYTES)


ODD = pytest.mark.parametrize(
    ("make", "reason"),
    [
        (pipe, "it is a pipe or a device, not a file"),
        (device, "it is a pipe or a device, not a file"),
        (Path.mkdir, "it is a folder, not a file"),
        (large, "it has more than 1024 MiB"),
    ],
)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    folder = tmp_path / "run"
    shutil.copytree(EXAMPLE, folder)
    return open_run_folder(folder)


@ODD
@pytest.mark.parametrize("name", ["trials", "epochs", "front", "verified", "replicates"])
def test_a_table_that_is_no_file_is_one_sentence(
    run: RunFolder, name: str, make: Callable[[Path], None], reason: str
) -> None:
    path = run.path / f"{name}.csv"
    path.unlink(missing_ok=True)
    make(path)
    with pytest.raises(RunFolderError) as caught:
        getattr(run, f"read_{name}")()
    assert str(caught.value) == f"cannot read {path}: {reason}"


@ODD
def test_settings_that_are_no_file_are_one_sentence(
    run: RunFolder, make: Callable[[Path], None], reason: str
) -> None:
    run.settings.unlink()
    make(run.settings)
    with pytest.raises(RunFolderError) as caught:
        run.read_settings()
    assert str(caught.value) == f"cannot read {run.settings}: {reason.replace('1024', '32')}"
    with pytest.raises(NetworkError, match="cannot be read: it "):
        load_model(run.path)


@pytest.mark.parametrize("make", [pipe, device, Path.mkdir])
def test_weights_that_are_no_file_are_one_sentence(tmp_path: Path, make: Callable[[Path], None]) -> None:
    settings = {"format": 1, "network": {"name": "small_cnn", "options": {}}}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    for name in ("model.pt", "model.safetensors"):
        path = tmp_path / name
        make(path)
        with pytest.raises(NetworkError, match="not a file"):
            load_model(tmp_path)
        with pytest.raises(RunFolderError, match=f"cannot read {path}: it is "):
            fingerprint(path)


def test_a_pipe_named_as_a_space_file_is_refused_but_not_one_of_the_shell(tmp_path: Path) -> None:
    pipe(tmp_path / "space.yaml")
    with pytest.raises(SpaceError, match="is a pipe; name a file that holds settings"):
        read_text(tmp_path / "space.yaml")
    reader, writer = os.pipe()
    os.write(writer, b"data: {}")
    os.close(writer)
    assert read_text(Path(f"/dev/fd/{reader}")) == "data: {}"
    os.close(reader)


def test_the_limit_counts_what_is_read_and_an_exact_file_passes(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"x" * 2**20)
    assert len(reading.read_regular(path, 2**20)) == 2**20
    path.write_bytes(b"x" * (2**20 + 1))
    with pytest.raises(OSError, match="it has more than 1 MiB"):
        reading.read_regular(path, 2**20)


@pytest.mark.parametrize(
    "place", ["front", "front/12", "controls", "figures", "verification", "ray", "ray/checkpoints/3"]
)
def test_nothing_is_written_through_a_folder_that_leads_out(
    run: RunFolder, tmp_path: Path, place: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    link = run.path / place
    shutil.rmtree(link, ignore_errors=True)
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(outside)
    for write in (lambda: run.write_bytes(link / "x", b"x"), run.lock):
        with pytest.raises(RunFolderError, match=f"{link} leads out of the run folder, to {outside}"):
            write()
    assert not list(outside.iterdir())


@pytest.mark.parametrize(
    "name", [".lock", ".reserve", "study.db", "study.db-wal", "study.db-journal", "ray/model.pt.tmp"]
)
def test_a_file_that_is_written_in_place_must_not_lead_out(run: RunFolder, tmp_path: Path, name: str) -> None:
    (tmp_path / "mine").write_text("precious")
    (run.path / "ray").mkdir(exist_ok=True)
    link = run.path / name
    link.unlink(missing_ok=True)
    for target in ("mine", "missing"):
        link.symlink_to(tmp_path / target)
        with pytest.raises(RunFolderError, match="leads out of the run folder"):
            run.lock()
        link.unlink()
    assert (tmp_path / "mine").read_text() == "precious"
    assert not (tmp_path / "missing").exists()


def test_a_lock_is_not_taken_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    (tmp_path / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(RunFolderError, match="symbolic links"), hold_lock(tmp_path / ".lock"):
        pass
    assert (tmp_path / "mine").read_text() == "precious"


def test_links_that_harm_nothing_are_allowed(run: RunFolder, tmp_path: Path) -> None:
    """Weights in a cache of another program, links inside the folder, a link to the whole folder."""
    (tmp_path / "cache").write_bytes(b"weights")
    (run.path / "front" / "1").mkdir(parents=True, exist_ok=True)
    (run.path / "front" / "1" / "model.pt").symlink_to(tmp_path / "cache")
    (run.path / "best").symlink_to("front")
    (run.path / "report.html").unlink(missing_ok=True)
    (run.path / "report.html").symlink_to(tmp_path / "cache")
    check_links(run.path)
    linked = tmp_path / "linked"
    linked.symlink_to(run.path)
    moved = RunFolder(linked)
    with moved.lock():
        moved.write_text("report.html", "new")
    assert (tmp_path / "cache").read_bytes() == b"weights"


@pytest.mark.parametrize("target", ["a" * 300, "itself"])
def test_a_link_that_leads_nowhere_is_no_traceback(run: RunFolder, target: str) -> None:
    (run.path / "itself").symlink_to(target)
    check_links(run.path)


def test_a_link_in_a_circle_is_named(run: RunFolder) -> None:
    (run.path / "circle").symlink_to("circle")
    with pytest.raises(RunFolderError, match=r"cannot \w+ .*circle/x: "):
        run.write_text("circle/x", "")


def super_journal(victim: Path, pages: int) -> bytes:
    """Return a journal without pages that names a super-journal, as SQLite's file format describes it."""
    name, magic = str(victim).encode(), bytes.fromhex("d9d505f920a163d7")
    head = (magic + struct.pack(">IIIII", 0, 1234, pages, 512, 4096)).ljust(512, b"\0")
    lock_page = 0x40000000 // 4096 + 1
    record = struct.pack(">I", lock_page) + name + struct.pack(">II", len(name), sum(name) & 0xFFFFFFFF)
    return head + record + magic


def test_a_journal_beside_a_study_cannot_delete_another_file(tmp_path: Path) -> None:
    victim = tmp_path / "mine"

    def put(study: Path) -> None:
        victim.write_text("precious")
        journal = super_journal(victim, study.stat().st_size // 4096)
        study.with_name(f"{study.name}-journal").write_bytes(journal)

    study = tmp_path / "study.db"
    TrialStore.of_file(study, "run").close()
    put(study)
    with pytest.raises(RunFolderError, match=r"study\.db-journal beside it names another file, which SQLite"):
        TrialStore.of_file(study, "run")
    assert victim.read_text() == "precious"

    with closing(sqlite3.connect(study)) as connection:  # the journal is one that SQLite obeys
        connection.execute("SELECT * FROM studies").fetchall()
    assert not victim.exists()
    TrialStore.of_file(study, "run").close()


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        (
            "CREATE VIEW v AS WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) "
            "SELECT x FROM c WHERE x < 0",
            "view 'v'",
        ),
        ("CREATE TRIGGER t AFTER UPDATE ON trials BEGIN DELETE FROM trials; END", "trigger 't'"),
    ],
)
def test_a_study_with_statements_that_run_by_themselves_is_refused(
    tmp_path: Path, statement: str, what: str
) -> None:
    """A view can be read for ever, and a trigger can delete finished trials."""
    path = tmp_path / "study.db"
    TrialStore.of_file(path, "run").close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
    with pytest.raises(RunFolderError, match=f"it has the {what}, which no study has"):
        TrialStore.of_file(path, "run")


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("UPDATE trials SET state = 'DREAMING'", "'DREAMING'"),
        ("UPDATE trial_params SET distribution_json = '{}'", "where one is required"),
        ("UPDATE trial_params SET distribution_json = 'null'", ""),
        ("UPDATE trials SET datetime_start = 'noon'", "Invalid isoformat string"),
        ("UPDATE study_user_attributes SET value_json = '[1]'", ""),
    ],
)
def test_damaged_rows_of_a_study_are_one_sentence(tmp_path: Path, statement: str, reason: str) -> None:
    path = tmp_path / "study.db"
    store = TrialStore.of_file(path, "run")
    store.set_identity({})
    study = optuna.load_study(study_name="run", storage=f"sqlite:///{path}")
    study.add_trial(
        optuna.trial.create_trial(
            params={"x": 0.5},
            distributions={"x": optuna.distributions.FloatDistribution(0, 1)},
            values=[0.5, 0.5],
        )
    )
    store.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(statement)
        connection.commit()

    def read() -> None:
        again = TrialStore.of_file(path, "run")
        try:
            again.identity()
            again.trials()
        finally:
            again.close()

    with pytest.raises(RunFolderError) as caught:
        read()
    assert reason in str(caught.value)


def test_a_pipe_among_the_files_of_sqlite_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    TrialStore.of_file(path, "run").close()
    pipe(tmp_path / "study.db-shm")
    with pytest.raises(RunFolderError, match=f"the study at {path} cannot be opened"):
        TrialStore.of_file(path, "run")


def test_compressed_weights_are_refused_before_they_fill_the_memory(tmp_path: Path) -> None:
    network = NetworkSettings(name="small_cnn", options={"width": 4})
    path = tmp_path / "model.pt"
    model = build_network(network, (1, 8, 8), 10)
    checkpoint.save_model(path, model, network, (1, 8, 8), [str(digit) for digit in range(10)])
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    assert torch.load(path, weights_only=True)["image_shape"] == [1, 8, 8]  # torch would read it
    with pytest.raises(NetworkError, match="it is compressed"):
        checkpoint.load_model(path)


def test_an_archive_of_a_zip_version_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({}, path)
    content = bytearray(path.read_bytes())
    entry = content.index(b"PK\1\2")  # the first entry of the central directory
    content[entry + 6] = 255  # version needed to extract
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"damaged, or torch\.save did not write it"):
        check_archive(path)


@pytest.mark.parametrize("error", [OverflowError, MemoryError, EOFError, pickle.UnpicklingError])
def test_a_training_whose_checkpoint_cannot_be_read_starts_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    train = dataclasses.replace(TRAIN, epochs=1)
    (before,) = train_trial(tmp_path, train=train)
    load = torch.load

    def fail(path: Path, **options: Any) -> Any:
        if Path(path).name == STATE_FILE:
            raise error
        return load(path, **options)

    monkeypatch.setattr(torch, "load", fail)
    (after,) = train_trial(tmp_path, train=train)
    assert (after.loss, after.robust_accuracy) == (before.loss, before.robust_accuracy)


def test_no_message_advises_to_load_weights_as_code(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"network": print}, path)
    with pytest.raises(NetworkError) as caught:
        checkpoint.load_model(path)
    assert "holds more than tensors and plain values" in str(caught.value)
    assert "weights_only" not in str(caught.value)
