"""Check that the results folder is the same folder on every machine."""

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
"""Seconds that a network file system may need to show a new file on another machine."""


def check_shared(results: Path, resources: ResourceSettings) -> None:
    """Refuse a results folder that is not the same folder on every machine; checkpoints would be lost.

    Raises:
        RunFolderError: A machine does not see the folder's files or cannot write there, or the folder cannot
            be made.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    made = [folder for folder in (results, *results.parents) if not folder.exists()]
    probe = results / f".probe-{uuid.uuid4().hex}"
    try:
        results.mkdir(parents=True, exist_ok=True)
        probe.write_text(probe.name, encoding="utf-8")
        for node in machines_for(resources):
            here = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            on_cluster(_look, str(probe), num_cpus=0, scheduling_strategy=here)
    except OSError as error:
        raise RunFolderError(f"{results} cannot be written: {error.strerror or error}") from error
    except MorelSearchError:
        probe.unlink(missing_ok=True)
        for folder in made:
            folder.rmdir()
        raise
    finally:
        probe.unlink(missing_ok=True)


def _look(probe: str) -> None:
    file = Path(probe)
    deadline = time.monotonic() + VISIBLE_SECONDS
    while not file.exists():
        if time.monotonic() > deadline:
            raise RunFolderError(
                f"{file.parent} is not the same folder on {socket.gethostname()}, a machine of the cluster: "
                "give --results a folder that all its machines share"
            )
        time.sleep(0.2)
    answer = file.with_name(f"{file.name}-{uuid.uuid4().hex}")
    try:
        answer.write_text(file.name, encoding="utf-8")
    except OSError as error:
        raise RunFolderError(
            f"{file.parent} cannot be written from {socket.gethostname()}, a machine of the cluster: {error.strerror}"
        ) from error
    answer.unlink()
