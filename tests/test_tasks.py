"""Ray's errors become the project's in one place, by one rule for mistakes, bugs and lost machines."""

from __future__ import annotations

import ast
from pathlib import Path
from unittest.mock import Mock

import pytest
import ray

from morel_search.cluster import tasks
from morel_search.cluster.tasks import Results, task_errors
from morel_search.errors import DataError, ResourceError

PACKAGE = Path(__file__).parents[1] / "morel_search"


def task_error(cause: Exception) -> Exception:
    """What ``ray.get`` raises for a task that raised the cause: an error of both classes."""
    error = ray.exceptions.RayTaskError("task", "the worker's traceback", cause)
    both = error.as_instanceof_cause()
    assert isinstance(both, type(cause))
    return both


def test_a_mistake_is_raised_as_the_task_raised_it() -> None:
    cause = DataError("no file matches a.parquet")
    with pytest.raises(DataError) as raised, task_errors("it failed", "try again"):
        raise task_error(cause)
    assert raised.value is cause


def test_a_bug_keeps_the_traceback_of_the_worker() -> None:
    with pytest.raises(KeyError, match="the worker's traceback"), task_errors("it failed", "try again"):
        raise task_error(KeyError("x"))


@pytest.mark.parametrize("error", [ray.exceptions.WorkerCrashedError(), ConnectionError("connection closed")])
def test_a_lost_machine_says_what_failed_and_what_to_do(error: Exception) -> None:
    with (
        pytest.raises(ResourceError, match=r"^it failed \(.+\); try again$"),
        task_errors("it failed", "try again"),
    ):
        raise error


class Clock:
    """A clock that each look at the tasks moves on; a task ends at the looks with these numbers."""

    def __init__(self, ends: set[int]) -> None:
        self.now, self.looks, self.ends = 0.0, 0, ends

    def __call__(self) -> float:
        return self.now

    def wait(self, references: list[str], timeout: float) -> tuple[list[str], list[str]]:
        self.looks += 1
        self.now += timeout
        return (references[:1], references[1:]) if self.looks in self.ends else ([], references)


def test_a_worker_that_hangs_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit is 50 times the longest wait so far, at least 30 minutes, and 6 hours before any result."""
    looks_a_minute = round(60 / tasks.WAIT_SECONDS)
    clock = Clock({1, 2, 3 * looks_a_minute})
    monkeypatch.setattr(ray, "wait", clock.wait)
    results = Results(clock)
    assert [results.next(["a", "b"]) for _ in range(3)] == ["a", "a", "a"]
    with (
        pytest.raises(ResourceError, match=r"^it failed \(no result for 2 h 2\d min: a worker hangs"),
        task_errors("it failed", "try again"),
    ):
        results.next(["b"])
    assert clock.looks == pytest.approx((3 + 50 * 2.83) * looks_a_minute, rel=0.01)


def test_the_first_result_may_take_six_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(set())
    monkeypatch.setattr(ray, "wait", clock.wait)
    with pytest.raises(TimeoutError, match="no result for 6 h 00 min"):
        Results(clock).next(["a"])
    assert clock.now == pytest.approx(6 * 3600, abs=2 * tasks.WAIT_SECONDS)


def test_a_first_task_that_hangs_ends_the_wait(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock, task = Clock(set()), Mock()
    task.options.return_value.remote.return_value = "reference"
    monkeypatch.setattr(ray, "wait", clock.wait)
    monkeypatch.setattr(ray, "remote", lambda _: task)
    monkeypatch.setattr(tasks, "Results", lambda: Results(clock))
    with pytest.raises(ResourceError, match=r"^a first task .* \(no result for 6 h 00 min: a worker hangs"):
        tasks.on_cluster(len, "x")
    assert "waiting for a free machine" in capsys.readouterr().err


def test_an_error_of_the_driver_passes() -> None:
    with pytest.raises(OSError, match="disk"), task_errors("it failed", "try again"):
        raise OSError("disk")


def test_no_other_module_unwraps_ray_s_errors() -> None:
    users = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr in ("RayTaskError", "RayError")
    }
    assert users == {"cluster/tasks.py", "cluster/session.py"}  # the session: errors of connecting
