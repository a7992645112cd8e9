"""Placement of trials: machines with enough resources, concurrent trials, the device, absolute paths."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypedDict

from morel_search._consent import names_code
from morel_search._machine import usable_cpus
from morel_search.config import ResourceSettings
from morel_search.errors import ResourceError
from morel_search.training.data_settings import is_hub_name
from morel_search.training.settings import DataSettings, NetworkSettings, TrainSettings

__all__ = [
    "MACHINE_SECONDS",
    "PlacesNow",
    "check_resources",
    "concurrency",
    "device_for",
    "local_places",
    "machines_for",
    "network_with_absolute_path",
    "threads_for",
    "train_with_absolute_path",
    "with_absolute_paths",
]

MACHINE_SECONDS = 30
"""Seconds that a machine with the resources of one trial may take to join a cluster that was just started."""


SECONDS_BETWEEN_COUNTS = 5.0
"""Seconds after which the machines of the cluster are counted anew."""

EMPTY_SECONDS = 60.0
"""Seconds without a machine for one trial after which the user is told that the search waits."""


class Machine(TypedDict):
    """The part of Ray's description of a machine that is used here; see :func:`ray.nodes`."""

    NodeID: str
    Alive: bool
    Resources: dict[str, float]


def machines_for(resources: ResourceSettings) -> list[Machine]:
    """Return the living machines with the resources of one trial."""
    import ray

    return [
        node
        for node in ray.nodes()
        if node["Alive"]
        and node["Resources"].get("CPU", 0) >= resources.cpu
        and node["Resources"].get("GPU", 0) >= resources.gpu
    ]


def check_resources(resources: ResourceSettings, patience: float = 0) -> None:
    """Refuse resources that no machine of the cluster has; Ray itself would wait without end.

    Args:
        resources: Processor cores and GPUs of one trial.
        patience: Seconds to wait for such a machine to join the cluster.

    Raises:
        ResourceError: No machine has the processor cores and GPUs of one trial.
    """
    import ray

    deadline = time.monotonic() + patience
    while not machines_for(resources):
        if time.monotonic() < deadline:
            time.sleep(1)
            continue
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        available = "; ".join(
            f"{machine.get('CPU', 0):g} CPU and {machine.get('GPU', 0):g} GPU" for machine in machines
        )
        raise ResourceError(
            f"one trial needs resources.cpu {resources.cpu:g} and resources.gpu {resources.gpu:g}, "
            f"but no machine has as much: {available}; lower them, or use a larger machine"
        )


def places(resources: ResourceSettings) -> int:
    """Return the number of trials that run at the same time on the machines of the cluster; it may be 0."""
    machines = [node["Resources"] for node in machines_for(resources)]
    fit = sum(_fit(resources, machine.get("CPU", 0), machine.get("GPU", 0)) for machine in machines)
    return min(fit, resources.concurrent or fit)


def local_places(resources: ResourceSettings, gpus: float) -> int:
    """Return the number of trials that run at the same time on this machine, at least 1.

    Args:
        resources: Processor cores and GPUs of one trial.
        gpus: Number of GPUs of this machine.
    """
    fit = max(1, _fit(resources, usable_cpus(), gpus))
    return min(fit, resources.concurrent or fit)


def _fit(resources: ResourceSettings, cpus: float, gpus: float) -> int:
    """Return how many trials fit on a machine; ten of 0.1 fit on 1, although ``1 // 0.1`` is 9."""
    by_cpu = math.floor(round(cpus / resources.cpu, 6))
    return min(by_cpu, math.floor(round(gpus / resources.gpu, 6))) if resources.gpu else by_cpu


def concurrency(resources: ResourceSettings) -> int:
    """Return the number of trials that run at the same time on the machines of the cluster, at least 1."""
    return max(1, places(resources))


class PlacesNow:
    """Returns :func:`concurrency` as it is now: machines may join and leave a cluster during a search.

    Args:
        resources: Processor cores and GPUs of one trial.
        note: Called with a sentence for the user when no machine has had these resources for a minute.
        clock: Returns seconds since a fixed moment.
    """

    def __init__(
        self,
        resources: ResourceSettings,
        note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._resources, self._note, self._clock = resources, note, clock
        self._places, self._next_look = 1, -math.inf
        self._note_at = math.inf

    def __call__(self) -> int:
        """Return the number of trials that can run at the same time; it is counted anew every few seconds."""
        now = self._clock()
        if now >= self._next_look:
            self._next_look = now + SECONDS_BETWEEN_COUNTS
            counted = places(self._resources)
            if counted:
                self._note_at = math.inf
            elif self._places:
                self._note_at = now + EMPTY_SECONDS
            self._places = counted
        if now >= self._note_at:
            self._note_at = math.inf
            self._note(
                f"no machine of the cluster has the {self._resources.cpu:g} CPU and "
                f"{self._resources.gpu:g} GPU of one trial any more; the search waits for one. Ctrl-C "
                "ends it, and --resume continues it"
            )
        return max(1, self._places)


def device_for(resources: ResourceSettings) -> str:
    """Return the device of a trial: ``resources.device``.

    For ``auto``, ``cuda`` if ``resources.gpu`` is above 0, else ``cpu``.
    """
    if resources.device != "auto":
        return resources.device
    return "cuda" if resources.gpu else "cpu"


def threads_for(resources: ResourceSettings) -> int:
    """Return the number of processor threads of a trial: ``resources.cpu`` rounded down, at least 1."""
    return max(1, int(resources.cpu))


def with_absolute_paths(data: DataSettings) -> DataSettings:
    """Return the same data settings with absolute paths.

    Ray Tune changes the working directory of a trial.
    """
    from_hub = is_hub_name(data.name)  # there, train and test are names of splits
    return replace(
        data,
        folder=str(_absolute(data.folder)),
        train=data.train if from_hub else _absolute(data.train),
        test=data.test if from_hub else _absolute(data.test),
        extra=_absolute(data.extra),
    )


def network_with_absolute_path(network: NetworkSettings) -> NetworkSettings:
    """Return the same network settings with an absolute path of the weights."""
    return replace(network, weights=_absolute(network.weights))


def train_with_absolute_path(train: TrainSettings) -> TrainSettings:
    """Return the same training settings with an absolute path of the teacher, unless it is an import path."""
    return train if names_code(train.teacher) else replace(train, teacher=_absolute(train.teacher))


def _absolute(path: str | None) -> str | None:
    return None if path is None else str(Path(path).expanduser().absolute())
