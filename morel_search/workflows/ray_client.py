"""What a run does on other machines of a cluster: looks from there before it starts, and drives from there for ``ray://``."""

from __future__ import annotations

import _thread
import signal
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, TypeVar, cast

from morel_search._cli import exit_code_of, print_err
from morel_search.config import ResourceSettings
from morel_search.errors import MorelSearchError, ResourceError, RunFolderError

if TYPE_CHECKING:
    from morel_search.workflows.search import Request

__all__ = ["check_shared", "is_client_address", "on_cluster", "run_on_cluster"]

Result = TypeVar("Result")

BUSY_SECONDS = 15
"""After so long without a free machine the user is told what is being waited for."""

VISIBLE_SECONDS = 5.0
"""A file on a network file system may take a moment to show on the other machines."""


def is_client_address(address: str | None) -> bool:
    """Whether an address is that of a Ray client server."""
    return address is not None and address.startswith("ray://")


def on_cluster(function: Callable[..., Result], *arguments: Any, **options: Any) -> Result:
    """Call a function on a machine of the cluster and wait for what it returns.

    Args:
        function: Importable from this package.
        *arguments: Its arguments.
        **options: Ray's options of a task, such as ``num_cpus``.

    Raises:
        MorelSearchError: What the function raised, as it raised it; or ResourceError when its process or machine was lost.
    """
    import ray

    task = ray.remote(function).options(**options).remote(*arguments)
    if not ray.wait([task], timeout=BUSY_SECONDS)[0]:
        print_err("waiting for a free machine of the cluster")
    try:
        return cast("Result", ray.get(task))
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from None
    except ray.exceptions.RayError as error:
        raise ResourceError(
            f"a first task on the cluster failed: {' '.join(str(error).split())[:400]}"
        ) from error


def check_shared(results: Path, resources: ResourceSettings) -> None:
    """Refuse a results folder that is not one and the same on every machine that will run trials: their checkpoints are lost otherwise.

    Raises:
        RunFolderError: A machine does not see the folder's files, or cannot write there; or the folder cannot be made.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from morel_search.cluster.session import machines_for

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

    Ray Tune's driver, the study and the run folder then are on the cluster, so the results folder must be one that its machines share.
    Ctrl-C and SIGTERM end the search there in order.

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
    try:
        code: int = ray.get(task)
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, Exception) else error from None
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
