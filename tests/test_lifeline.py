"""The end of a run whose Ray is lost, without Ray."""

from __future__ import annotations

import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from morel_search.cluster import lifeline, ray_processes
from morel_search.cluster.lifeline import Lifeline, Patience, on_loss, waiting, working
from morel_search.cluster.ray_processes import _answers, _loss_of, kill_left


class Ending:
    """Stands for the end of the process."""

    def __init__(self) -> None:
        self.codes: list[int] = []
        self.cleaned = 0
        self.reason = ""
        self.reached = threading.Event()

    def leave(self, code: int) -> None:
        self.codes.append(code)
        self.reached.set()

    def clean(self) -> None:
        self.cleaned += 1


@pytest.fixture
def ending(monkeypatch: pytest.MonkeyPatch) -> Iterator[Ending]:
    monkeypatch.setattr(lifeline, "SECONDS_BETWEEN_CHECKS", 0.01)
    end = Ending()
    watched = Lifeline(lambda: end.reason, end.clean, end.leave)
    watched.start()
    yield end
    watched.stop()


def test_while_ray_lives_nothing_happens(ending: Ending) -> None:
    with waiting(), working():
        time.sleep(0.1)
    assert ending.codes == []


def test_the_run_is_finished_by_another_thread(ending: Ending, capfd: pytest.CaptureFixture[str]) -> None:
    threads = []

    def finish() -> str:
        threads.append(threading.current_thread().name)
        return "; 3 of 5 trials have finished"

    with on_loss(finish), waiting():
        ending.reason = "its process raylet has died"
        assert ending.reached.wait(60)
    assert (threads, ending.codes, ending.cleaned) == (["lifeline"], [3], 1)
    assert capfd.readouterr().err == (
        "morel_search: Ray was lost: its process raylet has died; 3 of 5 trials have finished\n"
    )


def test_the_process_does_not_end_while_the_main_thread_works(ending: Ending) -> None:
    ending.reason = "its process raylet has died"
    time.sleep(0.1)
    assert ending.codes == []
    with waiting():
        assert ending.reached.wait(60)
    assert ending.codes == [3]


def test_nor_while_ray_tune_calls_the_search(ending: Ending) -> None:
    with waiting():
        with working():
            ending.reason = "its process raylet has died"
            time.sleep(0.1)
            assert ending.codes == []
        assert ending.reached.wait(60)


def test_an_error_of_ray_that_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifeline, "SECONDS_BETWEEN_CHECKS", 1000)
    end = Ending()
    watched = Lifeline(lambda: end.reason, end.clean, end.leave)
    watched.start()
    try:
        with pytest.raises(KeyError), waiting():
            raise KeyError
        assert end.codes == []
        end.reason = "its process gcs_server has died"
        with pytest.raises(ConnectionError), waiting():
            raise ConnectionError
        assert end.codes == [3]
    finally:
        watched.stop()


def test_a_report_that_cannot_be_written(ending: Ending, capfd: pytest.CaptureFixture[str]) -> None:
    def finish() -> str:
        raise OSError("the disk is full")

    with on_loss(finish), waiting():
        ending.reason = "its process raylet has died"
        assert ending.reached.wait(60)
    assert ending.codes == [3]
    assert capfd.readouterr().err == (
        "morel_search: the disk is full\n"
        "morel_search: Ray was lost: its process raylet has died; run the command again\n"
    )


def test_without_a_session_nothing_is_marked() -> None:
    with on_loss(lambda: ""), waiting(), working():
        pass


def test_patience_counts_only_what_lasts() -> None:
    moments = iter([0.0, 0.0, 59.0, 70.0, 70.0, 129.0, 130.0])
    patience = Patience(60, lambda: next(moments))
    assert not patience.exhausted(wrong=True)
    assert not patience.exhausted(wrong=True)
    assert not patience.exhausted(wrong=False)
    assert not patience.exhausted(wrong=True)
    assert not patience.exhausted(wrong=True)
    assert patience.exhausted(wrong=True)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"])
    yield process
    process.kill()
    process.wait()


def test_a_process_that_dies(sleeper: subprocess.Popen[bytes]) -> None:
    loss = _loss_of({"raylet": sleeper})
    assert loss() == ""
    sleeper.kill()
    sleeper.wait()
    assert loss() == "its process raylet has died"


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="reads the state of a process in /proc")
def test_a_process_that_is_stopped(sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_processes, "STOPPED_SECONDS", 0.0)
    loss = _loss_of({"gcs_server": sleeper})
    assert loss() == ""
    sleeper.send_signal(signal.SIGSTOP)
    while ray_processes._state(sleeper.pid) != "T":
        time.sleep(0.01)
    assert loss() == "its process gcs_server has been stopped for 0 s"
    sleeper.send_signal(signal.SIGCONT)
    while ray_processes._state(sleeper.pid) == "T":
        time.sleep(0.01)
    assert loss() == ""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")
def test_what_is_left_of_ray_is_killed_and_nothing_else(
    sleeper: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    program = [sys.executable, "-c", "import time; time.sleep(1000)"]
    (tmp_path / "ray").mkdir()
    named = subprocess.Popen([*program, f"--socket={tmp_path / 'ray' / 'socket'}"])
    also_named = subprocess.Popen([*program, f"--temp-dir={tmp_path / 'ray'}"])
    with (tmp_path / "ray" / "worker.out").open("w") as output, (tmp_path / "ray-2").open("w") as other:
        worker = subprocess.Popen(program, stdout=output)
        stranger = subprocess.Popen(program, stdout=other)
    with (tmp_path / "ray" / "worker.out").open() as log:
        reader = subprocess.Popen([*program, str(tmp_path / "ray" / "worker.out")], stdin=log)
    try:
        worker.send_signal(signal.SIGSTOP)
        kill_left(tmp_path / "ray")
        assert named.wait(60) == also_named.wait(60) == worker.wait(60) == -signal.SIGKILL
        assert stranger.poll() is reader.poll() is sleeper.poll() is None
    finally:
        for process in (named, also_named, worker, stranger, reader):
            process.kill()
            process.wait()


def test_a_cluster_that_answers_and_one_that_is_gone() -> None:
    """Ray's servers are gRPC servers."""
    grpc = pytest.importorskip("grpc")
    server = grpc.server(ThreadPoolExecutor(1))
    place = ("127.0.0.1", server.add_insecure_port("127.0.0.1:0"))
    server.start()
    assert _answers(place)
    server.stop(None).wait()
    assert not _answers(place)


def test_a_server_that_is_stopped_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kernel accepts connections for a stopped process, as for this one, which never accepts any."""
    monkeypatch.setattr(ray_processes, "ANSWER_SECONDS", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert not _answers(server.getsockname())


@pytest.mark.parametrize("reset", [False, True])
def test_a_server_that_closes_the_connection_is_alive(*, reset: bool) -> None:
    """A server that requires TLS does."""
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(1) as pool:
        answer = pool.submit(_answers, server.getsockname())
        connection, _ = server.accept()
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            connection.recv(100)
        connection.close()
        assert answer.result()
