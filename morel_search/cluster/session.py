"""Starting Ray for one run, or joining a cluster that is there."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from morel_search.errors import ResourceError

__all__ = [
    "QUIET",
    "check_cluster",
    "quiet_ray",
    "ray_session",
    "runtime_env",
]

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

PACKAGE = Path(__file__).parents[1]
"""The folder of this package."""

CONNECT_SECONDS = 5
ANSWER_SECONDS = 60
"""A cluster that is there answers the trial connection in 2 to 8 s; Ray itself would try for 120 s where nobody does."""

CLIENT_TRIES = 3
FORK_FAILED = "Starting Ray client server failed"
"""Ray's client server forks a server for each client; with Ray 2.60 that child sometimes dies at once, and the next one lives."""

_KNOCK = """
import sys
import ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=50)
except BaseException as error:
    print("refused:", " ".join(str(error).split())[:600])
else:
    print("joined")
"""
"""Run in a process of its own: Ray prints, hangs and even ends the process when it cannot join."""


@contextmanager
def ray_session(address: str | None = None) -> Iterator[None]:
    """Ray for the time of a ``with``.

    Without an address Ray starts here for this run alone: no dashboard, token authentication as Ray has it,
    an own temporary folder that is removed at the end. With one (``auto`` or ``host:port``) the run joins
    that cluster, and this package travels with it; in a task of the cluster the connection is there already
    and is left as it is.

    Raises:
        ResourceError: Ray does not start, or there is no cluster at the address.
    """
    quiet_ray()
    import ray

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    if address is not None and ray.is_initialized():
        yield
        return
    # A submitted job is inside its cluster: nothing to look for.
    if address is not None and not (address == "auto" and "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ):
        check_cluster(address)
    # Ray's socket paths may have at most 107 bytes, so the folder is short and not below the run folder.
    temporary = (
        Path(tempfile.mkdtemp(prefix="ms-", dir="/tmp" if Path("/tmp").is_dir() else None))
        if address is None
        else None
    )
    try:
        _init(ray, address, temporary)
        yield
    finally:
        ray.shutdown()
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)


def quiet_ray() -> None:
    """Set what Ray reads when it is imported, where the user has not."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def runtime_env() -> dict[str, Any]:
    """The runtime environment of a run on a cluster: this package, for machines that have only its dependencies, and :data:`QUIET`."""
    return {"py_modules": [str(PACKAGE)], "env_vars": QUIET}


def _init(ray: Any, address: str | None, temporary: Path | None) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        if address is None:
            ray.init(address="local", include_dashboard=False, _temp_dir=str(temporary), **quiet)
        else:
            ray.init(address=address, runtime_env=runtime_env(), **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        where = "here" if address is None else f"at {address}"
        raise ResourceError(f"Ray cannot be reached {where}: {' '.join(str(error).split())[:300]}") from error


def check_cluster(address: str) -> None:
    """Refuse, within :data:`ANSWER_SECONDS`, an address at which no cluster takes this process.

    Raises:
        ResourceError: Nobody listens there, or it is no Ray cluster, or one of other versions, or one with
            another token.
    """
    if address != "auto":
        _check_listens(address)
    reason, chatter = _knock(address)
    if reason:
        raise ResourceError(_refusal(address, reason, chatter))


def join_client(address: str) -> None:
    """Connect this process to a Ray client server (``ray://HOST:PORT``); Ray gives up by itself after 30 s.

    Raises:
        ResourceError: Nobody listens there, or it is no Ray cluster, or one of other versions, or one with
            another token.
    """
    _check_listens(address)
    import ray

    for attempt in range(CLIENT_TRIES):
        try:
            with warnings.catch_warnings(action="ignore"):
                ray.init(
                    address=address, runtime_env=runtime_env(), log_to_driver=False, logging_level="CRITICAL"
                )
        except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            ray.shutdown()
            reason = " ".join(str(error).split())
            if FORK_FAILED not in reason or attempt == CLIENT_TRIES - 1:
                raise ResourceError(_refusal(address, reason, "")) from error
        else:
            return


def _knock(address: str) -> tuple[str, str]:
    """Why a process cannot join ("" when it can), and what Ray printed."""
    try:
        knock = subprocess.run(
            [sys.executable, "-c", _KNOCK, address],
            env={
                "RAY_NUM_REDIS_GET_RETRIES": "3",
                **os.environ,
            },  # instead of 20: a refused token is refused at once
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ResourceError(
            f"what listens at {address} did not answer as a Ray cluster within {ANSWER_SECONDS} s"
        ) from None
    if knock.stdout.strip().endswith("joined"):
        return "", ""
    return knock.stdout.partition("refused:")[2].strip() or "Ray gave up without a reason", knock.stderr


def _check_listens(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ResourceError(f"--address {address} is none of auto, HOST:PORT and ray://HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, UnicodeError) as error:  # UnicodeError: a host name that cannot be one
        raise ResourceError(
            f"no Ray cluster answers at {address}: {getattr(error, 'strerror', None) or error}"
        ) from error


def _refusal(address: str, reason: str, chatter: str) -> str:
    token = "give this machine the cluster's token, in RAY_AUTH_TOKEN or ~/.ray/auth_token, and set RAY_AUTH_MODE=token"
    if "Unauthenticated" in chatter or "uthentication" in reason:
        return (
            f"the Ray cluster at {address} does not accept this machine's token, or its lack of one: {token}"
        )
    if "Version mismatch" in reason:
        return f"the Ray cluster at {address} and this process must have the same versions: {reason.partition('Version mismatch:')[2].strip()}"
    if "client connection timeout" in reason:
        return f"what listens at {address} did not answer as a Ray client server: is it that port (10001 by default)? If so, {token}"
    return f"no Ray cluster answers at {address}: {reason[:300]}"
