"""Ray's errors become the project's in one place, by one rule for mistakes, bugs and lost machines."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import ray

from morel_search.cluster.tasks import task_errors
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
