"""Ray Tune's searcher and scheduler, called without Ray Tune."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.exceptions import OutOfMemoryError
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from morel_search.cluster.ray_private import OUT_OF_HOST_MEMORY
from morel_search.cluster.scheduler import StudyScheduler
from morel_search.cluster.searcher import StudySearcher
from morel_search.cluster.trainable import describe_failure
from morel_search.cluster.trial_report import TrialReport
from morel_search.config import load_space
from morel_search.errors import RunFolderError
from morel_search.search.controller import SearchController
from morel_search.search.outcome import read_outcome
from morel_search.search.study import TrialStore
from morel_search.training.selection import EpochResult

ROOT = Path(__file__).parents[1]


def epoch(number: int) -> dict[str, Any]:
    losses = dict.fromkeys(("loss", "accuracy_loss", "robust_loss", "cosine_loss", "contrastive_loss"), 1.0)
    return {
        "epoch": number,
        **losses,
        "lr": 0.1,
        "train_accuracy": 0.5,
        "clean_accuracy": 0.5,
        "robust_accuracy": 0.5,
        "seconds": 1.0,
    }


class Driver:
    def __init__(
        self, folder: Path, on_finished: Any = lambda _: None, on_epoch: Any = lambda number, result: None
    ) -> None:
        space = load_space(ROOT / "search_spaces" / "digits.yaml", ["controls=[]", "train.epochs=2"])
        self.record = TrialStore.of_file(folder / "study.db", "run")
        self.controller = SearchController.begin(space, self.record)
        self.errors: list[Exception] = []
        self.losses: dict[str, str] = {}
        self.searcher = StudySearcher(
            self.controller,
            lambda assignment: SimpleNamespace(number=assignment.number),
            on_finished,
            self.errors,
            self.losses,
        )
        self.scheduler = StudyScheduler(self.controller, on_epoch, self.errors, self.losses)

    def epoch(self, config: Any, number: int) -> str:
        trial = SimpleNamespace(config=config)
        return self.scheduler.on_trial_result(
            None, trial, {"final": False, "failure": "", "history": [epoch(number)]}
        )


def final() -> dict[str, Any]:
    return {"final": True, "failure": "", "history": [epoch(1), epoch(2)]}


def test_a_report_is_unchanged_by_its_form_for_ray() -> None:
    for report in (
        TrialReport(history=(EpochResult(**epoch(1)), EpochResult(**epoch(2)))),
        TrialReport(final=True, failure="out of memory"),
    ):
        received = {**report.to_ray(), "trial_id": "a", "training_iteration": 3}  # Ray adds keys
        assert TrialReport.from_ray(received) == report
    assert TrialReport.from_ray(None) == TrialReport.from_ray({}) == TrialReport()


def test_a_trial_from_its_proposal_to_its_end(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    config = driver.searcher.suggest("a")
    assert driver.epoch(config, 1) == TrialScheduler.CONTINUE
    assert driver.epoch(config, 2) == TrialScheduler.CONTINUE
    assert driver.scheduler.on_trial_result(None, None, final()) == TrialScheduler.CONTINUE
    driver.searcher.on_trial_complete("a", final())
    assert [trial.state.name for trial in driver.record.trials()] == ["COMPLETE"]
    driver.searcher.on_trial_complete("a", final())  # Ray may call it twice
    assert not driver.errors


def test_a_folder_that_cannot_be_written_ends_the_search_without_a_failed_trial(tmp_path: Path) -> None:
    """Ray would hide the error, record the trial as failed, and run it again from the beginning."""

    def full(_: Any) -> None:
        raise RunFolderError("the disk is full")

    driver = Driver(tmp_path, on_finished=full)
    config = driver.searcher.suggest("a")
    driver.searcher.suggest("b")
    driver.searcher.on_trial_complete("a", final())
    assert [str(error) for error in driver.errors] == ["the disk is full"]
    assert driver.record.trials()[0].state.name == "COMPLETE"
    assert driver.searcher.suggest("c") == Searcher.FINISHED
    assert driver.epoch(config, 1) == TrialScheduler.STOP


def test_an_error_of_the_driver_between_epochs_ends_the_search(tmp_path: Path) -> None:
    def broken(number: int, result: Any) -> None:
        raise OSError("nobody reads this pipe")

    driver = Driver(tmp_path, on_epoch=broken)
    assert driver.epoch(driver.searcher.suggest("a"), 1) == TrialScheduler.STOP
    assert isinstance(driver.errors[0], OSError)
    driver.searcher.on_trial_complete("a", {"final": False})
    assert [trial.state.name for trial in driver.record.trials()] == ["RUNNING"]
    driver.record.requeue_running()
    assert [trial.state.name for trial in driver.record.trials()] == ["WAITING"]


def test_a_killed_process_is_a_failure_with_its_epochs(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    config = driver.searcher.suggest("a")
    driver.epoch(config, 1)
    driver.searcher.on_trial_complete("a", None, error=True)
    trial = driver.record.trials()[0]
    assert trial.state.name == "FAIL"
    assert "process died" in trial.user_attrs["outcome"]["failure"]
    assert len(trial.user_attrs["outcome"]["history"]) == 1


def test_a_process_that_ran_out_of_host_memory_is_avoided_like_one_that_ran_out_of_gpu_memory(
    tmp_path: Path,
) -> None:
    driver = Driver(tmp_path)
    driver.searcher.suggest("a")
    driver.scheduler._lost("a", OutOfMemoryError("the node is running low on memory"))
    driver.searcher.on_trial_complete("a", None, error=True)
    outcome = read_outcome(driver.record.trials()[0])
    assert outcome.failure == OUT_OF_HOST_MEMORY
    assert outcome.deterministic_failure


def test_a_run_folder_that_a_worker_cannot_write_ends_the_search_and_the_trial_waits(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    driver.searcher.suggest("a")
    report = TrialReport(final=True, failure="cannot write state.pt: the disk is full", folder_error=True)
    driver.searcher.on_trial_complete("a", report.to_ray())
    assert [str(error) for error in driver.errors] == ["cannot write state.pt: the disk is full"]
    assert driver.searcher.suggest("b") == Searcher.FINISHED
    driver.record.requeue_running()
    assert [trial.state.name for trial in driver.record.trials()] == ["WAITING"]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError("Unable to allocate 3.2 GiB for an array"), "out of memory: Unable to allocate"),
        (RuntimeError("CUDA out of memory. Tried to"), "out of memory: CUDA"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), "out of memory: Default"),
        (OSError(12, "Cannot allocate memory"), "out of memory: [Errno 12]"),
    ],
)
def test_every_way_to_run_out_of_memory_is_known(error: Exception, reason: str) -> None:
    assert describe_failure(error).startswith(reason)
