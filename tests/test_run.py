"""The command as its users call it: real processes, real Ray, the digits, tiny budgets."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
import pandas as pd
import pytest

from morel_search.models.checkpoint import load_model
from morel_search.results.folder import RunFolder
from morel_search.results.tables import TRIAL_COLUMNS
from morel_search.run import main

pytestmark = pytest.mark.timeout(1000)  # a search takes minutes on a machine that does much else

ROOT = Path(__file__).parents[1]
FINISHED = re.compile(r"clean +\d+\.\d%  robust +\d+\.\d%")
"""In the line of a finished trial."""
TINY = (
    *("--trials", "3", "--set", "train.epochs=2", "--set", "data.limit=300", "--set", "search.population=2"),
    *("--set", "evaluation.steps=3", "--set", "controls=[trades, none]", "--set", "network.options.width=4"),
    *("--set", "early_stopping.enabled=false", "--set", "verify.enabled=false"),
)

FAILING = tuple(
    "controls=[{hopeless: {lr: 1.0e+30, optimizer: sgd, schedule: constant}}, none]"
    if one.startswith("controls=")
    else one
    for one in TINY
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
    *arguments: str, space: str = "search_spaces/digits.yaml", timeout: int = 500
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments, space=space),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


Here = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    """Return a function like :func:`call` that runs the command in this process."""
    monkeypatch.chdir(ROOT)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        words = ["--space", "search_spaces/digits.yaml", *arguments]
        code = main(words)
        return subprocess.CompletedProcess(words, code, *capsys.readouterr())

    return run


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
    """One small search, run once for the tests that look at what it left; its first training fails."""
    results = tmp_path_factory.mktemp("results")
    result = call("--results", str(results), "--name", "tiny", *FAILING)
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
    assert list(trials["state"]) == ["FAIL"] + ["COMPLETE"] * 4
    assert list(trials["origin"]) == ["control"] * 2 + ["search"] * 3
    assert list(run.read_epochs()["number"]) == [1, 1, 2, 2, 3, 3, 4, 4]
    assert states(run.path) == ["FAIL"] + ["COMPLETE"] * 4
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
    assert set(tested) == set(front["number"]) | {1}  # the front, and the control beside it


def test_a_failing_training_is_recorded_with_its_reason_and_the_search_goes_on(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    trials = pd.read_csv(finished[0] / "trials.csv")
    assert "diverged in epoch 1" in trials["failure"][0]
    assert "diverged in epoch 1" in finished[1].stdout


def test_the_terminal_shows_a_line_a_trial_and_nothing_of_ray(
    finished: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    result = finished[1]
    lines = [line for line in result.stdout.splitlines() if FINISHED.search(line)]
    assert len(lines) == 4
    assert "the front, with accuracies on the validation split" in result.stdout
    assert "report: " in result.stdout
    printed = result.stdout + result.stderr.replace("waiting for Ray to start on this machine\n", "")
    for chatter in ("Ray ", "ray::", "WARNING", "Trial name", "Traceback", "dashboard", "INFO"):
        assert chatter not in printed


@pytest.mark.slow
def test_a_finished_search_is_not_overwritten_and_can_be_given_more_trials(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, here: Here
) -> None:
    import shutil

    shutil.copytree(finished[0], tmp_path / "tiny")
    refused(here("--results", str(tmp_path), "--name", "tiny", *FAILING), "exists already", "--resume")
    changed = [*FAILING, "--set", "train.epochs=3"]
    refused(
        here("--results", str(tmp_path), "--name", "tiny", "--resume", *changed), "train.epochs", "2", "3"
    )
    before = pd.read_csv(tmp_path / "tiny" / "trials.csv")
    more = ["4" if argument == "3" else argument for argument in FAILING]
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


@dataclass(frozen=True)
class Interrupted:
    """A search that Ctrl-C has ended after its first trial, and what ``--resume`` made of it.

    Attributes:
        run: Its folder.
        code: Exit code after Ctrl-C.
        printed: What it had printed then.
        stopped: The states of its trials then.
        kept: Its table of trials then.
        reported: Whether it had a report then.
        resumed: The end of the second start.
    """

    run: RunFolder
    code: int
    printed: str
    stopped: list[str]
    kept: pd.DataFrame
    reported: bool
    resumed: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    results = tmp_path_factory.mktemp("interrupted")
    arguments = ["--results", str(results), "--name", "stopped", *TINY, "--trials", "8"]
    for setting in ("early_stopping.enabled=true", "train.epochs=4", "search.select_epoch=front"):
        arguments += ["--set", setting]
    process = subprocess.Popen(
        command(*arguments),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:  # the first finished trial
        printed += line
        if FINISHED.search(line):
            break
    os.killpg(process.pid, signal.SIGINT)  # the whole group, as a terminal does
    printed += process.stdout.read()
    code, run = process.wait(60), RunFolder(results / "stopped")
    stopped, kept, reported = states(run.path), run.read_trials(), run.report.exists()
    resumed = call(*arguments, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    return Interrupted(run, code, printed, stopped, kept, reported, resumed)


def test_ctrl_c_stops_in_order_and_resume_finishes(interrupted: Interrupted) -> None:
    assert interrupted.code == 130, interrupted.printed
    assert "--resume continues" in interrupted.printed
    assert "Traceback" not in interrupted.printed
    assert "RUNNING" not in interrupted.stopped
    assert interrupted.reported
    kept = interrupted.kept
    assert 1 <= len(kept) < 10
    after = interrupted.run.read_trials().set_index("number")
    assert list(after.index) == list(range(10))
    for row in kept.to_dict("records"):
        for column in ("state", "last_clean_accuracy", "last_robust_accuracy"):
            assert after.loc[row["number"], column] == row[column]


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


def test_a_dry_run_shows_the_plan_and_writes_nothing(tmp_path: Path, here: Here) -> None:
    result = here("--dry-run", "--results", str(tmp_path), *TINY)
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
    arguments: list[str], words: list[str], tmp_path: Path, here: Here
) -> None:
    result = here("--results", str(tmp_path), *arguments)
    refused(result, *words)
    assert len(result.stderr.strip().splitlines()) <= 3, result.stderr
    assert not list(tmp_path.iterdir())


def test_a_read_only_results_folder_is_refused(tmp_path: Path, here: Here) -> None:
    if os.geteuid() == 0:
        target = Path("/proc/morel_search_results")  # root may write anywhere but here
    else:
        tmp_path.chmod(0o500)
        target = tmp_path / "results"
    refused(here("--results", str(target), *TINY), str(target))


def test_a_study_that_is_no_study_is_explained(
    finished: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path, here: Here
) -> None:
    import shutil

    shutil.copytree(finished[0], tmp_path / "tiny")
    (tmp_path / "tiny" / "study.db").write_bytes(b"this is not a database" * 100)
    refused(here("--results", str(tmp_path), "--name", "tiny", "--resume", *FAILING), "study.db")
    (tmp_path / "tiny" / "study.db").unlink()
    connection = sqlite3.connect(tmp_path / "tiny" / "study.db")
    connection.execute("create table other (x int)")
    connection.close()
    assert (
        here("--results", str(tmp_path), "--name", "tiny", "--resume", "--dry-run", *FAILING).returncode == 0
    )


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


def test_early_stopping_as_its_users_see_it(interrupted: Interrupted) -> None:
    """Stopped trials are marked on their line and in the study; the saved epochs are printed at the end."""
    run, printed = interrupted.run, interrupted.printed + interrupted.resumed.stdout
    trials = run.read_trials()
    stopped = trials[trials["state"] == "PRUNED"]
    lines = sum(printed.count(f"stopped early at epoch {epoch}") for epoch in (1, 2, 3))
    assert len(stopped) == lines > 0
    assert f"early stopping ended {len(stopped)} of 10 trainings" in interrupted.resumed.stdout
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
