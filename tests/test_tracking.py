"""Trackers: the libraries themselves read back what was sent, and it equals the tables of the run folder."""

from __future__ import annotations

import dataclasses
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from run_folders import CONTROLS, make_run

from morel_search.__main__ import main
from morel_search.analysis.run_data import read_run_data
from morel_search.errors import RunFolderError, TrackerError
from morel_search.results.folder import RunFolder
from morel_search.results.tables import VERIFIED_COLUMNS
from morel_search.tracking.child import TOLD
from morel_search.tracking.follow import SILENT_SECONDS, SearchEnd, follow
from morel_search.tracking.records import EPOCH_METRICS, TrialRecord, trial_records
from morel_search.tracking.send import Counts, send_run
from morel_search.tracking.targets import Target, parse_target
from morel_search.workflows.followers import Followers

BOARD = Target("tensorboard")

PYTHON = sys.executable


def made(folder: Path, **options: Any) -> RunFolder:
    """Make a run with controls, a stopped and a failed trial, and weights of its front."""
    run = make_run(folder, trials=6, pruned=1, failures=1, rungs=(2, 4), **options)
    for entry in read_run_data(run).networks:
        if entry.member:
            run.write_bytes(run.front_models / entry.name / "model.pt", b"weights of " + entry.name.encode())
            run.write_json(run.front_models / entry.name / "settings.json", {"number": entry.number})
    return run


def verify(run: RunFolder, *rows: tuple[int, int, float, float, str]) -> None:
    """Write ``verified.csv``: number, epoch, clean and robust accuracy, and verdict of each network."""
    cells = [
        {
            "number": number,
            "epoch": epoch,
            "images": 100,
            "clean_accuracy": clean,
            "clean_low": clean - 0.05,
            "clean_high": clean + 0.05,
            "robust_accuracy": robust,
            "robust_low": robust - 0.05,
            "robust_high": robust + 0.05,
            "verdict": verdict,
        }
        for number, epoch, clean, robust, verdict in rows
    ]
    mixture = {"name": "1+2@30", "images": 100, **dict.fromkeys(("clean_accuracy", "robust_accuracy"), 0.5)}
    run.write_table(run.verified, pd.DataFrame([*cells, mixture], columns=list(VERIFIED_COLUMNS)))


def expected_scalars(run: RunFolder, number: int) -> dict[str, dict[int, float]]:
    """Return the metrics of a trial's epochs as the table has them: name, then epoch to value."""
    table = run.read_epochs()
    rows = table[table["number"] == number]
    return {
        name: {int(epoch): value for epoch, value in zip(rows["epoch"], rows[column], strict=True)}
        for column, name in EPOCH_METRICS.items()
        if rows[column].notna().any()
    }


def active(row: dict[Any, Any]) -> dict[str, Any]:
    """Return the parameters of a row of ``trials.csv``."""
    return {
        str(column).removeprefix("param_"): value
        for column, value in row.items()
        if str(column).startswith("param_") and not pd.isna(value) and value != ""
    }


# TensorBoard


@pytest.fixture(scope="module")
def board() -> Callable[[Path], Any]:
    """TensorBoard's own reader of the event files of a folder."""
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="tensorboard is not installed"
    )

    def read(folder: Path) -> Any:
        accumulator = reader.EventAccumulator(str(folder), size_guidance={reader.SCALARS: 0})
        accumulator.Reload()
        return accumulator

    return read


def test_tensorboard_reads_every_trial(tmp_path: Path, board: Callable[[Path], Any]) -> None:
    from tensorboard.plugins.hparams import api_pb2, metadata

    run = made(tmp_path)
    rows = run.read_trials().to_dict("records")
    assert send_run(run, BOARD) == Counts(new=len(rows))
    states = set()
    for row in rows:
        read = board(run.path / "tensorboard" / f"trial-{int(row['number']):04d}")
        for name, values in expected_scalars(run, int(row["number"])).items():
            events = {event.step: event.value for event in read.Scalars(name)}
            assert events == pytest.approx({epoch: np.float32(value) for epoch, value in values.items()})
        infos = {
            name: found.plugin_data.content
            for name, found in read.summary_metadata.items()
            if found.plugin_data.plugin_name == "hparams"
        }
        start = metadata.parse_session_start_info_plugin_data(infos["_hparams_/session_start_info"])
        shown = {name: value.string_value or value.number_value for name, value in start.hparams.items()}
        assert shown == active(row)
        end = metadata.parse_session_end_info_plugin_data(infos["_hparams_/session_end_info"])
        assert (end.status == api_pb2.STATUS_FAILURE) == (row["state"] == "FAIL")
        told = read.Tensors("trial/text_summary")[-1].tensor_proto.string_val[0].decode()
        assert f"| state | {row['state']} |" in told
        states.add(row["state"])
        objectives = {
            name for name in ("clean_accuracy", "robust_accuracy") if name in read.Tags()["scalars"]
        }
        assert len(objectives) == (2 if row["state"] == "COMPLETE" else 0)
    assert states == {"COMPLETE", "PRUNED", "FAIL"}


def test_a_second_call_sends_only_what_is_new(tmp_path: Path, board: Callable[[Path], Any]) -> None:
    run = made(tmp_path)
    trials = run.read_trials()
    run.write_table(run.trials, trials.iloc[:-1])
    assert send_run(run, BOARD).new == len(trials) - 1
    files = sorted(run.path.glob("tensorboard/*/*"))
    assert send_run(run, BOARD) == Counts(same=len(trials) - 1)
    assert sorted(run.path.glob("tensorboard/*/*")) == files, "nothing new, no file"

    run.write_table(run.trials, trials)
    member = int(run.read_front()["number"].iloc[0])
    verify(run, (member, 12, 0.9, 0.4, "undecided"))
    assert send_run(run, BOARD) == Counts(new=1, updated=1, same=len(trials) - 2)
    verify(run, (member, 12, 0.9, 0.3, "on the front"))
    assert send_run(run, BOARD) == Counts(updated=1, same=len(trials) - 1)
    read = board(run.path / "tensorboard" / f"trial-{member:04d}")
    assert [(event.step, event.value) for event in read.Scalars("verified/robust_accuracy")] == [
        (12, pytest.approx(0.4)),
        (12, pytest.approx(0.3)),
    ]
    assert len(read.Scalars("train/loss")) == 12, "the epochs are not sent again"
    assert b"| verdict | on the front |" in read.Tensors("trial/text_summary")[-1].tensor_proto.string_val[0]

    shutil.rmtree(run.path / "tensorboard")
    assert send_run(run, BOARD).new == len(trials), "a tracker that has lost its data gets all of it again"


def test_a_folder_of_event_files_elsewhere(tmp_path: Path, board: Callable[[Path], Any]) -> None:
    run = made(tmp_path)
    send_run(run, parse_target(f"tensorboard={tmp_path / 'logs'}"))
    assert "train/loss" in board(tmp_path / "logs" / "made" / "trial-0000").Tags()["scalars"]
    assert not (run.path / "tensorboard").exists()


def test_two_runs_of_one_name_are_not_mixed_in_a_folder_of_event_files(
    tmp_path: Path, board: Callable[[Path], Any]
) -> None:
    """The default name of a run is that of its space file."""
    logs = tmp_path / "logs"
    target = parse_target(f"tensorboard={logs}")
    runs = [made(tmp_path / place) for place in ("first", "second")]
    later = dataclasses.replace(runs[1].read_settings(), created="2031-01-01T00:00:00+00:00")
    runs[1].write_settings(later)
    for _ in range(2):
        for run, name in zip(runs, ("made", "made-2"), strict=True):
            send_run(run, target)
            assert len(list((logs / name).glob("trial-0000/*"))) == 1
            assert len(board(logs / name / "trial-0000").Scalars("train/loss")) == 12
    (logs / "made/.search").unlink()  # as an earlier version left it
    assert send_run(runs[0], target).new == 0
    shutil.rmtree(runs[0].path / "trackers")
    (logs / "made/.search").unlink()
    send_run(runs[0], target)
    assert (logs / "made-3/trial-0000").is_dir(), "whose the first one is, nobody knows"


def test_event_files_are_not_written_through_a_link(tmp_path: Path, board: Callable[[Path], Any]) -> None:
    run = made(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (run.path / "tensorboard").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunFolderError, match="leads out of the run folder"):
        send_run(run, BOARD)
    assert not list((tmp_path / "elsewhere").iterdir())


# What is sent


def records_of(run: RunFolder) -> dict[int, TrialRecord]:
    return {record.number: record for record in trial_records(read_run_data(run))}


def test_controls_are_named_and_parameters_have_their_types(tmp_path: Path) -> None:
    records = records_of(made(tmp_path))
    assert [records[number].title for number in range(3)] == [
        "trial 0 (trades)",
        "trial 1 (mart)",
        "trial 2 (none)",
    ]
    assert records[0].parameters == CONTROLS["trades"]
    assert isinstance(records[0].parameters["attack_steps"], int)
    assert records[0].tags["control"] == "trades"
    assert "control" not in records[len(CONTROLS)].tags


def test_every_epoch_on_the_front_has_its_own_figures(tmp_path: Path) -> None:
    run = made(tmp_path, select_epoch="front")
    front = run.read_front()
    several = front[front["number"].duplicated(keep=False)]
    number = int(several["number"].iloc[0])
    epochs = sorted(several[several["number"] == number]["epoch"].astype(int))
    verify(run, *((number, epoch, 0.9, epoch / 100, "undecided") for epoch in epochs))
    record = records_of(run)[number]
    values = {
        metric.epoch: metric.value for metric in record.metrics if metric.name == "verified/robust_accuracy"
    }
    assert values == {epoch: epoch / 100 for epoch in epochs}
    assert record.tags["verdict"] == "; ".join(f"epoch {epoch}: undecided" for epoch in epochs)
    assert {name.split("/")[1] for name in record.files} == {f"{number}-{epoch}" for epoch in epochs}


def test_files_outside_the_run_folder_are_not_sent(tmp_path: Path) -> None:
    run = made(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("secret")
    folder = next(iter(run.front_models.iterdir()))
    (folder / "model.pt").unlink()
    (folder / "model.pt").symlink_to(secret)
    assert list(records_of(run)[int(folder.name)].files) == [f"front/{folder.name}/settings.json"]


def test_a_damaged_record_of_what_was_sent_is_one_sentence(
    tmp_path: Path, board: Callable[[Path], Any]
) -> None:
    run = made(tmp_path)
    for text in ("{", '{"format": 2}', '{"format": 1, "trials": {"0": 1}}', '{"format": 1, "trials": []}'):
        run.write_text("trackers/tensorboard.json", text)
        with pytest.raises(RunFolderError, match=r"tensorboard\.json is damaged: .*delete it"):
            send_run(run, BOARD)


# MLflow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Target]]:
    """MLflow's client on an SQLite file, and the target that names it."""
    mlflow = pytest.importorskip("mlflow", reason="mlflow-skinny is not installed; torchattacks excludes it")
    folder = tmp_path_factory.mktemp("mlflow")
    before = Path.cwd()
    os.chdir(folder)  # MLflow makes its folder of artifacts here
    target = parse_target(f"mlflow=sqlite:///{folder / 'mlflow.db'}")
    yield mlflow.MlflowClient(target.place), target
    os.chdir(before)


def runs_of(client: Any, name: str) -> dict[int, Any]:
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id])
    assert len({run.data.tags["trial"] for run in runs}) == len(runs), "one run a trial"
    return {int(run.data.tags["trial"]): run for run in runs}


def test_mlflow_has_one_run_a_trial(tmp_path: Path, store: tuple[Any, Target]) -> None:
    client, target = store
    run = made(tmp_path, name="whole")
    member = int(run.read_front()["number"].iloc[0])
    verify(run, (member, 12, 0.9, 0.4, "undecided"))
    rows = run.read_trials().to_dict("records")
    assert send_run(run, target) == Counts(new=len(rows))
    runs = runs_of(client, "whole")
    for row in rows:
        sent, number = runs[int(row["number"])], int(row["number"])
        texts = {
            name: str(int(value) if name == "attack_steps" else value) for name, value in active(row).items()
        }
        assert sent.data.params == texts
        assert sent.data.tags["state"] == row["state"]
        assert sent.info.status == ("FAILED" if row["state"] == "FAIL" else "FINISHED")
        assert (sent.info.end_time - sent.info.start_time) / 1000 == pytest.approx(row["seconds"], abs=0.01)
        for name, values in expected_scalars(run, number).items():
            history = client.get_metric_history(sent.info.run_id, name)
            assert {metric.step: metric.value for metric in history} == values, "every digit"
        if row["state"] == "COMPLETE":
            assert sent.data.metrics["robust_accuracy"] == row["robust_accuracy"]
    assert runs[member].data.metrics["verified/robust_accuracy"] == 0.4
    assert runs[member].data.tags["verdict"] == "undecided"
    stored = client.list_artifacts(runs[member].info.run_id, f"front/{member}")
    assert sorted(Path(file.path).name for file in stored) == ["model.pt", "settings.json"]
    path = client.download_artifacts(runs[member].info.run_id, f"front/{member}/model.pt", str(tmp_path))
    assert Path(path).read_bytes() == f"weights of {member}".encode()

    assert send_run(run, target) == Counts(same=len(rows))
    verify(run, (member, 12, 0.9, 0.3, "beaten"))
    assert send_run(run, target) == Counts(updated=1, same=len(rows) - 1)
    again = runs_of(client, "whole")[member]
    assert again.data.metrics["verified/robust_accuracy"] == 0.3, "a lower value replaces a higher one"
    assert again.data.tags["verdict"] == "beaten"


def test_mlflow_keeps_one_run_when_the_record_of_what_was_sent_is_lost(
    tmp_path: Path, store: tuple[Any, Target]
) -> None:
    client, target = store
    run = made(tmp_path, name="lost")
    send_run(run, target)
    before = runs_of(client, "lost")
    shutil.rmtree(run.path / "trackers")
    send_run(run, target)
    after = runs_of(client, "lost")
    assert {number: sent.info.run_id for number, sent in after.items()} == {
        number: sent.info.run_id for number, sent in before.items()
    }
    history = client.get_metric_history(after[0].info.run_id, "train/loss")
    assert len(history) == 12, "the same epochs are one metric each"
    client.delete_run(after[0].info.run_id)
    assert send_run(run, target).new == 1, "a run that was deleted there is sent again"


def test_mlflow_names_a_wrong_address(store: tuple[Any, Target], monkeypatch: pytest.MonkeyPatch) -> None:
    from morel_search.tracking.mlflow_tracker import check

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for place in ("http://127.0.0.1:9", "ftp://host", "postgresql://user:word@127.0.0.1:9/x"):
        with pytest.raises(TrackerError, match="cannot be used: ") as raised:
            check(Target("mlflow", place))
        assert "\n" not in str(raised.value)
        assert "word" not in str(raised.value)


# Weights & Biases


def wandb_records(folder: Path) -> Iterator[Any]:
    """Read a ``.wandb`` file: the log format of LevelDB, with W&B's own messages in it."""
    from wandb.proto import wandb_internal_pb2

    (path,) = folder.glob("*.wandb")
    data, offset, parts = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while offset < len(data):
        left = 32768 - offset % 32768
        if left < 7:
            offset += left
            continue
        _, length, kind = struct.unpack("<IHB", data[offset : offset + 7])
        parts += data[offset + 7 : offset + 7 + length]
        offset += 7 + length
        if kind in (1, 4):  # whole, or the last part
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""


def test_wandb_writes_offline_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    import json

    for name, value in (("WANDB_MODE", "offline"), ("WANDB_SILENT", "true"), ("WANDB_DIR", "")):
        monkeypatch.setenv(name, value)
    for name in ("WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_ARTIFACT_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "cache"))
    run = made(tmp_path)
    member = int(run.read_front()["number"].iloc[0])
    trials = run.read_trials()
    run.write_table(
        run.trials, trials[trials["number"].isin([member, *trials[trials["state"] == "FAIL"]["number"]])]
    )
    verify(run, (member, 12, 0.9, 0.4, "undecided"))
    target = parse_target("wandb=team/robustness")
    assert send_run(run, target) == Counts(new=2)
    assert send_run(run, target) == Counts(same=2)
    folders = {folder.name.rpartition("-")[2]: folder for folder in run.path.glob("wandb/offline-run-*")}
    assert len(folders) == 2
    records = list(wandb_records(folders[str(member)]))
    head = next(record.run for record in records if record.HasField("run"))
    assert (head.entity, head.project, head.run_group) == ("team", "robustness", "made")
    assert head.display_name == records_of(run)[member].title
    config = {update.key: json.loads(update.value_json) for update in head.config.update}
    row = trials[trials["number"] == member].to_dict("records")[0]
    assert {name: config[name] for name in active(row)} == active(row)
    history: dict[str, dict[int, float]] = {}
    for record in records:
        if record.HasField("history"):
            step = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            for name, value in step.items():
                history.setdefault(name, {})[step["epoch"]] = value
    for name, values in expected_scalars(run, member).items():
        assert history[name] == values
    assert history["verified/robust_accuracy"] == {12: 0.4}
    summary = {
        item.key or "/".join(item.nested_key): json.loads(item.value_json)
        for record in records
        for item in record.summary.update
    }
    assert summary["state"] == "COMPLETE"
    assert summary["verdict"] == "undecided"
    artifacts = {
        entry.path for record in records for entry in record.request.log_artifact.artifact.manifest.contents
    } | {entry.path for record in records for entry in record.artifact.manifest.contents}
    assert artifacts == {"model.pt", "settings.json"}
    (failed,) = set(folders) - {str(member)}
    assert [
        record.exit.exit_code for record in wandb_records(folders[failed]) if record.HasField("exit")
    ] == [1]


# The command and the search


def test_targets() -> None:
    pytest.importorskip("tensorboard")
    assert parse_target("tensorboard") == BOARD
    assert parse_target("tensorboard=a=b").place == "a=b"
    for text in ("", "aim", "TensorBoard", "=x", "mlflow ="):
        with pytest.raises(TrackerError, match="is not a tracker; known: tensorboard, mlflow, wandb"):
            parse_target(text)
    with pytest.raises(TrackerError, match="names no place"):
        parse_target("tensorboard=")
    hidden = Target("mlflow", "postgresql://user:word@host/x")
    assert str(hidden) == "mlflow=postgresql://user:***@host/x"
    assert "word" not in hidden.key
    assert hidden.key != Target("mlflow", "postgresql://user:word@host/y").key


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow", "wandb"])
def test_a_missing_package_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tracker: str
) -> None:
    run = made(tmp_path)
    monkeypatch.setattr("morel_search.tracking.targets.find_spec", lambda _: None)
    assert main(["track", str(run.path), "--to", tracker]) == 2
    message = capsys.readouterr().err
    assert message.endswith(f"not installed: pip install 'morel-search[{tracker}]'\n")
    assert message.count("\n") == 1


def test_the_command_prints_what_it_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], board: Callable[[Path], Any]
) -> None:
    run = made(tmp_path)
    for text in ("11 trials sent, 0 updated, 0 unchanged", "0 trials sent, 0 updated, 11 unchanged"):
        assert main(["track", str(run.path), "--to", "tensorboard"]) == 0
        assert capsys.readouterr().out == f"tensorboard: {text}\n"
    (tmp_path / "file").touch()
    assert main(["track", str(run.path), "--to", f"tensorboard={tmp_path / 'file'}"]) == 2


def test_a_search_that_was_killed_is_not_followed_for_ever(tmp_path: Path) -> None:
    run = make_run(tmp_path, "made", status="running")
    told: list[str] = []
    now = 0.0
    ended = SearchEnd(run, told.append, lambda: now)
    for _ in range(30):
        now += 60
        run.study.write_text(f"{now}")  # as a search writes how long it has run
        assert not ended()
    with run.lock():
        now += 3 * SILENT_SECONDS
        assert not ended(), "it was stopped, or the disk is slow"
    assert not ended()
    now += SILENT_SECONDS
    assert ended()
    assert len(told) == 1
    assert "its search was killed; run --resume continues it" in told[0]
    run.write_settings(dataclasses.replace(run.read_settings(), status="finished"))
    assert SearchEnd(run, told.append)()
    assert len(told) == 1


def test_following_a_search_warns_once_and_recovers(tmp_path: Path) -> None:
    run = made(tmp_path)
    told: list[str] = []
    now = [0.0]
    answers = iter(
        [Counts(), TrackerError("the server is away"), TrackerError("still away"), Counts(), Counts()]
    )
    sent = []

    def send(_run: RunFolder, _target: Target) -> Counts:
        answer = next(answers)
        sent.append(now[0])
        if isinstance(answer, Exception):
            raise answer
        return answer

    def pause(seconds: float) -> None:
        now[0] += seconds
        if now[0] in (5, 300):
            run.write_text(run.epochs, run.epochs.read_text() + "\n" * int(now[0]))

    whole = follow(
        run, BOARD, lambda: now[0] >= 302, told.append, send=send, clock=lambda: now[0], pause=pause
    )
    assert whole
    assert sent == [0, 10, 70, 130, 300], (
        "at changes, not oftener than each 10 s, and each 60 s after a failure"
    )
    assert len(told) == 2
    assert told[0].startswith("warning: not sent to a tracker: the server is away; ")
    assert told[0].endswith(f"morel-search track {run.path} --to tensorboard")
    assert told[1].startswith("note: everything so far has been sent")


def test_a_tracker_that_fails_at_the_end_is_told_of(tmp_path: Path) -> None:
    run = made(tmp_path)
    told: list[str] = []

    def send(_run: RunFolder, _target: Target) -> Counts:
        raise TrackerError("the disk is full")

    assert not follow(run, BOARD, lambda: True, told.append, send=send)
    assert len(told) == 1
    assert follow(RunFolder(tmp_path / "none"), BOARD, lambda: True, told.append, send=send), (
        "there is no run"
    )


def test_a_search_sends_through_a_process_of_its_own(
    tmp_path: Path, board: Callable[[Path], Any], capfd: pytest.CaptureFixture[str]
) -> None:
    with Followers(["tensorboard"], tmp_path / "made"):
        run = made(tmp_path)  # the run folder is made after the trackers were checked
    assert len(list(run.path.glob("tensorboard/trial-*/*"))) == 11
    assert capfd.readouterr().err == ""


def test_a_tracker_that_cannot_be_used_stops_the_command_before_the_search(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(TrackerError, match="cannot be used"),
        Followers([f"tensorboard={tmp_path / 'file'}"], tmp_path / "made"),
    ):
        pytest.fail("the search must not begin")


def test_a_process_that_dies_is_one_warning(
    tmp_path: Path, board: Callable[[Path], Any], capfd: pytest.CaptureFixture[str]
) -> None:
    followers = Followers(["tensorboard"], tmp_path / "made")
    with followers:
        followers._children[0]._process.kill()
    assert capfd.readouterr().err == (
        "warning: not everything was sent to tensorboard: its process has ended; to send the rest: "
        f"morel-search track {tmp_path / 'made'} --to tensorboard\n"
    )


def child_of(change: str) -> subprocess.Popen[str]:
    """Start the process of a tracker, with a changed ``follow``; its standard input has ended."""
    script = f"import sys, time\nfrom morel_search.tracking import child\n{change}\nsys.exit(child.main())"
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, text=True)
    assert process.stdin is not None
    process.stdin.write('{"folder": "none", "target": "tensorboard"}\n')
    process.stdin.close()
    return process


def test_a_process_whose_tracker_hangs_ends_itself(board: Callable[[Path], Any]) -> None:
    hanging = child_of(
        "child.END_SECONDS = child.SPARE_SECONDS = 0.1; child.follow = lambda *_, **__: time.sleep(1000)"
    )
    try:
        assert hanging.wait(60) == TOLD
    finally:
        hanging.kill()


def test_an_error_in_the_program_of_the_process_is_one_warning(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    board: Callable[[Path], Any],
    capfd: pytest.CaptureFixture[str],
) -> None:
    run = made(tmp_path)
    monkeypatch.setattr(sys, "executable", str(wrapper := tmp_path / "python"))
    wrapper.write_text(
        f"#!/bin/sh\nexec '{PYTHON}' -c 'import sys\n"
        "from morel_search.tracking import child\n"
        'def follow(*_, **__): raise ValueError("a fault")\n'
        "child.follow = follow\nsys.exit(child.main())'\n"
    )
    wrapper.chmod(0o755)
    with Followers(["tensorboard"], run.path):
        pass
    message = capfd.readouterr().err
    assert message.startswith("warning: not everything was sent to tensorboard: ")
    assert "ValueError: a fault; to send the rest: " in message
    assert message.count("\n") == 1


def test_the_command_needs_neither_torch_nor_ray() -> None:
    script = (
        "import sys, morel_search.tracking.send, morel_search.tracking.child\n"
        "print([name for name in ('torch', 'ray', 'mlflow', 'wandb', 'tensorboard') if name in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout == "[]\n"
