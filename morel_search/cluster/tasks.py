"""Tasks on Ray's workers: starting them, and the one place that turns Ray's errors into the project's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar, cast

from morel_search._cli import print_err
from morel_search._format import duration
from morel_search.cluster.lifeline import waiting
from morel_search.config import ResourceSettings
from morel_search.errors import MorelSearchError, ResourceError
from morel_search.search.hang_detector import HangDetector

if TYPE_CHECKING:
    from ray.remote_function import RemoteFunction

__all__ = ["Results", "on_cluster", "task_errors", "trial_task"]

Result = TypeVar("Result")
Reference = TypeVar("Reference")

BUSY_SECONDS = 15
"""Seconds without a free machine after which :func:`on_cluster` prints that it is waiting."""

WAIT_SECONDS = 5.0
"""Seconds between two looks at the time limit while no task ends."""

LONGEST_REASON = 300
"""Characters of Ray's own message that are kept."""


def trial_task(function: Callable[..., object], resources: ResourceSettings) -> RemoteFunction:
    """Return a function as a Ray task with the resources of one trial; its process is kept for the next task.

    Args:
        function: Importable from this package.
        resources: Processor cores and GPUs of one trial.
    """
    import ray

    return ray.remote(num_cpus=resources.cpu, num_gpus=resources.gpu, max_calls=0)(function)


@contextmanager
def task_errors(failure: str, remedy: str) -> Iterator[None]:
    """Turn the errors of Ray that are raised inside a ``with`` block into those of the project.

    An error that the task raised and that the user can correct (:class:`MorelSearchError`) is raised as the
    task raised it. Any other error of a task is a bug; it stays Ray's error, because that shows the traceback
    of the worker.

    Args:
        failure: What failed, such as ``the verification was interrupted``.
        remedy: What the user can do, such as ``run the same command again to continue``.

    Raises:
        MorelSearchError: The task raised it.
        ResourceError: The task's process or machine, or the connection to the cluster, was lost, or a worker
            hangs (see :class:`Results`).
    """
    import ray

    try:
        with waiting():
            yield
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, MorelSearchError) else error from None
    except (ConnectionError, TimeoutError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:LONGEST_REASON]
        raise ResourceError(f"{failure} ({reason}); {remedy}") from error


class Results:
    """Waits for the results of tasks of one kind, but not for ever: a worker may hang, or be stopped.

    The time limit between two results is that of an epoch, see
    :class:`~morel_search.search.hang_detector.HangDetector`.

    Args:
        clock: Returns seconds since a fixed moment.
    """

    _ANY = 0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._detector = HangDetector(clock=clock)
        self._detector.overdue([self._ANY])  # begins to wait

    def next(self, pending: Iterable[Reference]) -> Reference:
        """Return the reference of the next task that ends.

        Args:
            pending: References of the tasks that run or wait for a worker.

        Raises:
            TimeoutError: No task ended within the time limit.
        """
        import ray

        while True:
            ready, _ = ray.wait(list(pending), timeout=WAIT_SECONDS)
            if ready:
                self._detector.report(self._ANY)
                return cast("Reference", ready[0])
            limit = self._detector.limit
            if self._detector.overdue([self._ANY]):
                raise TimeoutError(f"no result for {duration(limit)}: a worker hangs or is stopped")


def on_cluster(function: Callable[..., Result], *arguments: object, **options: object) -> Result:
    """Call a function on a machine of the cluster and return its result.

    Args:
        function: Importable from this package.
        *arguments: Its arguments.
        **options: Ray's options of a task, such as ``num_cpus``.

    Raises:
        MorelSearchError: See :func:`task_errors`.
    """
    import ray

    with task_errors("a first task on the cluster failed", "run the command again"):
        task = ray.remote(function).options(**options).remote(*arguments)
        if not ray.wait([task], timeout=BUSY_SECONDS)[0]:
            print_err("waiting for a free machine of the cluster")
        return cast("Result", ray.get(Results().next([task])))
