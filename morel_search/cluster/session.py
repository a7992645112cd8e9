"""Sessions: starting Ray for one run, or joining an existing cluster."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypedDict

from morel_search._cli import print_err
from morel_search._machine import usable_cpus
from morel_search.cluster.auth_token import make_token_private
from morel_search.cluster.lifeline import Lifeline
from morel_search.cluster.ray_private import (
    CLIENT_TIMEOUT,
    CONNECT_RETRIES,
    FORK_FAILED,
    VERSION_MISMATCH,
    in_submitted_job,
    on_loopback,
    patient_start,
    stop_listening,
    temporary_folder_option,
)
from morel_search.cluster.ray_processes import kill_left, loss_of_cluster, loss_of_local_ray
from morel_search.cluster.session_folder import session_folder
from morel_search.errors import ResourceError

__all__ = ["QUIET", "check_cluster", "join_client", "quiet_ray", "ray_session", "runtime_env"]

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
    "RAY_gcs_rpc_server_reconnect_timeout_s": "300",
    "RAY_ROTATION_MAX_BYTES": str(16 * 2**20),
    "RAY_ROTATION_BACKUP_COUNT": "1",
    "TUNE_MAX_PENDING_TRIALS_PG": "1000",
}
"""Environment variables that Ray reads when it is imported, or when a search starts.

The last one lets all trials start at the same time; the searcher limits their number. The others reduce Ray's
messages and turn off copies of data that the study holds. A process whose GCS server is lost ends itself
after ``RAY_gcs_rpc_server_reconnect_timeout_s``, by default after 60 s, which may be too short to write a
report. What a training prints goes to a log in the temporary folder; the two about rotation limit a log to
32 MiB, by default it may grow to 3 GiB.
"""

PACKAGE = Path(__file__).parents[1]
"""The folder of this package."""

CONNECT_SECONDS = 5
"""Time limit of a plain TCP connection."""

ANSWER_SECONDS = 60
"""Time limit of a trial connection.

A running cluster answers in 2 to 8 s; without one, Ray itself would try for 120 s.
"""

START_TRIES = 2
"""Attempts to start Ray on this machine."""

NOTE_SECONDS = 30.0
"""Seconds after which the user is told that Ray has not started yet."""

CLIENT_TRIES = 3
"""Attempts to connect to a Ray client server, see :data:`morel_search.cluster.ray_private.FORK_FAILED`."""

_TRIAL_CONNECTION = """
import sys
import ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level=50)
except BaseException as error:
    print("refused:", " ".join(str(error).split())[:600])
else:
    print("joined")
"""
"""Program of a separate process, because Ray prints, blocks or even ends the process when it cannot join."""


@contextmanager
def ray_session(address: str | None = None) -> Iterator[None]:
    """Start Ray, or join a cluster, for the duration of a ``with`` block.

    Without an address, Ray starts on this machine for this run alone: no dashboard, Ray's own setting of
    token authentication, ports on the loopback interface alone, and a private folder that is removed at the
    end (see :mod:`morel_search.cluster.session_folder`). With an address (``auto`` or
    ``host:port``), the run joins that cluster and sends it this package; a task of the cluster is already
    connected, and nothing is done.

    Raises:
        ResourceError: Ray does not start, or no cluster accepts this process at the address.
    """
    quiet_ray()
    import ray

    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)
    if address is not None and ray.is_initialized():
        yield
        return
    # A submitted job runs on its cluster: no trial connection is needed.
    if address is not None and not (address == "auto" and in_submitted_job()):
        check_cluster(address)
    with ExitStack() as stack:
        temporary = stack.enter_context(session_folder()) if address is None else None

        def lose() -> None:
            stop_listening()
            if temporary is not None:
                kill_left(temporary)
                shutil.rmtree(temporary.parent, ignore_errors=True)

        if temporary is not None:
            stack.callback(kill_left, temporary)
        stack.callback(ray.shutdown)
        _init(address, temporary)
        lifeline = Lifeline(loss_of_local_ray() if address is None else loss_of_cluster(), lose)
        lifeline.start()
        stack.callback(lifeline.stop)
        yield


def quiet_ray() -> None:
    """Set the environment variables :data:`QUIET`, except those that the user has set."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


class RuntimeEnv(TypedDict):
    """The part of Ray's runtime environment that is used here."""

    py_modules: list[str]
    env_vars: dict[str, str]


def runtime_env() -> RuntimeEnv:
    """Return the runtime environment of a run on a cluster.

    It holds this package, so that the machines need only its dependencies, and :data:`QUIET`.
    """
    return {"py_modules": [str(PACKAGE)], "env_vars": QUIET}


def _init(address: str | None, temporary: Path | None) -> None:
    import ray

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    options: dict[str, object] = {} if temporary is None else {**temporary_folder_option(temporary)}
    if temporary is not None:
        make_token_private()
        _start(temporary, {"num_cpus": usable_cpus(), "include_dashboard": False, **options, **quiet})
        return
    try:
        ray.init(address=address, runtime_env=runtime_env(), **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        reason = " ".join(str(error).split())[:300]
        raise ResourceError(f"Ray cannot be reached at {address}: {reason}") from error


def _start(temporary: Path, options: Mapping[str, object]) -> None:
    """Start Ray on this machine, twice if the first time fails: its processes may be slow or be killed.

    Ray raises a bare ``Exception`` when its processes are too slow.
    """
    import ray

    for attempt in range(START_TRIES):
        note = threading.Timer(NOTE_SECONDS, print_err, ["waiting for Ray to start on this machine"])
        note.daemon = True
        note.start()
        try:
            with patient_start(), on_loopback():
                ray.init(address="local", **options)
        except Exception as error:
            ray.shutdown()
            kill_left(temporary)
            if attempt == START_TRIES - 1:
                reason = " ".join(str(error).split())[:300]
                raise ResourceError(
                    f"Ray cannot be started on this machine, in {START_TRIES} attempts: {reason}"
                ) from error
            print_err("Ray did not start; trying again")
        else:
            return
        finally:
            note.cancel()


def check_cluster(address: str) -> None:
    """Refuse an address at which no cluster accepts this process, within :data:`ANSWER_SECONDS`.

    Raises:
        ResourceError: No program listens there, it is not a Ray cluster, or the cluster has other versions or
            another token.
    """
    if address != "auto":
        _check_listens(address)
    reason, output = _try_to_join(address)
    if reason:
        raise ResourceError(_refusal(address, reason, output))


def join_client(address: str) -> None:
    """Connect this process to a Ray client server (``ray://HOST:PORT``); Ray gives up by itself after 30 s.

    Raises:
        ResourceError: No program listens there, it is not a Ray cluster, or the cluster has other versions or
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


def _try_to_join(address: str) -> tuple[str, str]:
    """Join the cluster from a separate process.

    Return the reason of a failure ("" for none) and the text that Ray printed.
    """
    try:
        process = subprocess.run(
            [sys.executable, "-c", _TRIAL_CONNECTION, address],
            env={**CONNECT_RETRIES, **os.environ},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ResourceError(
            f"the program at {address} did not answer as a Ray cluster within {ANSWER_SECONDS} s; "
            "check the port of --address"
        ) from None
    if process.stdout.strip().endswith("joined"):
        return "", ""
    reason = process.stdout.partition("refused:")[2].strip()
    return reason or "Ray ended the connection without a reason", process.stderr


def _check_listens(address: str) -> None:
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise ResourceError(f"--address must be auto, HOST:PORT or ray://HOST:PORT, got {address}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_SECONDS).close()
    except (OSError, UnicodeError) as error:  # UnicodeError: not a valid host name
        raise ResourceError(
            f"no Ray cluster answers at {address}: {getattr(error, 'strerror', None) or error}"
        ) from error


def _refusal(address: str, reason: str, output: str) -> str:
    """Explain in one sentence why a cluster does not accept this process."""
    token = (
        "set the cluster's token on this machine, in RAY_AUTH_TOKEN or ~/.ray/auth_token, "
        "and set RAY_AUTH_MODE=token"
    )
    if "Unauthenticated" in output or "uthentication" in reason:
        return f"the Ray cluster at {address} rejects this machine: its token is wrong or missing; {token}"
    if VERSION_MISMATCH in reason:
        versions = reason.partition(VERSION_MISMATCH)[2].strip()
        return f"the Ray cluster at {address} and this process must have the same versions: {versions}"
    if CLIENT_TIMEOUT in reason:
        return (
            f"the program at {address} did not answer as a Ray client server; check the port "
            f"(10001 by default). If it is right, {token}"
        )
    return f"no Ray cluster answers at {address}: {reason[:300]}"
