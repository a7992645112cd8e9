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
"""How long a cluster may be silent."""

ANSWER_SECONDS = 5.0
"""Time limit of a connection, and of the answer to it."""

_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a client sends first (RFC 9113, section 3.4): the preface, and an empty SETTINGS frame.

Ray's servers use gRPC, thus HTTP/2, and must answer with SETTINGS of their own.
"""

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
            if patience[name].exhausted(wrong=not _answers(place)):
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


def _answers(place: tuple[str, int]) -> bool:
    """Return whether a program answers at an address.

    The connection alone proves nothing: the kernel accepts it for a process that is stopped. A program that
    closes it is alive; it may require TLS.
    """
    try:
        with socket.create_connection(place, ANSWER_SECONDS) as connection:
            connection.sendall(_GREETING)
            connection.recv(1)
    except ConnectionResetError:
        return True
    except OSError:
        return False
    return True
