"""The processes of Ray on this machine: whether they live, and killing those that are left."""

from __future__ import annotations

import os
import signal
import socket
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from subprocess import Popen

from morel_search.cluster.lifeline import Patience
from morel_search.cluster.ray_private import endpoints, own_processes, process_of_actor

__all__ = ["kill_actor", "kill_left", "loss_of_cluster", "loss_of_local_ray"]

STOPPED_SECONDS = 60.0
"""How long a process of Ray may be stopped (SIGSTOP, Ctrl-Z in another terminal, a debugger)."""

SILENT_SECONDS = 60.0
"""How long a cluster may refuse connections."""

CONNECT_SECONDS = 5.0
"""Time limit of a connection."""

_PROC = Path("/proc")


def loss_of_local_ray() -> Callable[[], str]:
    """Return a function that returns why the Ray that this process started is lost; empty if it is not."""
    return _loss_of(own_processes())


def _loss_of(processes: Mapping[str, Popen[bytes]]) -> Callable[[], str]:
    patience = {name: Patience(STOPPED_SECONDS) for name in processes}

    def loss() -> str:
        for name, process in processes.items():
            if process.poll() is not None:
                return f"its process {name} has died"
            if patience[name].exhausted(wrong=_state(process.pid) == "T"):
                return f"its process {name} has been stopped for {STOPPED_SECONDS:.0f} s"
        return ""

    return loss


def loss_of_cluster() -> Callable[[], str]:
    """Return a function that returns why the cluster that this process joined is lost."""
    places = endpoints()
    patience = {name: Patience(SILENT_SECONDS) for name in places}

    def loss() -> str:
        for name, place in places.items():
            if patience[name].exhausted(wrong=not _listens(place)):
                return f"{name} at {place[0]}:{place[1]} has not answered for {SILENT_SECONDS:.0f} s"
        return ""

    return loss


def kill_actor(actor: object) -> None:
    """Kill an actor's process: through Ray, and, if it is on this machine, directly.

    A process that is stopped (SIGSTOP) does not always end when Ray asks it to.
    """
    import ray

    process = 0
    with suppress(Exception):  # if Ray is lost, the lifeline ends the run
        process = process_of_actor(actor)
        ray.kill(actor)
    if process:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)


def kill_left(folder: Path) -> None:
    """Kill every process that writes to files in Ray's temporary folder, or has an option ``--X=FOLDER``.

    A program with which the user reads Ray's logs goes on.

    Do nothing where the system has no ``/proc``.
    """
    for process in _processes():
        if process != os.getpid() and _belongs(process, str(folder)):
            with suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGKILL)


def _processes() -> Iterator[int]:
    if _PROC.is_dir():
        yield from (int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit())


def _belongs(process: int, folder: str) -> bool:
    entry = _PROC / str(process)
    try:
        words = (entry / "cmdline").read_bytes().decode(errors="surrogateescape").split("\0")
        options = (word.partition("=")[2] for word in words)
        if any(option == folder or option.startswith(f"{folder}/") for option in options):
            return True
        return any(
            file.lstat().st_mode & stat.S_IWUSR and str(file.readlink()).startswith(f"{folder}/")
            for file in (entry / "fd").iterdir()
        )
    except OSError:  # it has ended, or is another user's
        return False


def _state(process: int) -> str:
    """Return the state of a process, as the letter that ``ps`` prints; empty if it is unknown."""
    try:
        return (_PROC / str(process) / "stat").read_text(errors="replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


def _listens(place: tuple[str, int]) -> bool:
    try:
        socket.create_connection(place, CONNECT_SECONDS).close()
    except OSError:
        return False
    return True
