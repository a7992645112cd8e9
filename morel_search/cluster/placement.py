"""Where trials run: machines, how many at a time, the device, and paths that hold on every machine."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from morel_search.config import ResourceSettings
from morel_search.errors import ResourceError
from morel_search.training.settings import DataSettings

__all__ = [
    "MACHINE_SECONDS",
    "check_resources",
    "concurrency",
    "device_for",
    "machines_for",
    "with_absolute_paths",
]

MACHINE_SECONDS = 30
"""Seconds that a cluster which has just started may need to show a machine on which a trial fits."""


def machines_for(resources: ResourceSettings) -> list[dict[str, Any]]:
    """Return the living machines on which one trial fits, as :func:`ray.nodes` describes them."""
    import ray

    return [
        node
        for node in ray.nodes()
        if node["Alive"]
        and node["Resources"].get("CPU", 0) >= resources.cpu
        and node["Resources"].get("GPU", 0) >= resources.gpu
    ]


def check_resources(resources: ResourceSettings, patience: float = 0) -> None:
    """Refuse a trial that no machine of the cluster can run; Ray would wait for ever.

    Args:
        resources: What one trial occupies.
        patience: Seconds within which a machine may still join.

    Raises:
        ResourceError: No machine has the CPUs and GPUs of one trial.
    """
    import ray

    deadline = time.monotonic() + patience
    while not machines_for(resources):
        if time.monotonic() < deadline:
            time.sleep(1)
            continue
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        has = "; ".join(
            f"{machine.get('CPU', 0):g} CPU and {machine.get('GPU', 0):g} GPU" for machine in machines
        )
        raise ResourceError(
            f"one trial occupies {resources.cpu:g} CPU and {resources.gpu:g} GPU (resources.cpu, resources.gpu), "
            f"and no machine has as much: {has}"
        )


def concurrency(resources: ResourceSettings) -> int:
    """Return how many trials fit on the machines at the same time, at most ``resources.concurrent``."""
    fit = 0
    for node in machines_for(resources):
        by_cpu = node["Resources"].get("CPU", 0) // resources.cpu
        fit += int(min(by_cpu, node["Resources"].get("GPU", 0) // resources.gpu) if resources.gpu else by_cpu)
    return max(1, min(fit, resources.concurrent or fit))


def device_for(resources: ResourceSettings) -> str:
    """Return the device of a trial: ``resources.device``; for ``auto``, ``cuda`` if it occupies a GPU, else ``cpu``."""
    if resources.device != "auto":
        return resources.device
    return "cuda" if resources.gpu else "cpu"


def with_absolute_paths(data: DataSettings) -> DataSettings:
    """Make the paths of the data absolute, because Ray Tune changes the working directory of a trial."""

    def absolute(path: str | None) -> str | None:
        return None if path is None else str(Path(path).expanduser().absolute())

    return replace(
        data, folder=str(absolute(data.folder)), train=absolute(data.train), test=absolute(data.test)
    )
