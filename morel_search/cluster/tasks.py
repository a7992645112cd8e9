"""Tasks on a cluster: the one place that turns Ray's errors into those of this project."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

from morel_search._cli import print_err
from morel_search.errors import MorelSearchError, ResourceError

__all__ = ["explained_errors", "on_cluster"]

Result = TypeVar("Result")

BUSY_SECONDS = 15
"""Seconds without a free machine after which the user is told why nothing happens."""


@contextmanager
def explained_errors(lost: str) -> Iterator[None]:
    """Raise what a task raised, and say what became of it when its process or machine was lost.

    Args:
        lost: What to say then, with ``{reason}`` where Ray's reason stands.

    Raises:
        MorelSearchError: As the task raised it; any other exception of a task passes as Ray's
            ``RayTaskError``, whose text has the task's traceback.
        ResourceError: The process or the machine of a task was lost.
    """
    import ray

    try:
        yield
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, MorelSearchError) else error from None
    except ray.exceptions.RayError as error:
        reason = " ".join(str(error).split())[:400]
        raise ResourceError(lost.format(reason=reason)) from error


def on_cluster(function: Callable[..., Result], *arguments: object, **options: Any) -> Result:
    """Call a function on a machine of the cluster and return its result.

    Args:
        function: Importable from this package.
        *arguments: Its arguments.
        **options: Ray's options of a task, such as ``num_cpus``.

    Raises:
        MorelSearchError: What the function raised; ResourceError if its process or machine was lost.
    """
    import ray

    task = ray.remote(function).options(**options).remote(*arguments)
    if not ray.wait([task], timeout=BUSY_SECONDS)[0]:
        print_err("waiting for a free machine of the cluster")
    with explained_errors("a first task on the cluster failed: {reason}"):
        return cast("Result", ray.get(task))
    raise AssertionError("the block above returns or raises")
