"""``--address ray://...``: the same command, driven from inside the cluster."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from morel_search.errors import MorelSearchError, ResourceError

if TYPE_CHECKING:
    from morel_search.pipeline import Request

__all__ = ["is_client_address", "run_on_cluster"]


def is_client_address(address: str | None) -> bool:
    """Whether an address is that of a Ray client server."""
    return address is not None and address.startswith("ray://")


def run_on_cluster(request: Request) -> int:
    """Hand a run to a cluster through Ray's client and show what it prints.

    Ray Tune's driver, the study and the run folder then are on the cluster, so the results folder must be one that its machines share.

    Returns:
        The run's exit code.

    Raises:
        ResourceError: There is no cluster at the address.
    """
    import os

    from morel_search.search.cluster import QUIET

    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    import morel_search

    runtime_env: dict[str, Any] = {"py_modules": [str(Path(morel_search.__file__).parent)], "env_vars": QUIET}
    try:
        ray.init(address=request.address, runtime_env=runtime_env)
    except (ConnectionError, RuntimeError, ValueError, ImportError) as error:
        raise ResourceError(f"no Ray cluster answers at {request.address}: {' '.join(str(error).split())[:300]}") from error
    try:
        code: int = ray.get(ray.remote(num_cpus=0)(_drive).remote(request))
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, MorelSearchError):
            raise error.cause from None
        raise
    finally:
        ray.shutdown()
    return code


def _drive(request: Request) -> int:
    from dataclasses import replace

    from morel_search.pipeline import execute

    return execute(replace(request, address="auto"))
