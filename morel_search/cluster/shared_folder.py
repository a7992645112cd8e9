"""Checks that all machines of a cluster see the same results folder, also those that join during a search."""

from __future__ import annotations

import socket
import time
import uuid
from contextlib import suppress
from pathlib import Path

from morel_search.cluster.placement import machines_for
from morel_search.cluster.tasks import on_cluster
from morel_search.config import ResourceSettings
from morel_search.errors import MorelSearchError, RunFolderError
from morel_search.results.folder import RunFolder
from morel_search.results.reading import read_regular

__all__ = ["LATE_SECONDS", "check_shared", "unshared_reason", "write_token"]

SECONDS_BETWEEN_LOOKS = 0.5

VISIBLE_SECONDS = 5.0
"""Seconds that a new file on a network file system may take to appear on the other machines."""


LATE_SECONDS = 300.0
"""Seconds that the results folder may take to appear on a machine that joins the cluster."""

TOKEN_FILE = ".token"


def write_token(run: RunFolder) -> str:
    """Write a random text to a run's folder ``ray/`` and return it; each start of a search writes another.

    Raises:
        RunFolderError: The folder cannot be written.
    """
    token = uuid.uuid4().hex
    run.write_text(run.ray / TOKEN_FILE, token)
    return token


def unshared_reason(ray_folder: Path, token: str, seconds: float) -> str:
    """Return why this machine does not see a run's folder ``ray/``; empty once it does.

    Args:
        ray_folder: The folder, as the search's own machine names it.
        token: The text that :func:`write_token` returned there.
        seconds: How long to wait for the folder.
    """
    deadline = time.monotonic() + seconds
    while True:
        with suppress(OSError):
            if read_regular(ray_folder / TOKEN_FILE) == token.encode():
                return ""
        if time.monotonic() > deadline:
            return (
                f"{ray_folder} is not the same folder on {socket.gethostname()}, a machine that joined the "
                "cluster; mount the results folder there"
            )
        time.sleep(SECONDS_BETWEEN_LOOKS)


def check_shared(results: Path, resources: ResourceSettings) -> None:
    """Refuse a results folder that is not shared by all machines that can run trials.

    Their checkpoints would be lost.

    Args:
        results: Absolute folder of all runs; created where it is missing, and removed again when it is
            refused.
        resources: Processor cores and GPUs of one trial.

    Raises:
        RunFolderError: A machine does not see the files of the folder or cannot write there, or the folder
            cannot be created.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    created = [folder for folder in (results, *results.parents) if not folder.exists()]
    probe = results / f".probe-{uuid.uuid4().hex}"
    try:
        results.mkdir(parents=True, exist_ok=True)
        probe.write_text(probe.name, encoding="utf-8")
        for node in machines_for(resources):
            on_node = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            on_cluster(_check_probe, str(probe), num_cpus=0, scheduling_strategy=on_node)
    except OSError as error:
        raise RunFolderError(f"{results} cannot be written: {error.strerror or error}") from error
    except MorelSearchError:
        probe.unlink(missing_ok=True)
        with suppress(OSError):  # another run has begun in it, or a machine has left its own probe
            for folder in created:
                folder.rmdir()
        raise
    finally:
        probe.unlink(missing_ok=True)


def _check_probe(probe: str) -> None:
    """Check on one machine that the probe file is visible and that its folder can be written."""
    file, machine = Path(probe), socket.gethostname()
    deadline = time.monotonic() + VISIBLE_SECONDS
    while not file.exists():
        if time.monotonic() > deadline:
            raise RunFolderError(
                f"{file.parent} is not the same folder on {machine}, a machine of the cluster; "
                "set --results to a folder that all its machines share"
            )
        time.sleep(0.2)
    answer = file.with_name(f"{file.name}-{uuid.uuid4().hex}")
    try:
        answer.write_text(file.name, encoding="utf-8")
    except OSError as error:
        raise RunFolderError(
            f"{file.parent} cannot be written from {machine}, a machine of the cluster: {error.strerror}"
        ) from error
    answer.unlink()
