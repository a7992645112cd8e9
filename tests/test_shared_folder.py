"""Machines that join a cluster during a search: whether they see the run folder."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from test_final_evaluation import job_in

from morel_search.cluster import placement, shared_folder, trainable
from morel_search.cluster.placement import PlacesNow
from morel_search.cluster.shared_folder import TOKEN_FILE, check_shared, unshared_reason, write_token
from morel_search.cluster.tuner import job_maker
from morel_search.config import ResourceSettings, load_space
from morel_search.errors import ResourceError
from morel_search.results.folder import RunFolder
from morel_search.results.new_run import create_run_folder
from morel_search.search.controller import SearchController
from morel_search.search.hang_detector import HangDetector
from morel_search.search.study import TrialStore

SPACE = Path(__file__).parents[1] / "search_spaces" / "digits.yaml"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return create_run_folder(tmp_path, "run")


def test_a_machine_that_sees_the_token_shares_the_folder(run: RunFolder) -> None:
    token = write_token(run)
    assert unshared_reason(run.ray, token, 0) == ""
    assert write_token(run) != token
    assert unshared_reason(run.ray, token, 0), "the token of an earlier start"


@pytest.mark.parametrize("other", ["", "run/settings.json"])
def test_a_refused_folder_is_removed_if_nothing_of_another_run_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: str
) -> None:
    results = tmp_path / "new" / "results"

    def machines(_: ResourceSettings) -> list[Any]:
        if other:
            (results / other).parent.mkdir()
            (results / other).write_text("another run")
        raise ResourceError("no machine is there")

    monkeypatch.setattr(shared_folder, "machines_for", machines)
    with pytest.raises(ResourceError, match="no machine is there"):
        check_shared(results, ResourceSettings())
    left = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert left == ([results / other] if other else [])
    assert results.exists() == bool(other)


@pytest.mark.parametrize("content", [None, "", "that of another run"])
def test_a_machine_without_the_folder_or_with_one_of_its_own_is_named(
    run: RunFolder, content: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_folder.socket, "gethostname", lambda: "node-7")
    if content is not None:
        run.write_text(run.ray / TOKEN_FILE, content)
    reason = unshared_reason(run.ray, "abc", 0)
    assert reason.startswith(f"{run.ray} is not the same folder on node-7")


def test_a_folder_that_is_mounted_late_is_waited_for(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_folder, "SECONDS_BETWEEN_LOOKS", 0.01)
    timer = threading.Timer(0.1, run.write_text, [run.ray / TOKEN_FILE, "abc"])
    timer.start()
    assert unshared_reason(run.ray, "abc", 60) == ""
    timer.join()


def test_a_trial_on_a_machine_without_the_folder_trains_nothing_and_says_why(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would train, report COMPLETE, and leave its weights on a disk that nobody reads."""
    reports: list[dict[str, Any]] = []

    def report_and_mount(report: dict[str, Any]) -> None:
        reports.append(report)
        run.write_text(run.ray / TOKEN_FILE, "abc")

    monkeypatch.setattr(shared_folder, "SECONDS_BETWEEN_LOOKS", 0.01)
    monkeypatch.setattr(tune, "report", report_and_mount)
    job = replace(job_in(run.checkpoints / "3", "last"), token="abc", folder_seconds=0)
    trainable.run_job({"job": job})
    assert [(report["final"], report["wrong_machine"]) for report in reports] == [(False, True), (True, True)]
    assert "not the same folder" in reports[0]["failure"]
    assert not (run.checkpoints / "3").exists()
    monkeypatch.setattr(tune, "report", reports.append)
    trainable.run_job({"job": replace(job, token=write_token(run))})
    assert [report["final"] for report in reports[2:]] == [*[False] * 5, True]
    assert not any(report["wrong_machine"] for report in reports[2:])
    assert (run.checkpoints / "3/model.pt").exists()


@pytest.mark.parametrize(("setting", "seconds"), [("null", 300.0), ("60", 300.0), ("2", 60.0)])
def test_a_trial_that_waits_for_its_folder_does_not_hang(
    tmp_path: Path, setting: str, seconds: float
) -> None:
    space = load_space(SPACE, [f"search.max_epoch_minutes={setting}"])
    controller = SearchController.begin(space, TrialStore.of_file(tmp_path / "study.db", "run"))
    assignment = controller.next()
    assert assignment is not None
    job = job_maker(space, tmp_path)(assignment)
    assert job.folder_seconds == seconds
    now = [0.0]
    detector = HangDetector(space.search.max_epoch_minutes, clock=lambda: now[0])
    detector.overdue([0])
    while now[0] < job.folder_seconds:
        now[0] += 1.0
        assert detector.overdue([0]) == []


def test_the_places_of_a_cluster_are_counted_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    places, now = [2, 3], [0.0]
    monkeypatch.setattr(placement, "places", lambda resources: places[0])
    count = PlacesNow(ResourceSettings(), pytest.fail, lambda: now[0])
    assert count() == 2
    places.pop(0)
    assert count() == 2, "asking Ray takes time"
    now[0] += placement.SECONDS_BETWEEN_COUNTS
    assert count() == 3


def test_a_cluster_without_machines_is_noted_once_for_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    places, now, notes = [2], [0.0], list[str]()
    monkeypatch.setattr(placement, "places", lambda resources: places[0])
    count = PlacesNow(ResourceSettings(cpu=2, gpu=0.5), notes.append, lambda: now[0])

    def later(seconds: float) -> None:
        for _ in range(int(seconds)):
            now[0] += 1
            assert count() >= 1, "a trial that waits takes the first machine that joins"

    count()
    places[0] = 0
    later(placement.EMPTY_SECONDS - 1)
    places[0] = 1  # a machine that was started again in time
    later(60)
    assert notes == []
    for time_without in (1, 2):
        places[0] = 0
        later(600)
        assert len(notes) == time_without
        places[0] = 1
        later(60)
    assert "2 CPU and 0.5 GPU" in notes[0]
