"""All parts of Ray that this project uses and that are not part of Ray's public interface.

``tests/test_ray_private.py`` fails first when Ray changes one of these; ``pyproject.toml`` therefore pins
Ray's minor version.

- ``TuneController._actor_force_cleanup_timeout``: how long Ray Tune waits for a trial that is being stopped.
- the argument ``_temp_dir`` of ``ray.init``: the folder of Ray's sockets and logs.
- the environment variables ``RAY_JOB_CONFIG_JSON_ENV_VAR`` and ``RAY_NUM_REDIS_GET_RETRIES``.
- the texts of three of its errors, which have no class of their own.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = [
    "CLIENT_TIMEOUT",
    "CONNECT_RETRIES",
    "FORK_FAILED",
    "KILL_SECONDS",
    "VERSION_MISMATCH",
    "in_submitted_job",
    "set_kill_seconds",
    "temporary_folder_option",
]

KILL_SECONDS = 3
"""Seconds until a trial that is being stopped is killed; the checkpoint of its last epoch is already written.

Ray's default: 10 s.
"""

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

_FORCE_CLEANUP = "_actor_force_cleanup_timeout"


def set_kill_seconds(tune_controller: object) -> None:
    """Make Ray Tune kill a trial that is being stopped after :data:`KILL_SECONDS`.

    Do nothing where Ray has no such setting.
    """
    if hasattr(tune_controller, _FORCE_CLEANUP):
        setattr(tune_controller, _FORCE_CLEANUP, KILL_SECONDS)


def temporary_folder_option(folder: Path) -> dict[str, str]:
    """Return the argument of ``ray.init`` that sets the folder of Ray's sockets and logs."""
    return {"_temp_dir": str(folder)}


def in_submitted_job() -> bool:
    """Return whether this process was started by ``ray job submit``, on a machine of the cluster."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
