"""All parts of Ray that this project uses and that are not part of Ray's public interface.

``tests/test_ray_private.py`` fails first when Ray changes one of these; ``pyproject.toml`` therefore pins
Ray's minor version.

- ``TrialRunnerWrapper._tune_controller``: the ``TuneController`` behind the object that a scheduler receives.
- ``TuneController._actor_force_cleanup_timeout``: how long Ray Tune waits for a trial that is being stopped.
- ``TuneController._actor_manager`` and ``_actor_to_trial``, and ``RayActorManager._actor_task_failed`` and
  ``_actor_start_failed``: what happens when the process of a trial is lost.
- the argument ``_temp_dir`` of ``ray.init``: the folder of Ray's sockets and logs.
- ``ray._private.ray_constants.ENABLE_RAY_CLUSTER``: whether Ray listens on all network interfaces or, as by
  default on macOS and Windows, on the loopback interface alone.
- the environment variables ``RAY_JOB_CONFIG_JSON_ENV_VAR`` and ``RAY_NUM_REDIS_GET_RETRIES``.
- ``ray._private.worker._global_node``: the processes of a Ray that this process started.
- ``ray._private.worker.global_worker.threads_stopped``: ends the thread that listens for errors.
- ``ray._private.state``: the process of an actor.
- ``ray._private.services.get_node``: how long Ray waits for its own raylet when it starts.
- the texts of three of its errors, which have no class of their own.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import Popen
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ray.air.execution._internal.tracked_actor_task import TrackedActorTask
    from ray.tune.execution.tune_controller import TuneController

__all__ = [
    "CLIENT_TIMEOUT",
    "CONNECT_RETRIES",
    "FORK_FAILED",
    "KILL_SECONDS",
    "MACHINE_LOST",
    "START_SECONDS",
    "VERSION_MISMATCH",
    "endpoints",
    "in_submitted_job",
    "loss_reason",
    "on_loopback",
    "own_processes",
    "patient_start",
    "process_of_actor",
    "set_kill_seconds",
    "stop_listening",
    "temporary_folder_option",
    "watch_losses",
]

KILL_SECONDS = 3
"""Seconds until a trial that is being stopped is killed; the checkpoint of its last epoch is already written.

Ray's default: 10 s.
"""

OUT_OF_HOST_MEMORY = (
    "out of memory: the memory of the machine was almost used up, and Ray ended the training's process"
)
"""The reason of a failure; its first words are those of failures that similar configurations share."""

MACHINE_LOST = "the trial's machine was lost"
"""The reason when a whole machine of the cluster is gone, which is no fault of its trials."""

_NODE_DIED = "node has died"
"""In Ray's message about an actor whose machine is gone."""

CONNECT_RETRIES = {"RAY_NUM_REDIS_GET_RETRIES": "3"}
"""Environment of a process that only tests the connection.

With Ray's 20 retries a refused token takes a minute to report.
"""

FORK_FAILED = "Starting Ray client server failed"
"""Ray's client server forks one server for each client.

With Ray 2.60 that child sometimes dies at once; the next one lives.
"""

VERSION_MISMATCH = "Version mismatch:"
"""Begins the part of an error message that names the two versions of Ray or Python."""

CLIENT_TIMEOUT = "client connection timeout"
"""The error of a Ray client whose server does not answer."""

START_SECONDS = 180.0
"""Seconds that Ray waits for its own raylet when it starts. Ray's own value, 30 s, is too short if the
processors are busy.
"""

_WATCHED = ("gcs_server", "raylet")
"""The processes without which Ray cannot run."""

_FORCE_CLEANUP = "_actor_force_cleanup_timeout"


def set_kill_seconds(tune_controller: object) -> None:
    """Make Ray Tune kill a trial that is being stopped after :data:`KILL_SECONDS`.

    Do nothing where Ray has no such setting.
    """
    controller = _unwrapped(tune_controller)
    if hasattr(controller, _FORCE_CLEANUP):
        setattr(controller, _FORCE_CLEANUP, KILL_SECONDS)


def watch_losses(tune_controller: object, on_loss: Callable[[str, Exception], None]) -> None:
    """Let Ray Tune treat every error of Ray that is not one of a trial's code as the death of the process.

    Of itself, Ray Tune ends the whole experiment with an error when a process is lost in another way, such as
    by Ray's memory monitor. Calls after the first do nothing.

    Args:
        tune_controller: The object that Ray Tune passes to a scheduler.
        on_loss: Called with Ray's id of the trial and the error of each lost process, before Ray Tune decides
            about a retry.
    """
    from ray.exceptions import LocalRayletDiedError, RayActorError, RayError, RayTaskError

    controller = _unwrapped(tune_controller)
    manager = controller._actor_manager
    if "_actor_task_failed" in vars(manager):
        return
    task_failed, start_failed = manager._actor_task_failed, manager._actor_start_failed

    def as_death(tracked_actor: object, error: Exception) -> Exception:
        if not isinstance(error, RayError) or isinstance(error, RayTaskError):
            return error
        trial = controller._actor_to_trial.get(tracked_actor)
        if trial is not None:
            on_loss(trial.trial_id, error)
        known = isinstance(error, (RayActorError, LocalRayletDiedError))
        death: Exception = error if known else RayActorError(error_msg=str(error))
        return death

    def on_task_failure(tracked_actor_task: TrackedActorTask, exception: Exception) -> None:
        task_failed(tracked_actor_task, as_death(tracked_actor_task._tracked_actor, exception))

    def on_start_failure(tracked_actor: object, exception: Exception) -> None:
        start_failed(tracked_actor, as_death(tracked_actor, exception))

    manager._actor_task_failed, manager._actor_start_failed = on_task_failure, on_start_failure


def loss_reason(error: Exception) -> str:
    """Return the reason for which the process of a trial was lost; empty if there is no special one."""
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError

    if isinstance(error, OutOfMemoryError):
        return OUT_OF_HOST_MEMORY
    lost = isinstance(error, NodeDiedError) or (
        isinstance(error, RayActorError) and (error.preempted or _NODE_DIED in str(error))
    )
    return MACHINE_LOST if lost else ""


def _unwrapped(tune_controller: object) -> TuneController:
    wrapped = {} if tune_controller is None else vars(tune_controller)
    return wrapped.get("_tune_controller", tune_controller)


def temporary_folder_option(folder: Path) -> dict[str, str]:
    """Return the argument of ``ray.init`` that sets the folder of Ray's sockets and logs."""
    return {"_temp_dir": str(folder)}


@contextmanager
def on_loopback() -> Iterator[None]:
    """Make a Ray that starts inside a ``with`` block listen on the loopback interface alone.

    The argument ``_node_ip_address`` of ``ray.init`` does not: Ray replaces 127.0.0.1 by the address of the
    machine, unless clusters are switched off.
    """
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def in_submitted_job() -> bool:
    """Return whether this process was started by ``ray job submit``, on a machine of the cluster."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


def own_processes() -> dict[str, Popen[bytes]]:
    """Return the processes of the Ray that this process started, without which it cannot run, by name."""
    from ray._private import worker

    started = {} if worker._global_node is None else worker._global_node.all_processes
    return {name: started[name][0].process for name in _WATCHED if name in started}


def stop_listening() -> None:
    """End Ray's thread that listens for errors: without a GCS server it takes a processor core for itself."""
    from ray._private import worker

    worker.global_worker.threads_stopped.set()


def endpoints() -> dict[str, tuple[str, int]]:
    """Return the addresses of the cluster's GCS server and of this machine's raylet."""
    import ray

    context = ray.get_runtime_context()
    host, _, port = context.gcs_address.rpartition(":")
    places = {"the GCS server": (host.strip("[]"), int(port))}
    for node in ray.nodes():
        if node["NodeID"] == context.get_node_id():
            places["the raylet"] = (node["NodeManagerAddress"], int(node["NodeManagerPort"]))
    return places


def process_of_actor(actor: object) -> int:
    """Return the process number of an actor on this machine; 0 if it is on another one, or unknown."""
    import ray
    from ray._private import state

    identity = getattr(actor, "_actor_id", None)
    if identity is None:
        return 0
    entry = state.actors(actor_id=identity.hex())
    here = entry.get("Address", {}).get("NodeID") == ray.get_runtime_context().get_node_id()
    return int(entry.get("Pid") or 0) if here else 0


@contextmanager
def patient_start(clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """Make Ray wait :data:`START_SECONDS` for its own raylet inside a ``with`` block.

    Ray asks for the raylet with ``get_node`` until it is there, and compares the time with 30 s after each
    failure; here one call asks repeatedly.
    """
    from ray._private import services

    original = services.get_node

    def patient(*arguments: object) -> object:
        deadline = clock() + START_SECONDS
        while True:
            try:
                return original(*arguments)
            except RuntimeError:
                if clock() >= deadline:
                    raise
                time.sleep(0.1)

    services.get_node = patient
    try:
        yield
    finally:
        services.get_node = original
