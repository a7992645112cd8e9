"""Starting Ray for one run, or joining a cluster that is there."""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from morel_search.config import ResourceSettings
from morel_search.errors import ResourceError

__all__ = ["QUIET", "check_resources", "concurrency", "ray_session"]

QUIET = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "3600",
    "TUNE_FUNCTION_THREAD_TIMEOUT_S": "60",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
}
"""Read by Ray when it is imported: no chatter, and no copies of what the study holds."""


@contextmanager
def ray_session(address: str | None = None) -> Iterator[None]:
    """Ray for the time of a ``with``.

    Without an address Ray starts here for this run alone: no dashboard, token authentication as Ray has it, an own temporary folder
    that is removed at the end. With one (``auto`` or ``host:port``) the run joins that cluster, and this package travels with it.

    Raises:
        ResourceError: Ray does not start, or there is no cluster at the address.
    """
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray

    # Ray's socket paths may have at most 107 bytes, so the folder is short and not below the run folder.
    temporary = Path(tempfile.mkdtemp(prefix="ms-", dir="/tmp" if Path("/tmp").is_dir() else None)) if address is None else None
    try:
        _init(ray, address, temporary)
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
        yield
    finally:
        ray.shutdown()
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def _init(ray: Any, address: str | None, temporary: Path | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            ray.init(address="local", include_dashboard=False, _temp_dir=str(temporary), **quiet)
        else:
            import morel_search

            ray.init(address=address, runtime_env={"py_modules": [str(Path(morel_search.__file__).parent)]}, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = "here" if address is None else f"at {address}"
        raise ResourceError(f"Ray cannot be reached {where}: {' '.join(str(error).split())[:300]}") from error


def check_resources(resources: ResourceSettings) -> None:
    """Refuse a trial that no machine of the cluster could ever run; Ray would wait for ever.

    Raises:
        ResourceError: No machine has the processors and GPUs that one trial asks for.
    """
    import ray

    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if any(machine.get("CPU", 0) >= resources.cpu and machine.get("GPU", 0) >= resources.gpu for machine in machines):
        return
    has = "; ".join(f"{machine.get('CPU', 0):g} CPU and {machine.get('GPU', 0):g} GPU" for machine in machines)
    raise ResourceError(
        f"a trial asks for {resources.cpu:g} CPU and {resources.gpu:g} GPU (resources), but there is no such machine: {has}"
    )


def concurrency(resources: ResourceSettings) -> int:
    """How many trials fit at a time on the machines that are there."""
    import ray

    fit = 0
    for node in ray.nodes():
        if node["Alive"]:
            by_cpu = node["Resources"].get("CPU", 0) // resources.cpu
            fit += int(min(by_cpu, node["Resources"].get("GPU", 0) // resources.gpu) if resources.gpu else by_cpu)
    return max(1, min(fit, resources.concurrent or fit))
