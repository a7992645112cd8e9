"""A check that all machines of a cluster see the same results folder."""

from __future__ import annotations

import socket
import time
import uuid
from pathlib import Path

from morel_search.cluster.placement import machines_for
from morel_search.cluster.tasks import on_cluster
from morel_search.config import ResourceSettings
from morel_search.errors import MorelSearchError, RunFolderError

__all__ = ["check_shared"]

VISIBLE_SECONDS = 5.0
"""Seconds that a new file on a network file system may take to appear on the other machines."""


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
