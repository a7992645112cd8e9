"""The command as its users call it: real processes, real Ray, the digits, tiny budgets."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pandas as pd
import pytest

from morel_search.models.checkpoint import load_model
from morel_search.results.folder import RunFolder
from morel_search.results.tables import TRIAL_COLUMNS

ROOT = Path(__file__).parents[1]
FINISHED = re.compile(r"clean +\d+\.\d%  robust +\d+\.\d%")
"""In the line of a finished trial."""
TINY = (
    *("--trials", "3", "--set", "train.epochs=2", "--set", "data.limit=300", "--set", "search.population=2"),
    *("--set", "evaluation.steps=3", "--set", "controls=[trades, none]", "--set", "network.options.width=4"),
    *("--set", "early_stopping.enabled=false", "--set", "verify.enabled=false"),
)


NO_OBJECTIVE = (
    "--set",
    "parameters.accuracy_loss=null",
    "--set",
    "parameters.beta=null",
    "--set",
    "parameters.loat_theta=null",
)


def command(*arguments: str, space: str = "search_spaces/digits.yaml") -> list[str]:
    return [sys.executable, "-m", "morel_search.run", "--space", space, *arguments]


def call(
    *arguments: str, space: str = "search_spaces/digits.yaml", timeout: int = 240
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, space=space),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def states(run: Path) -> list[str]:
    study = optuna.load_study(study_name=run.name, storage=f"sqlite:///{run / 'study.db'}")
    return [trial.state.name for trial in study.get_trials(deepcopy=False)]


def refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """One small search, run once for the tests that look at what it left."""
    results = tmp_path_factory.mktemp("results")
    result = call("--results", str(results), "--name", "tiny", "--set", "resources.concurrent=1", *TINY)
    assert result.returncode == 0, result.stderr
    return results / "tiny", result


def test_the_run_folder_is_whole(finished: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    run = RunFolder(finished[0])
    assert run.space.read_bytes() == (ROOT / "search_spaces" / "digits.yaml").read_bytes()
    settings = run.read_settings()
    assert settings.status == "finished"
    assert settings.section("train")["epochs"] == 2
    assert settings.versions["ray"]
    trials = run.read_trials()
    assert [column for column in trials.columns if not column.startswith("param_")] == list(TRIAL_COLUMNS)
    assert list(trials["state"]) == ["COMPLETE"] * 5
    assert list(trials["origin"]) == ["control"] * 2 + ["search"] * 3
    assert len(run.read_epochs()) == 10
    assert states(run.path) == ["COMPLETE"] * 5
    for name in ("front.png", "front.svg", "front.pdf"):
        assert (run.figures / name).stat().st_size > 1000
    assert run.report.stat().st_size > 100_000
    assert not list((run.path / "ray" / "checkpoints").glob("*/state.pt"))


def test_the_front_has_its_networks_and_its_test_scores(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    run = RunFolder(finished[0])
    front, trials = run.read_front(), run.read_trials()
    best = trials[["clean_accuracy", "robust_accuracy"]].to_numpy()
    for member in front.itertuples():
        point = (member.clean_accuracy, member.robust_accuracy)
        assert not any(
            (other >= point).all() and (other > 0).any() and tuple(other) != point for other in best
        )
        model, metadata = load_model(run.front_models / str(member.number) / "model.pt")
        assert metadata.epoch == member.epoch
        assert not model.training
        stored = json.loads((run.front_models / str(member.number) / "settings.json").read_text())
        assert stored["train"]["epochs"] == 2
        assert 0 <= member.test_robust_accuracy <= member.test_clean_accuracy <= 1
    tested = trials[trials["test_clean_accuracy"].notna()]["number"]
    assert set(tested) == set(front["number"]) | {0, 1}  # the front, and the controls beside it


def test_the_terminal_shows_a_line_a_trial_and_nothing_of_ray(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    result = finished[1]
    lines = [line for line in result.stdout.splitlines() if FINISHED.search(line)]
    assert len(lines) == 5
    assert "the front, with accuracies on the validation split" in result.stdout
    assert "report: " in result.stdout
    for chatter in ("Ray ", "ray::", "WARNING", "Trial name", "Traceback", "dashboard", "INFO"):
        assert chatter not in result.stdout + result.stderr


def test_same_seed_same_search_to_the_last_bit(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    result = call("--results", str(tmp_path), "--name", "tiny", "--set", "resources.concurrent=1", *TINY)
    assert result.returncode == 0, result.stderr
    first, second = RunFolder(finished[0]), RunFolder(tmp_path / "tiny")
    pd.testing.assert_frame_equal(
        first.read_trials().drop(columns="seconds"),
        second.read_trials().drop(columns="seconds"),
        check_exact=True,
    )
    pd.testing.assert_frame_equal(
        first.read_epochs().drop(columns="seconds"),
        second.read_epochs().drop(columns="seconds"),
        check_exact=True,
    )


@pytest.mark.slow
def test_a_finished_search_is_not_overwritten_and_can_be_given_more_trials(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(finished[0], tmp_path / "tiny")
    refused(call("--results", str(tmp_path), "--name", "tiny", *TINY), "exists already", "--resume")
    changed = [*TINY, "--set", "train.epochs=3"]
    refused(
        call("--results", str(tmp_path), "--name", "tiny", "--resume", *changed), "train.epochs", "2", "3"
    )
    before = pd.read_csv(tmp_path / "tiny" / "trials.csv")
    more = ["4" if argument == "3" else argument for argument in TINY]
    settings = tmp_path / "tiny" / "settings.json"
    here = json.loads(settings.read_text())["compute"]["precision"]
    there = "tf32"  # of a GPU
    settings.write_text(
        settings.read_text().replace(f'"precision": "{here}"', f'"precision": "{there}"')
    )  # begun on another machine
    result = call("--results", str(tmp_path), "--name", "tiny", "--continue", *more)
    assert result.returncode == 0, result.stderr
    assert (
        f"so far were computed in {there}, channels last; on this machine the next ones are computed in "
        f"{here}, channels last" in result.stderr
    )
    after = pd.read_csv(tmp_path / "tiny" / "trials.csv")
    columns = [column for column in before.columns if not column.startswith("test_")]
    pd.testing.assert_frame_equal(after.loc[: len(before) - 1, columns], before[columns], check_exact=True)
    assert len(after) == 6


def test_ctrl_c_stops_in_order_and_resume_finishes(tmp_path: Path) -> None:
    arguments = ["--results", str(tmp_path), "--name", "stopped", *TINY, "--set", "train.epochs=6"]
    process = subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:  # the first finished trial
        if FINISHED.search(line):
            break
    os.killpg(process.pid, signal.SIGINT)  # the whole group, as a terminal does
    rest = process.stdout.read()
    assert process.wait(60) == 130, rest
    assert "--resume continues" in rest
    assert "Traceback" not in rest
    run = tmp_path / "stopped"
    assert "RUNNING" not in states(run)
    kept = pd.read_csv(run / "trials.csv")
    assert 1 <= len(kept) < 5
    assert (run / "report.html").exists()
    result = call(*arguments, "--resume")
    assert result.returncode == 0, result.stderr
    assert states(run) == ["COMPLETE"] * 5
    after = pd.read_csv(run / "trials.csv").set_index("number")
    for row in kept.to_dict("records"):
        assert after.loc[row["number"], "clean_accuracy"] == row["clean_accuracy"]
        assert after.loc[row["number"], "robust_accuracy"] == row["robust_accuracy"]


@pytest.mark.slow
def test_a_killed_driver_leaves_a_run_that_resume_finishes(tmp_path: Path) -> None:
    arguments = ["--results", str(tmp_path), "--name", "killed", *TINY, "--set", "train.epochs=6"]
    process = subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if FINISHED.search(line):
            break
    process.kill()
    process.wait(30)
    run = tmp_path / "killed"
    assert "RUNNING" in states(run)
    time.sleep(5)  # the orphaned workers notice that their driver is gone
    result = call(*arguments, "--resume")
    assert result.returncode == 0, result.stderr
    assert states(run) == ["COMPLETE"] * 5
    assert list(pd.read_csv(run / "trials.csv")["epochs"]) == [6] * 5


@pytest.mark.slow
def test_a_second_driver_is_told_who_holds_the_run(tmp_path: Path) -> None:
    arguments = ["--results", str(tmp_path), "--name", "held", *TINY, "--set", "train.epochs=400"]
    process = subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        while not (tmp_path / "held" / "study.db").exists():
            assert process.poll() is None
            time.sleep(0.2)
        refused(call(*arguments, "--resume"), str(process.pid))
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(90) == 130


def test_a_failing_training_is_recorded_with_its_reason_and_the_search_goes_on(tmp_path: Path) -> None:
    controls = "controls=[{hopeless: {lr: 1.0e+30, optimizer: sgd, schedule: constant}}, none]"
    arguments = [argument if not argument.startswith("controls=") else controls for argument in TINY]
    result = call("--results", str(tmp_path), "--name", "failing", *arguments)
    assert result.returncode == 0, result.stderr
    trials = pd.read_csv(tmp_path / "failing" / "trials.csv")
    assert list(trials["state"]) == ["FAIL"] + ["COMPLETE"] * 4
    assert "diverged in epoch 1" in trials["failure"][0]
    assert "diverged in epoch 1" in result.stdout
    assert "RUNNING" not in states(tmp_path / "failing")


@pytest.mark.slow
def test_a_search_in_which_everything_fails_ends_with_the_reason(tmp_path: Path) -> None:
    arguments = [
        *TINY,
        "--set",
        "train.lr=1e30",
        "--set",
        "train.optimizer=sgd",
        "--set",
        "search.max_failures=2",
    ]
    result = call("--results", str(tmp_path), "--name", "dead", *arguments)
    assert result.returncode == 1
    assert "2 trials in a row failed" in result.stderr
    assert "Traceback" not in result.stderr
    assert (tmp_path / "dead" / "report.html").exists()


@pytest.mark.slow
def test_own_objective_and_own_network_with_the_console_script(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import torch.nn as nn, torch.nn.functional as F\n"
        "def loss(logits, adversarial_logits, labels, *, epoch, settings):\n"
        "    return F.cross_entropy(adversarial_logits, labels, label_smoothing=0.1)\n"
        "def network(num_classes, width=8):\n"
        "    return nn.Sequential(\n"
        "        nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, num_classes)\n"
        "    )\n"
    )
    arguments = [argument for argument in TINY if argument not in ("network.options.width=4",)]
    arguments = [
        one
        for i, one in enumerate(arguments)
        if not (one == "--set" and arguments[i + 1 : i + 2] in ([], ["--set"]))
    ]
    script = Path(sys.executable).parent / "morel-search"
    own = [
        "--set",
        "network={name: 'mine:network', options: {width: 32}}",
        "--set",
        "parameters.accuracy_loss.choices=[trades, 'mine:loss']",
        *("--set", "search.warmup=sobol"),  # both choices are among its first points
    ]
    removed = ["--set", "parameters.loat_theta=null", "--set", "parameters.beta=null"]
    result = subprocess.run(
        [
            *(str(script), "--space", str(ROOT / "search_spaces/digits.yaml"), "--results", "r"),
            *("--name", "own", *arguments, *own, *removed),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    trials = pd.read_csv(tmp_path / "r" / "own" / "trials.csv")
    assert list(trials["state"]) == ["COMPLETE"] * 5
    assert "mine:loss" in set(trials["param_accuracy_loss"])


def parquet_files(folder: Path) -> None:
    """The digits as two parquet files in the hub's form."""
    import io

    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    encoded = []
    for pixels in images[:400]:
        buffer = io.BytesIO()
        Image.fromarray((pixels.reshape(8, 8) * 15).astype("uint8")).save(buffer, "PNG")
        encoded.append({"bytes": buffer.getvalue(), "path": None})
    for name, rows in (("train", slice(0, 300)), ("test", slice(300, 400))):
        pq.write_table(pa.table({"img": encoded[rows], "label": labels[rows]}), folder / f"{name}.parquet")


@pytest.mark.slow
def test_relative_paths_of_the_data_and_a_stopped_scoring(tmp_path: Path) -> None:
    """Trials run in other folders, but relative paths start from the folder of the command."""
    parquet_files(tmp_path)
    data = [
        "--set",
        "data={name: parquet, train: 'tr*.parquet', test: test.parquet, validation: 75}",
        "--set",
        "search.population=2",
    ]
    rest = [
        one
        for i, one in enumerate(TINY)
        if "data.limit" not in one and not (one == "--set" and "data.limit" in TINY[i + 1])
    ]
    arguments = ["--results", "r", "--name", "relative", "--continue", *data, *rest]
    run = [*command(space=str(ROOT / "search_spaces/digits.yaml")), *arguments]
    result = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert result.returncode == 0, result.stderr
    trials = pd.read_csv(tmp_path / "r" / "relative" / "trials.csv")
    assert list(trials["state"]) == ["COMPLETE"] * 5
    assert trials["test_clean_accuracy"].notna().any()


def test_a_dry_run_shows_the_plan_and_writes_nothing(tmp_path: Path) -> None:
    result = call("--dry-run", "--results", str(tmp_path), *TINY)
    assert result.returncode == 0, result.stderr
    for word in (
        "digits",
        "small_cnn",
        "epsilon",
        "nsga2",
        "trades, none",
        "cost",
        "2 trials at a time" if os.cpu_count() == 2 else "trials at a time",
    ):
        assert word in result.stdout
    assert "warning: data.validation" in result.stdout  # 75 images
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--set", "resources.gpu=64"], ["gpu", "64"]),
        (["--set", "resources.cpu=4096"], ["cpu", "4096"]),
        (["--set", "data.validation=100000"], ["validation", "100000"]),
        (["--set", "network.name=vit", "--set", "network.options={patch: 5}"], ["patch", "8"]),
        (["--set", "network.options.wdith=3"], ["wdith"]),
        (["--set", "train.epoch=3"], ["train.epoch", "epochs"]),
        (["--set", "parameters.temperature.low=0"], ["temperature"]),
        (
            [
                "--set",
                "data.name=parquet",
                "--set",
                "data.train=nowhere.parquet",
                "--set",
                "data.test=nowhere.parquet",
            ],
            ["nowhere.parquet"],
        ),
        (["--name", "../escape"], ["../escape"]),
        (
            ["--set", "train.accuracy_loss=collections:OrderedDict", *NO_OBJECTIVE],
            ["collections:OrderedDict"],
        ),
        (["--resume", "--name", "nothing"], ["nothing", "does not exist"]),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_mistakes_end_in_one_sentence_and_leave_nothing(
    arguments: list[str], words: list[str], tmp_path: Path
) -> None:
    result = call("--results", str(tmp_path), *arguments)
    refused(result, *words)
    assert len(result.stderr.strip().splitlines()) <= 3, result.stderr
    assert not list(tmp_path.iterdir())


def test_a_read_only_results_folder_is_refused(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        target = Path("/proc/morel_search_results")  # root may write anywhere but here
    else:
        tmp_path.chmod(0o500)
        target = tmp_path / "results"
    refused(call("--results", str(target), *TINY), str(target))


def test_a_study_that_is_no_study_is_explained(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(finished[0], tmp_path / "tiny")
    (tmp_path / "tiny" / "study.db").write_bytes(b"this is not a database" * 100)
    refused(call("--results", str(tmp_path), "--name", "tiny", "--resume", *TINY), "study.db")
    (tmp_path / "tiny" / "study.db").unlink()
    connection = sqlite3.connect(tmp_path / "tiny" / "study.db")
    connection.execute("create table other (x int)")
    connection.close()
    assert call("--results", str(tmp_path), "--name", "tiny", "--resume", "--dry-run", *TINY).returncode == 0


def test_help_and_version() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "morel_search.run", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "Examples:" in result.stdout
    version = subprocess.run(
        [sys.executable, "-m", "morel_search.run", "--version"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert version.stdout.startswith("morel_search 0.")


def test_training_and_analysis_load_neither_ray_nor_optuna_nor_each_other() -> None:
    program = (
        "import sys; import morel_search.training.trainer, morel_search.models.checkpoint; "
        "assert not {'ray', 'optuna', 'pydantic', 'ruamel'} & set(sys.modules); "
        "torch = [name for name in sys.modules if name.split('.')[0] in ('torch', 'torchvision')]; "
        "[sys.modules.pop(name) for name in torch]; "
        "import morel_search.analysis.report.page; "
        "assert not {'ray', 'torch', 'torchvision'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_early_stopping_as_its_users_see_it(tmp_path: Path) -> None:
    """Stopped trials are marked on their line and in the study; the saved epochs are printed at the end."""
    arguments = [
        *TINY,
        "--trials",
        "8",
        "--set",
        "early_stopping.enabled=true",
        "--set",
        "train.epochs=4",
        "--set",
        "search.select_epoch=front",
    ]
    result = call("--results", str(tmp_path), "--name", "early", *arguments)
    assert result.returncode == 0, result.stderr
    run = RunFolder(tmp_path / "early")
    trials = run.read_trials()
    stopped = trials[trials["state"] == "PRUNED"]
    assert (
        len(stopped)
        == result.stdout.count("stopped early at epoch 1") + result.stdout.count("stopped early at epoch 3")
        > 0
    )
    assert f"early stopping ended {len(stopped)} of 10 trainings" in result.stdout
    front = run.read_front()
    assert not set(front["number"]) & set(stopped["number"])
    for row in front.to_dict("records"):
        _, metadata = load_model(run.front_models / f"{row['number']}-{row['epoch']}" / "model.pt")
        assert metadata.epoch == row["epoch"]
        assert row["test_clean_accuracy"] >= 0
    assert sorted(set(states(run.path))) == ["COMPLETE", "PRUNED"]
    assert not list(run.checkpoints.glob("*/state.pt*"))


def test_a_search_that_is_over_by_the_clock_is_finished(tmp_path: Path) -> None:
    arguments = [
        "--results",
        str(tmp_path),
        "--name",
        "hours",
        *TINY,
        "--trials",
        "5000",
        "--set",
        "search.max_hours=0.003",
    ]
    result = call(*arguments)
    assert result.returncode == 0, result.stderr
    assert "ended: search.max_hours (0.003) is used up" in result.stdout
    run = RunFolder(tmp_path / "hours")
    assert run.read_settings().status == "finished"
    assert len(run.read_trials()) < 5000
    assert "RUNNING" not in states(run.path)
