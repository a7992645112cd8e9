"""A training that never returns, on real Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from morel_search.cluster.session import ray_session
from morel_search.cluster.trial_report import TrialReport
from morel_search.cluster.tuner import job_maker, search
from morel_search.config import load_space
from morel_search.search.controller import SearchController
from morel_search.search.outcome import read_outcome
from morel_search.search.study import TrialStore
from morel_search.training.selection import EpochResult

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def finished_report() -> dict[str, object]:
    """Return the last report of a training of one epoch, as a plain value that travels to the workers."""
    losses = dict.fromkeys(("loss", "accuracy_loss", "robust_loss", "cosine_loss", "contrastive_loss"), 1.0)
    accuracies = {"train_accuracy": 0.5, "clean_accuracy": 0.5, "robust_accuracy": 0.5}
    epoch = EpochResult(epoch=1, **losses, lr=0.1, **accuracies, seconds=1.0)
    return TrialReport(history=(epoch,), final=True).to_ray()


def make_training() -> Callable[[dict[str, Any]], None]:
    """Return a function that stands for a training of one epoch; that of trial 0 never returns.

    A function inside a function travels to the workers, which cannot import this file.
    """
    finished = finished_report()

    def training(config: dict[str, Any]) -> None:
        from ray import tune

        job = config["job"]
        starts = Path(job.folder) / f"start-{time.time_ns()}"
        starts.parent.mkdir(parents=True, exist_ok=True)
        starts.touch()
        while job.number == 0:
            time.sleep(1)
        tune.report(finished)

    return training


@pytest.fixture(scope="module", autouse=True)
def _ray() -> Iterator[None]:
    """One Ray for all searches of this file."""
    with ray_session():
        yield


def test_a_training_that_never_returns_is_moved_and_fails(tmp_path: Path) -> None:
    space = load_space(
        ROOT / "search_spaces" / "digits.yaml",
        ["controls=[]", "search.trials=3", "search.population=2", "search.max_epoch_minutes=0.1"],
    )
    record = TrialStore.of_file(tmp_path / "study.db", "run")
    notes: list[str] = []
    complete = search(
        SearchController.begin(space, record),
        record,
        ray_folder=tmp_path / "ray",
        job=job_maker(space, tmp_path / "checkpoints"),
        note=notes.append,
        trainable=make_training(),
    )
    assert complete
    first, *others = record.trials()
    assert first.state == TrialState.FAIL
    assert read_outcome(first).failure == (
        "the training hung: no epoch within 6 s twice (search.max_epoch_minutes)"
    )
    assert len(list((tmp_path / "checkpoints" / "0").glob("start-*"))) == 2
    assert notes == [
        "trial 0 is restarted on a new worker: the training hung: no epoch within 6 s "
        "(search.max_epoch_minutes)"
    ]
    assert [trial.state for trial in others] == [TrialState.COMPLETE] * 2


def test_the_time_limit_ends_a_search_that_hangs(tmp_path: Path) -> None:
    space = load_space(
        ROOT / "search_spaces" / "digits.yaml",
        ["controls=[]", "search.trials=1", "search.population=2", "search.max_hours=0.01"],
    )
    record = TrialStore.of_file(tmp_path / "study.db", "run")
    controller = SearchController.begin(space, record)
    complete = search(
        controller,
        record,
        ray_folder=tmp_path / "ray",
        job=job_maker(space, tmp_path / "checkpoints"),
        trainable=make_training(),
    )
    assert complete
    assert controller.criterion.limit_reached == "search.max_hours (0.01) is used up"
    assert [trial.state for trial in record.trials()] == [TrialState.WAITING]


def make_unshared() -> Callable[[dict[str, Any]], None]:
    """Return a trainable whose first worker is on a machine without the run folder, for ever."""
    finished = finished_report()

    def training(config: dict[str, Any]) -> None:
        import time
        from pathlib import Path

        from ray import tune

        job = config["job"]
        folder = Path(job.folder)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            (folder.parent / "first").touch(exist_ok=False)
        except FileExistsError:
            pass
        else:
            tune.report({"final": False, "failure": "not the same folder", "wrong_machine": True})
            while True:
                time.sleep(0.1)
        (folder / f"trained-{time.time_ns()}").touch()
        tune.report(finished)

    return training


def test_a_machine_without_the_folder_does_not_hold_up_a_search(tmp_path: Path) -> None:
    space = load_space(
        ROOT / "search_spaces" / "digits.yaml", ["controls=[]", "search.trials=3", "search.population=2"]
    )
    record = TrialStore.of_file(tmp_path / "study.db", "run")
    notes: list[str] = []
    complete = search(
        SearchController.begin(space, record),
        record,
        ray_folder=tmp_path / "ray",
        job=job_maker(space, tmp_path / "checkpoints"),
        note=notes.append,
        trainable=make_unshared(),
    )
    assert complete
    assert len(notes) == 1
    assert notes[0].endswith("is moved to another machine: not the same folder")
    assert [trial.state for trial in record.trials()] == [TrialState.COMPLETE] * 3
    for number in range(3):
        assert len(list((tmp_path / "checkpoints" / str(number)).glob("trained-*"))) == 1
