"""What a run does on other machines of a cluster: looks from there before it starts, and drives from there for ``ray://``."""

from __future__ import annotations

import _thread
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, cast

from morel_search._cli import exit_code_of
from morel_search.cluster.tasks import explained_errors
from morel_search.errors import ResourceError

if TYPE_CHECKING:
    from morel_search.workflows.search import Request

__all__ = ["is_client_address", "run_on_cluster"]

Result = TypeVar("Result")


def is_client_address(address: str | None) -> bool:
    """Whether an address is that of a Ray client server."""
    return address is not None and address.startswith("ray://")


class _Console:
    """An actor between the run and the user's process: it keeps what the run prints, and that the user wants it to stop."""

    def __init__(self) -> None:
        self._pieces: list[tuple[str, str]] = []
        self._stop = False

    def stop(self) -> None:
        self._stop = True

    def stopping(self) -> bool:
        return self._stop

    def write(self, stream: str, text: str) -> None:
        self._pieces.append((stream, text))

    def fetch(self) -> list[tuple[str, str]]:
        pieces, self._pieces = self._pieces, []
        return pieces


class _Stream:
    """A stream of the run, as a file: what is written goes to the console."""

    encoding = "utf-8"

    def __init__(self, console: Any, name: str) -> None:
        self._console, self._name = console, name

    def write(self, text: str) -> int:
        if text:
            self._console.write.remote(self._name, text)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back here."""

    def isatty(self) -> bool:
        return False


def run_on_cluster(request: Request) -> int:
    """Hand a run to a cluster through Ray's client and show what it prints.

    Ray Tune's driver, the study and the run folder then are on the cluster, so the results folder must be one
    that its machines share. Ctrl-C and SIGTERM end the search there in order.

    Returns:
        The run's exit code.

    Raises:
        ResourceError: There is no cluster at the address, or it was lost on the way.
    """
    from morel_search.cluster.session import join_client, quiet_ray

    quiet_ray()
    join_client(request.address or "")
    import ray

    try:
        console = ray.remote(num_cpus=0)(_Console).remote()
        drive = ray.remote(num_cpus=0, max_retries=0)(_drive)
        with _terminate_as_interrupt():
            return _follow(ray, drive.remote(request, list(sys.argv), console), console)
    except (ConnectionError, ray.exceptions.RayError) as error:
        raise ResourceError(
            f"the run on the cluster at {request.address} was lost; --resume continues it: {' '.join(str(error).split())[:300]}"
        ) from error
    finally:
        ray.shutdown()


@contextmanager
def _terminate_as_interrupt() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt too, even where the shell that started this in the background told it to ignore SIGINT."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _follow(ray: Any, task: Any, console: Any) -> int:
    """Show what the run prints until it is over; an interrupt here becomes one there, once."""
    interrupted = over = False
    while not over:
        try:
            over = bool(ray.wait([task], timeout=0.3)[0])
            for stream, text in ray.get(console.fetch.remote()):
                file = sys.stdout if stream == "stdout" else sys.stderr
                file.write(text)
                file.flush()
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            console.stop.remote()
    with explained_errors("the run on the cluster was lost; --resume continues it: {reason}"):
        code: int = ray.get(task)
    return code


def _drive(request: Request, command: list[str], console: Any) -> int:
    """The run, in a task of the cluster; its exit code."""
    import ray

    from morel_search.workflows.search import execute

    sys.argv = command
    signal.signal(signal.SIGINT, signal.default_int_handler)  # Ray's workers ignore it
    output, errors = cast(TextIO, _Stream(console, "stdout")), cast(TextIO, _Stream(console, "stderr"))
    over = threading.Event()
    threading.Thread(target=_interrupt_when_asked, args=(console, over), daemon=True).start()
    with redirect_stdout(output), redirect_stderr(errors):
        code = exit_code_of(lambda: execute(request))
    over.set()
    ray.get(
        console.write.remote("stdout", "")
    )  # an actor does its work in order: all that was printed has arrived
    return code


def _interrupt_when_asked(console: Any, over: threading.Event) -> None:
    """Once, and this process alone: ``ray.cancel`` would cancel the trials too, and may repeat itself while the report is drawn."""
    import ray

    while not over.wait(0.5):
        if ray.get(console.stopping.remote()):
            _thread.interrupt_main()
            return
