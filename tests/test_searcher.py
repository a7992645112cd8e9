"""Ray Tune's searcher and scheduler, called without Ray Tune."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from ray.air.execution._internal import RayActorManager
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError
from ray.tune.schedulers import TrialScheduler
from ray.tune.search import Searcher

from morel_search.cluster.ray_private import MACHINE_LOST, OUT_OF_HOST_MEMORY
from morel_search.cluster.scheduler import StudyScheduler
from morel_search.cluster.searcher import MOVES, StudySearcher
from morel_search.cluster.trainable import describe_failure
from morel_search.cluster.trial_report import TrialReport
from morel_search.cluster.watch import SearchWatch
from morel_search.config import load_space
from morel_search.errors import RunFolderError
from morel_search.search.controller import SearchController
from morel_search.search.hang_detector import HangDetector
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


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def tune_controller() -> Any:
    """Return as much of Ray Tune's controller as a scheduler sees before a process is lost."""
    return SimpleNamespace(_actor_manager=RayActorManager(resource_manager=None), _actor_to_trial={})  # type: ignore[arg-type]


class Driver:
    def __init__(
        self,
        folder: Path,
        on_finished: Any = lambda _: None,
        on_epoch: Any = lambda number, result: None,
        overrides: tuple[str, ...] = (),
    ) -> None:
        space = load_space(
            ROOT / "search_spaces" / "digits.yaml", ["controls=[]", "train.epochs=2", *overrides]
        )
        self.clock = Clock()
        self.record = TrialStore.of_file(folder / "study.db", "run")
        self.controller = SearchController.begin(space, self.record, clock=lambda: self.clock.now)
        self.errors: list[Exception] = []
        self.notes: list[str] = []
        detector = HangDetector(1, self.notes.append, self.clock)
        self.watch = SearchWatch(self.controller, detector, self.errors, self.notes.append, self.clock)
        self.losses: dict[str, str] = {}
        self.places = 8
        self.searcher = StudySearcher(
            self.controller,
            lambda assignment: SimpleNamespace(
                number=assignment.number,
                train=assignment.train,
                evaluation=space.evaluation,
                select_epoch=space.search.select_epoch,
            ),
            on_finished,
            self.errors,
            self.losses,
            detector.reason,
            lambda: self.places,
            self.notes.append,
        )
        self.scheduler = StudyScheduler(self.controller, on_epoch, self.errors, self.watch, self.losses)

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


def test_as_many_trials_start_as_the_cluster_has_places_now(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    driver.places = 2
    assert [driver.searcher.suggest(name) is not None for name in "abc"] == [True, True, False]
    driver.places = 3  # a machine has joined
    assert driver.searcher.suggest("d") is not None
    driver.places = 1  # two have left
    driver.searcher.on_trial_complete("a", final())
    assert driver.searcher.suggest("e") is None
    driver.searcher.on_trial_complete("b", final())
    assert driver.searcher.suggest("f") is None
    driver.searcher.on_trial_complete("d", final())
    assert driver.searcher.suggest("g") is not None
    assert not driver.errors


def test_an_error_while_machines_are_counted_ends_the_search_with_this_error(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    driver.searcher.suggest("a")
    error = ConnectionError("Ray does not answer")
    driver.searcher._limit = Mock(side_effect=error)
    assert driver.searcher.suggest("b") == Searcher.FINISHED
    assert driver.errors == [error]
    assert driver.watch.stop_all()


def test_a_search_ends_only_when_no_running_trial_can_lose_its_machine(tmp_path: Path) -> None:
    driver = Driver(tmp_path, overrides=("search.trials=2",))
    first = driver.searcher.suggest("a")
    driver.searcher.suggest("b")
    assert driver.searcher.suggest("c") is None
    driver.scheduler._lost("a", NodeDiedError("lost"))
    driver.searcher.on_trial_complete("a", None, error=True)
    again = driver.searcher.suggest("d")
    assert again["job"].number == first["job"].number
    driver.searcher.on_trial_complete("b", final())
    assert driver.searcher.suggest("e") is None
    driver.searcher.on_trial_complete("d", final())
    assert driver.searcher.suggest("f") == Searcher.FINISHED
    assert [trial.state.name for trial in driver.record.trials()] == ["COMPLETE"] * 2


def test_a_trial_without_its_machine_is_no_failure_and_begins_first_on_another(tmp_path: Path) -> None:
    driver = Driver(tmp_path)

    def lose(name: str, config: Any) -> None:
        driver.epoch(config, 1)
        driver.scheduler._lost(name, NodeDiedError("lost"))
        driver.searcher.on_trial_complete(name, {"final": False}, error=True)

    for move in range(MOVES):
        config = driver.searcher.suggest(str(move))
        assert config["job"].number == 0
        lose(str(move), config)
        assert [trial.state.name for trial in driver.record.trials()] == ["WAITING"]
    assert driver.notes == [f"trial 0 is moved to another machine: {MACHINE_LOST}"] * MOVES
    lose("last", driver.searcher.suggest("last"))
    outcome = read_outcome(driver.record.trials()[0])
    assert outcome.failure == f"{MACHINE_LOST}, after {MOVES} moves to other machines"
    assert not outcome.deterministic_failure
    assert driver.searcher.suggest("b")["job"].number == 1


UNSHARED = TrialReport(failure="not the same folder on node-7", wrong_machine=True).to_ray()


def report_unshared(driver: Driver, name: str, config: Any) -> Any:
    """Report as Ray Tune does that a trial's machine does not see the run folder."""
    trial = SimpleNamespace(
        config=config,
        max_failures=2,
        is_finished=lambda: False,
        temporary_state=SimpleNamespace(ray_actor=object()),
    )
    driver.watch.add(trial)
    assert driver.scheduler.on_trial_result(None, trial, UNSHARED) == TrialScheduler.CONTINUE
    driver.searcher.on_trial_result(name, UNSHARED)
    return trial


def test_a_machine_without_the_folder_keeps_its_place_and_its_trial_begins_elsewhere(tmp_path: Path) -> None:
    """Its worker would be given the next trial at once, and each one would be moved until it fails."""
    driver = Driver(tmp_path, overrides=("search.trials=2",))
    driver.places = 2
    trial = report_unshared(driver, "a", driver.searcher.suggest("a"))
    assert trial.max_failures == 0, "another trial of Ray Tune has its number"
    assert driver.notes == ["trial 0 is moved to another machine: not the same folder on node-7"]
    assert [own.state.name for own in driver.record.trials()] == ["WAITING"]
    again = driver.searcher.suggest("b")
    assert again["job"].number == 0
    assert driver.searcher.suggest("c") is None, "one of two places is taken by the worker that waits"
    driver.clock.now += 10_000
    assert not driver.watch.stop_all()
    assert driver.epoch(again, 1) == TrialScheduler.CONTINUE
    driver.searcher.on_trial_complete("b", final())
    driver.searcher.suggest("c")
    driver.searcher.on_trial_complete("c", final())
    assert driver.searcher.suggest("d") == Searcher.FINISHED
    assert driver.watch.stop_all(), "the search does not wait for a folder that never appears"
    driver.searcher.on_trial_complete("a", UNSHARED)
    assert [own.state.name for own in driver.record.trials()] == ["COMPLETE"] * 2
    assert driver.errors == []


def test_a_machine_that_sees_the_folder_at_last_gets_trials(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    driver.places = 2
    report_unshared(driver, "a", driver.searcher.suggest("a"))
    assert driver.searcher.suggest("b")["job"].number == 0
    assert driver.searcher.suggest("c") is None
    driver.searcher.on_trial_complete("a", TrialReport(final=True, wrong_machine=True).to_ray())
    assert driver.searcher.suggest("c")["job"].number == 1


def test_a_search_of_which_no_machine_sees_the_folder_ends(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    driver.places = 2
    for name in "ab":
        report_unshared(driver, name, driver.searcher.suggest(name))
    assert driver.searcher.suggest("c") == Searcher.FINISHED
    (error,) = driver.errors
    assert isinstance(error, RunFolderError)
    assert str(error) == "not the same folder on node-7"
    assert {own.state.name for own in driver.record.trials()} == {"WAITING"}, "--resume continues them"


def test_a_dead_process_after_a_lost_machine_is_a_failure(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    driver.searcher.suggest("a")
    driver.scheduler._lost("a", NodeDiedError("lost"))
    driver.scheduler._lost("a", RayActorError(error_msg="killed"))
    driver.searcher.on_trial_complete("a", None, error=True)
    assert "process died" in read_outcome(driver.record.trials()[0]).failure


def test_a_finished_trial_needs_its_machine_no_more(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    driver.searcher.suggest("a")
    driver.scheduler._lost("a", NodeDiedError("lost"))
    driver.searcher.on_trial_complete("a", final(), error=True)
    assert [trial.state.name for trial in driver.record.trials()] == ["COMPLETE"]


def test_a_run_folder_that_a_worker_cannot_write_ends_the_search_and_the_trial_waits(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    driver.searcher.suggest("a")
    report = TrialReport(final=True, failure="cannot write state.pt: the disk is full", folder_error=True)
    driver.searcher.on_trial_complete("a", report.to_ray())
    assert [str(error) for error in driver.errors] == ["cannot write state.pt: the disk is full"]
    assert driver.searcher.suggest("b") == Searcher.FINISHED
    driver.record.requeue_running()
    assert [trial.state.name for trial in driver.record.trials()] == ["WAITING"]


class Killer:
    """Takes the place of Ray: notes which actors are killed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.killed: list[object] = []
        monkeypatch.setattr("morel_search.cluster.watch.kill_actor", self.killed.append)


def trial_of(config: Any, actor: object) -> Any:
    return SimpleNamespace(
        config=config,
        temporary_state=SimpleNamespace(ray_actor=actor),
        max_failures=2,
        is_finished=lambda: False,
    )


def look(driver: Driver, seconds: float) -> list[bool]:
    """Call the watch as Ray Tune does, once a second of the clock."""
    decisions = []
    for _ in range(int(seconds)):
        driver.clock.now += 1
        decisions.append(driver.watch.stop_all())
    return decisions


def test_a_trial_that_hangs_is_moved_once_and_then_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    killer, finished = Killer(monkeypatch), list[Any]()
    driver = Driver(tmp_path, on_finished=finished.append)
    config = driver.searcher.suggest("a")
    trial = trial_of(config, None)
    driver.scheduler.on_trial_add(tune_controller(), trial)
    assert not any(look(driver, 600))
    assert killer.killed == []  # it waits for a worker
    trial.temporary_state.ray_actor = "first"
    assert not any(look(driver, 62))
    assert (killer.killed, trial.max_failures) == (["first"], 2)
    assert driver.notes == [
        "trial 0 is restarted on a new worker: the training hung: no epoch within 1 min 00 s "
        "(search.max_epoch_minutes)"
    ]
    trial.temporary_state.ray_actor = "second"
    assert not any(look(driver, 62))
    assert (killer.killed, trial.max_failures) == (["first", "second"], 0)
    driver.searcher.on_trial_complete("a", error=True)
    assert [trial.outcome.failure for trial in finished] == [
        "the training hung: no epoch within 1 min 00 s twice (search.max_epoch_minutes)"
    ]


def test_a_trial_that_reports_is_not_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killer = Killer(monkeypatch)
    driver = Driver(tmp_path)
    config = driver.searcher.suggest("a")
    driver.scheduler.on_trial_add(tune_controller(), trial_of(config, "actor"))
    look(driver, 50)
    driver.epoch(config, 1)
    look(driver, 50)
    driver.epoch(config, 2)  # the last epoch; the final attack may take two
    look(driver, 110)
    assert killer.killed == []
    look(driver, 20)
    assert killer.killed == ["actor"]


def test_the_time_limit_ends_a_search_in_which_no_training_reports(tmp_path: Path) -> None:
    driver = Driver(tmp_path, overrides=("search.max_hours=0.01",))
    config = driver.searcher.suggest("a")
    driver.scheduler.on_trial_add(tune_controller(), trial_of(config, "actor"))
    decisions = look(driver, 40)
    assert decisions.index(True) + 1 == 36
    assert driver.controller.complete
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


def test_gpu_hours_grow_while_no_training_reports(tmp_path: Path) -> None:
    driver = Driver(tmp_path, overrides=("search.max_gpu_hours=0.01", "resources.gpu=1"))
    for name in "ab":
        driver.scheduler.on_trial_add(tune_controller(), trial_of(driver.searcher.suggest(name), "actor"))
    decisions = look(driver, 40)
    assert 18 <= decisions.index(True) <= 21


def test_an_error_ends_the_search_without_a_report(tmp_path: Path) -> None:
    driver = Driver(tmp_path)
    driver.searcher.suggest("a")
    assert not driver.watch.stop_all()
    driver.errors.append(RunFolderError("the study cannot be written: the disk is full"))
    assert driver.watch.stop_all()
