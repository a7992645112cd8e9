"""Runs through Ray's client (``--address ray://HOST:PORT``).

The search runs on the cluster, and its output is printed here.
"""

from __future__ import annotations

import _thread
import io
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Protocol, TextIO, cast

from morel_search._cli import RAY_LOST, exit_code_of, print_err
from morel_search.errors import ResourceError

if TYPE_CHECKING:
    from morel_search.workflows.request import Request

__all__ = ["is_client_address", "run_on_cluster"]


def is_client_address(address: str | None) -> bool:
    """Return whether an address is that of a Ray client server."""
    return address is not None and address.startswith("ray://")


class _Console:
    """An actor between the run and the user's process.

    It buffers the run's output and the user's request to stop.
    """

    def __init__(self) -> None:
        self._output: list[tuple[str, str]] = []
        self._stop = False

    def stop(self) -> None:
        self._stop = True

    def stopping(self) -> bool:
        return self._stop

    def write(self, stream: str, text: str) -> None:
        self._output.append((stream, text))

    def fetch(self) -> list[tuple[str, str]]:
        output, self._output = self._output, []
        return output


class _RemoteMethod(Protocol):
    """A method of an actor, as its handle has it."""

    def remote(self, *arguments: object) -> object:
        """Call the method; return a reference to its result."""


class _ConsoleHandle(Protocol):
    """The handle of a :class:`_Console` actor."""

    stop: _RemoteMethod
    stopping: _RemoteMethod
    write: _RemoteMethod
    fetch: _RemoteMethod


class _Stream(io.TextIOBase):
    """A text file that sends everything that is written to the console actor."""

    encoding = "utf-8"

    def __init__(self, console: _ConsoleHandle, name: str) -> None:
        super().__init__()
        self._console, self._name = console, name

    def write(self, text: str) -> int:
        if not isinstance(text, str):  # click takes a file that accepts bytes for a binary one, and encodes
            raise TypeError(f"write() takes text, not {type(text).__name__}")
        if text:
            self._console.write.remote(self._name, text)
        return len(text)


def run_on_cluster(request: Request) -> int:
    """Run a search on a cluster through Ray's client and print its output.

    Ray Tune's driver, the study and the run folder are on the cluster, so its machines must share the results
    folder. Ctrl-C and SIGTERM stop the search on the cluster as they stop a local one.

    Returns:
        The run's exit code, or that of a lost Ray if the connection was lost during the run.

    Raises:
        ResourceError: No cluster accepts this process at the address.
    """
    from morel_search.cluster.session import join_client, quiet_ray
    from morel_search.cluster.tasks import task_errors

    quiet_ray()
    join_client(request.address or "")
    import ray

    try:
        with (
            task_errors(f"the run on the cluster at {request.address} was lost", "--resume continues it"),
            _terminate_as_interrupt(),
        ):
            console = ray.remote(num_cpus=0)(_Console).remote()
            drive = ray.remote(num_cpus=0, max_retries=0)(_drive)
            return _follow(drive.remote(request, list(sys.argv), console), console)
    except ResourceError as error:
        print_err(f"morel_search: {error}")
        return RAY_LOST
    finally:
        ray.shutdown()


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM.

    It is raised also where SIGINT is ignored, as in a process that a shell started in the background.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _follow(task: object, console: _ConsoleHandle) -> int:
    """Print the run's output until the run ends, and return its exit code.

    A first interrupt is passed on to the run.

    Args:
        task: Reference to the task of the run.
        console: The actor that buffers the output.
    """
    import ray

    interrupted = finished = False
    while not finished:
        try:
            finished = bool(ray.wait([task], timeout=0.3)[0])
            for stream, text in ray.get(console.fetch.remote()):
                file = sys.stdout if stream == "stdout" else sys.stderr
                file.write(text)
                file.flush()
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            console.stop.remote()
    code: int = ray.get(task)
    return code


def _drive(request: Request, command: list[str], console: _ConsoleHandle) -> int:
    """Run the search in a task of the cluster and return its exit code."""
    import ray

    from morel_search.workflows.search import execute

    sys.argv = command
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Ray's workers ignore SIGINT
    output, errors = cast(TextIO, _Stream(console, "stdout")), cast(TextIO, _Stream(console, "stderr"))
    finished = threading.Event()
    threading.Thread(target=_interrupt_on_request, args=(console, finished), daemon=True).start()
    with redirect_stdout(output), redirect_stderr(errors):
        code = exit_code_of(lambda: execute(request))
    finished.set()
    # An actor handles calls in order: when this one returns, all output has arrived.
    ray.get(console.write.remote("stdout", ""))
    return code


def _interrupt_on_request(console: _ConsoleHandle, finished: threading.Event) -> None:
    """Interrupt this process, once, when the user asks for it.

    ``ray.cancel`` would cancel the trials too, and could interrupt a second time while the report is drawn.
    """
    import ray

    while not finished.wait(0.5):
        if ray.get(console.stopping.remote()):
            _thread.interrupt_main()
            return
