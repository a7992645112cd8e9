"""A search on a real Ray cluster of two nodes, with its own token, ports and temporary folder."""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest

from morel_search.cluster import session
from morel_search.run import main

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        not sys.platform.startswith("linux"), reason="finds the processes it started in /proc"
    ),
]

ROOT = Path(__file__).parents[1]
FINISHED = re.compile(r"clean +\d+\.\d%  robust +\d+\.\d%")
"""In the line of a finished trial."""
RAY = str(Path(sys.executable).with_name("ray"))
MARK = "MOREL_SEARCH_TEST_CLUSTER"
SEARCH = [
    *("--set", "search.population=2", "--set", "train.epochs=1", "--set", "data.limit=300"),
    *("--set", "controls=[trades]", "--set", "network.options.width=4", "--set", "evaluation.final_steps=5"),
    *("--set", "verify.images=10"),
]
WITHOUT_VERIFICATION = ("--set", "verify.enabled=false")
TRIALS = 3

# The nodes have the dependencies but not the package: Ray must send it to them.
NODE_SITE = """
import sys

class OnlyWhatTravelled:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "morel_search":
            sys.path[:] = [entry for entry in sys.path if entry != CHECKOUT]
            sys.meta_path[:] = [
                finder for finder in sys.meta_path if "__editable__" not in getattr(finder, "__module__", "")
            ]
        return None

sys.meta_path.insert(0, OnlyWhatTravelled)
"""


@dataclass(frozen=True)
class Cluster:
    gcs: int
    client: int
    dashboard: int
    environment: dict[str, str]
    folder: Path
    node_environment: dict[str, str]

    def start_node(self, name: str, *options: str) -> None:
        """Start a node with a core of its own and a folder of its own.

        In a shared folder, the second node takes the first's unpacked packages away to unpack them anew.
        """
        folder = self.folder / name
        folder.mkdir()
        agent, grpc, metrics = free_ports(3)
        listens = [f"--dashboard-agent-listen-port={agent}", f"--dashboard-agent-grpc-port={grpc}"]
        listens += [f"--metrics-export-port={metrics}", "--num-cpus=1"]
        marked = {**self.node_environment, MARK: f"{self.node_environment[MARK]}{name}"}
        done = self.run(RAY, "start", f"--temp-dir={folder}", *options, *listens, cwd=folder, **marked)
        assert done.returncode == 0, done.stdout + done.stderr

    def kill_node(self, name: str) -> None:
        kill_marked(f"{self.node_environment[MARK]}{name}")

    def run(
        self, *command: str, timeout: float = 400, cwd: Path = ROOT, **changes: str | None
    ) -> subprocess.CompletedProcess[str]:
        environment = {**self.environment, **changes}
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=cwd,
            env={name: value for name, value in environment.items() if value is not None},
            check=False,
        )

    def search(
        self, results: Path, name: str, address: str, *more: str, trials: int = TRIALS, **changes: str | None
    ):
        return self.run(*search_command(results, name, address, trials), *more, cwd=results.parent, **changes)

    def listed(self, what: str) -> list[dict]:
        """Return what ``ray list`` prints, from the server that it asks; the command imports Ray first."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.dashboard}/api/v0/{what}?detail=1&limit=1000",
            headers={"Authorization": f"Bearer {self.environment['RAY_AUTH_TOKEN']}"},
        )
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)["data"]["result"]["result"]

    def trial_nodes(self) -> set[tuple[str, str]]:
        """(job, node) of every actor that runs or has run trials; Ray Tune calls their class ImplicitFunc."""
        return {
            (actor["job_id"], actor["node_id"])
            for actor in self.listed("actors")
            if actor["class_name"] == "ImplicitFunc" and actor["node_id"] is not None
        }


def search_command(
    results: Path, name: str, address: str, trials: int, space: Path = ROOT / "search_spaces/digits.yaml"
) -> list[str]:
    return [
        *(sys.executable, "-m", "morel_search.run", "--space", str(space), "--trials", str(trials), *SEARCH),
        *("--results", str(results), "--name", name, "--address", address),
    ]


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def kill_marked(mark: str) -> None:
    """End every process that carries the mark in its environment: those of this cluster and no others."""
    for _ in range(20):
        ours = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    ours.append(int(folder.name))
            except OSError:
                continue
        for process in ours:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if not ours:
            return
        time.sleep(0.2)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    temporary = Path(tempfile.mkdtemp(prefix="msc", dir="/tmp"))  # socket paths may have 107 bytes
    mark, ports = secrets.token_hex(8), [str(port) for port in free_ports(3)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment = kept | {
        "OMP_NUM_THREADS": "1",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(16),
    }
    site = tmp_path_factory.mktemp("site")
    (site / "sitecustomize.py").write_text(f"CHECKOUT = {str(ROOT)!r}\n{NODE_SITE}")
    node = {"PYTHONPATH": str(site), MARK: mark, "RAY_USAGE_STATS_ENABLED": "0"}
    started = Cluster(int(ports[0]), int(ports[1]), int(ports[2]), environment, temporary, node)
    try:
        head = [f"--port={ports[0]}", f"--ray-client-server-port={ports[1]}", f"--dashboard-port={ports[2]}"]
        started.start_node("a", "--head", *head)
        started.start_node("b", f"--address=127.0.0.1:{ports[0]}")
        yield started
    finally:
        for name in ("a", "b", "c"):
            started.kill_node(name)
        shutil.rmtree(temporary, ignore_errors=True)


def check_finished(run: Path, trials: int = TRIALS + 1) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{run / 'study.db'}")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * trials
    assert json.loads((run / "settings.json").read_text())["status"] == "finished"
    assert (run / "report.html").stat().st_size > 10_000


def alive(cluster: Cluster) -> set[str]:
    return {node["node_id"] for node in cluster.listed("nodes") if node["state"] == "ALIVE"}


def check_alive(cluster: Cluster) -> None:
    assert len(alive(cluster)) == 2


@pytest.mark.parametrize(
    ("address", "more"), [("auto", WITHOUT_VERIFICATION), ("ray://127.0.0.1:{client}", ())]
)
def test_a_search_runs_on_both_nodes_and_leaves_the_cluster_up(
    cluster: Cluster, tmp_path: Path, address: str, more: tuple[str, ...]
) -> None:
    before = cluster.trial_nodes()
    seen: set[tuple[str, str]] = set()
    address = address.format(gcs=cluster.gcs, client=cluster.client)
    # "auto" means this cluster, and not another one on this machine
    known = f"127.0.0.1:{cluster.gcs}" if address == "auto" else None
    with ThreadPoolExecutor() as pool:
        search = pool.submit(cluster.search, tmp_path / "results", "x", address, *more, RAY_ADDRESS=known)
        # Asked while the search runs, because Ray may forget the actors of a job that has ended.
        while not search.done():
            seen |= cluster.trial_nodes()
            time.sleep(1)
        done = search.result()
    assert done.returncode == 0, done.stderr
    assert len(FINISHED.findall(done.stdout)) == TRIALS + 1
    assert "report: " in done.stdout
    check_finished(tmp_path / "results/x")
    assert (tmp_path / "results/x/verified.csv").exists() == (not more)
    new = seen - before
    assert len({job for job, _ in new}) == 1
    assert len({node for _, node in new}) == 2
    check_alive(cluster)
    assert not list((tmp_path / "results").glob(".probe*"))


def test_a_search_runs_as_a_submitted_job(cluster: Cluster, tmp_path: Path) -> None:
    working = tmp_path / "working"
    shutil.copytree(
        ROOT / "morel_search", working / "morel_search", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(ROOT / "search_spaces", working / "search_spaces")
    command = search_command(tmp_path / "results", "job", "auto", TRIALS, Path("search_spaces/digits.yaml"))
    submit = [
        RAY,
        "job",
        "submit",
        "--address",
        f"http://127.0.0.1:{cluster.dashboard}",
        "--working-dir",
        str(working),
    ]
    done = cluster.run(*submit, "--", *command, *WITHOUT_VERIFICATION)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "succeeded" in done.stdout
    check_finished(tmp_path / "results/job")
    check_alive(cluster)


def test_a_terminated_client_ends_the_search_in_order_and_resume_finishes_it(
    cluster: Cluster, tmp_path: Path
) -> None:
    results, address = tmp_path / "results", f"ray://127.0.0.1:{cluster.client}"
    printed = (tmp_path / "printed").open("w+")
    process = subprocess.Popen(
        [*search_command(results, "x", address, 500), *WITHOUT_VERIFICATION],
        env=cluster.environment,
        cwd=tmp_path,
        stdout=printed,
        stderr=subprocess.STDOUT,
    )
    try:
        deadline = time.monotonic() + 300
        while not FINISHED.search((tmp_path / "printed").read_text()) and time.monotonic() < deadline:
            assert process.poll() is None, (tmp_path / "printed").read_text()
            time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        assert process.wait(300) == 130
    finally:
        process.kill()
        printed.close()
    assert "--resume continues" in (tmp_path / "printed").read_text()
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{results / 'x/study.db'}")
    finished = [trial for trial in study.trials if trial.state.is_finished()]
    known = len(study.trials)
    assert 1 <= len(finished) <= known < 100
    assert (results / "x/report.html").exists()
    check_alive(cluster)
    more = ("--resume", *WITHOUT_VERIFICATION)
    done = cluster.search(results, "x", f"127.0.0.1:{cluster.gcs}", *more, trials=known + 1)
    assert done.returncode == 0, done.stderr
    check_finished(results / "x", known + 2)


def test_a_machine_that_joins_gets_trials_and_its_loss_is_no_failure(
    cluster: Cluster, tmp_path: Path
) -> None:
    trials, before = 30, alive(cluster)
    command = search_command(tmp_path / "results", "x", f"127.0.0.1:{cluster.gcs}", trials)
    command += WITHOUT_VERIFICATION
    with (tmp_path / "printed").open("w+") as printed:
        process = subprocess.Popen(
            command, env=cluster.environment, cwd=tmp_path, stdout=printed, stderr=subprocess.STDOUT
        )
        try:
            while not FINISHED.search((tmp_path / "printed").read_text()):
                assert process.poll() is None, (tmp_path / "printed").read_text()
                time.sleep(0.5)
            cluster.start_node("c", f"--address=127.0.0.1:{cluster.gcs}")
            (joined,) = alive(cluster) - before
            while joined not in {node for _, node in cluster.trial_nodes()}:
                assert process.poll() is None, "no trial ran on the machine that joined"
                time.sleep(0.5)
            cluster.kill_node("c")
            assert process.wait(300) == 0
        finally:
            process.kill()
    check_finished(tmp_path / "results/x", trials + 1)
    while joined in alive(cluster):  # until Ray has noticed that the machine is gone
        time.sleep(0.5)
    check_alive(cluster)


def check_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert done.stderr.startswith("morel_search: ")
    for word in words:
        assert word in done.stderr


@pytest.mark.parametrize("address", ["127.0.0.1:{gcs}", "ray://127.0.0.1:{client}"])
def test_a_results_folder_that_is_not_shared_is_refused(
    cluster: Cluster, tmp_path: Path, address: str
) -> None:
    # A path that leads elsewhere in every process, as a local disk leads elsewhere on every machine.
    address = address.format(gcs=cluster.gcs, client=cluster.client)
    command = search_command(Path("/proc/self/cwd/results"), "x", address, TRIALS)
    check_refused(
        cluster.run(*command, cwd=tmp_path), "/proc/self/cwd/results", socket.gethostname(), "share"
    )
    assert not list(tmp_path.iterdir())


def test_an_error_in_a_task_of_the_cluster_is_one_sentence(cluster: Cluster, tmp_path: Path) -> None:
    data = [
        "--set",
        "data.name=parquet",
        "--set",
        "data.train=/nowhere/a.parquet",
        "--set",
        "data.test=/nowhere/b.parquet",
    ]
    done = cluster.search(tmp_path / "results", "x", f"127.0.0.1:{cluster.gcs}", *data)
    check_refused(done, "/nowhere/", "no such file")
    assert not (tmp_path / "results/x").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}"])
def test_an_address_where_nobody_listens_is_refused_before_ray_tries_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    def joins(*_: object) -> None:
        raise AssertionError("Ray waits for minutes")

    monkeypatch.setattr(session, "_try_to_join", joins)
    address = address.format(port=free_ports(1)[0])
    words = search_command(tmp_path / "results", "x", address, TRIALS)[3:]
    code = main(words)
    printed = capsys.readouterr()
    check_refused(subprocess.CompletedProcess(words, code, printed.out, printed.err), address, "refused")
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("token", "address"),
    [(None, "127.0.0.1:{gcs}"), ("b" * 32, "ray://127.0.0.1:{client}")],
    ids=["missing", "wrong"],
)
def test_a_token_that_the_cluster_does_not_know_is_refused(
    cluster: Cluster, tmp_path: Path, token: str | None, address: str
) -> None:
    address = address.format(gcs=cluster.gcs, client=cluster.client)
    done = cluster.search(tmp_path / "results", "x", address, RAY_AUTH_TOKEN=token, HOME=str(tmp_path))
    check_refused(done, "token", "RAY_AUTH_TOKEN")


def test_a_cluster_of_another_version_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import ray\nray.__version__ = '2.59.0'\n")
    done = cluster.search(tmp_path / "results", "x", f"127.0.0.1:{cluster.gcs}", PYTHONPATH=str(tmp_path))
    check_refused(done, "versions", "2.59.0")
