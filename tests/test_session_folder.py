"""Ray on a shared machine: nobody else enters its folder or reaches its ports, and nothing stays of it."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from morel_search.cluster import session_folder as module
from morel_search.cluster.session_folder import LONGEST_PATH, remove_leftovers, session_folder
from morel_search.errors import ResourceError
from morel_search.results.new_run import create_run_folder

RAY_FOLDERS = "session_2026-11-30_08-15-55_769908_4194304/sockets/plasma_store"
"""The longest path in Ray's folder, with the highest process id of Linux."""

HELD = """
import sys, time
from pathlib import Path
from morel_search.cluster import session_folder
session_folder._shared = lambda: Path(sys.argv[1])
with session_folder.session_folder() as folder:
    folder.mkdir()
    (folder / "log").write_text("x")
    print(folder.parent, flush=True)
    time.sleep(600)
"""


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def running(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process that holds a folder, and the folder; here, folders are in the test's own folder."""
    monkeypatch.setattr(module, "_shared", lambda: tmp_path)
    command = [sys.executable, "-c", HELD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_the_folder_is_private_and_removed() -> None:
    before = os.umask(0)
    try:
        with session_folder() as folder:
            private = folder.parent
            assert mode(private) == 0o700
            assert not folder.exists()  # Ray makes it, and gives it the mode 0777
            folder.mkdir(mode=0o777)
            assert private.parent == Path("/tmp")
            assert len(os.fsencode(folder / RAY_FOLDERS)) <= LONGEST_PATH
    finally:
        os.umask(before)
    assert not private.exists()


def test_it_is_removed_after_an_error() -> None:
    with suppress(KeyError), session_folder() as folder:
        folder.mkdir()
        raise KeyError
    assert not folder.parent.exists()


def test_leftovers_of_a_killed_run_are_removed_at_the_next_start(
    running: tuple[subprocess.Popen[str], Path],
) -> None:
    process, left = running
    with session_folder():
        assert (left / "r" / "log").exists()  # its process lives
    process.send_signal(signal.SIGKILL)
    process.wait()
    with (left / "r" / "agent.out").open("w") as output:  # Ray's agents outlive a driver for a while
        agent = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], stdout=output)
    assert (left / "r" / "log").exists()
    with session_folder() as folder:
        assert agent.wait(60) == -signal.SIGKILL
        assert folder.parent.exists()
        assert not left.exists()


def test_nothing_else_is_removed(tmp_path: Path) -> None:
    """Not what has another name, no lock, or is a link, which another user could have planted."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / ".lock").touch()
    (tmp_path / "morel-link").symlink_to(precious)
    (tmp_path / "morel-file").touch()
    (tmp_path / "morel-new_0000").mkdir()
    lockless = tmp_path / "morel-link_000"
    lockless.mkdir()
    (lockless / ".lock").symlink_to(precious / ".lock")
    dead = tmp_path / "morel-dead0000"
    (dead / "r").mkdir(parents=True)
    (dead / ".lock").touch()
    (dead / "r" / "link").symlink_to(precious)
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "morel-file",
        "morel-link",
        "morel-link_000",
        "morel-new_0000",
        "precious",
    ]
    assert (precious / ".lock").exists()


@pytest.mark.parametrize("name", ["morel-digits", "morel-digits00", "morel-run"])
def test_results_with_the_same_beginning_of_a_name_are_kept(tmp_path: Path, name: str) -> None:
    """A run folder has a lock of the same name, which nobody holds after the run."""
    run = create_run_folder(tmp_path, name)
    with run.lock():
        run.write_text(run.space, "data: {name: digits}")
    remove_leftovers(tmp_path)
    assert run.space.read_text() == "data: {name: digits}"


def test_a_folder_of_which_nothing_came_is_removed_when_it_is_old(tmp_path: Path) -> None:
    """A process that is killed while it makes its folder leaves it without a lock."""
    new, old, full = (tmp_path / f"morel-{name}00000" for name in ("new", "old", "own"))
    for folder in (new, old, full):
        folder.mkdir()
    (old / ".lock.new").touch()
    (full / "r").mkdir()
    for folder in (old, full):
        os.utime(folder, (0, 0))
    remove_leftovers(tmp_path)
    assert sorted(tmp_path.iterdir()) == [new, full]


def test_folders_of_other_users_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dead = tmp_path / "morel-dead0000"
    dead.mkdir()
    (dead / ".lock").touch()
    monkeypatch.setattr(os, "getuid", lambda: dead.stat().st_uid + 1)
    remove_leftovers(tmp_path)
    assert dead.exists()


def test_no_space_for_a_folder_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.tempfile, "mkdtemp", full)
    with pytest.raises(ResourceError, match=r"needs a folder in /tmp, .*No space left"), session_folder():
        pass


SESSION = """
import os, stat, sys
from pathlib import Path
import ray
from morel_search.cluster.session import ray_session

def inodes():
    '''The sockets of the processes that were started here, which all have the marked environment.'''
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"MOREL_SEARCH_TEST=" + os.environb[b"MOREL_SEARCH_TEST"] not in (
                process / "environ"
            ).read_bytes().split(b"\\0"):
                continue
            found |= {os.readlink(link) for link in (process / "fd").iterdir()}
        except OSError:
            continue
    return {link[8:-1] for link in found if link.startswith("socket:[")}

with ray_session():
    ray.get(ray.remote(lambda: os.getpid()).remote())
    for table in ("tcp", "tcp6"):
        mine = inodes()
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            cells = line.split()
            if cells[3] == "0A" and cells[9] in mine:
                print("listens", cells[1].split(":")[0])
    from ray._private.worker import _global_node
    folder = Path(_global_node.get_temp_dir_path())
    print("private", oct(stat.S_IMODE(folder.parent.stat().st_mode)), folder.parent)
    for path in folder.rglob("*"):
        if stat.S_ISSOCK(path.lstat().st_mode):
            print("socket", len(os.fsencode(path)))
    if sys.argv[1:]:
        os.kill(os.getpid(), 9)
"""
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}


def ray_run(*arguments: str) -> list[list[str]]:
    environment = os.environ | {"MOREL_SEARCH_TEST": f"{os.getpid()}-{len(arguments)}"}
    done = subprocess.run(
        [sys.executable, "-c", SESSION, *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == (-9 if arguments else 0), done.stderr
    return [line.split() for line in done.stdout.splitlines()]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_ray_is_private_reachable_from_this_machine_alone_and_leaves_nothing() -> None:
    lines = ray_run("killed")
    addresses = [line[1] for line in lines if line[0] == "listens"]
    assert len(addresses) >= 4  # GCS, raylet, driver, worker
    assert set(addresses) <= LOOPBACK
    lengths = [int(line[1]) for line in lines if line[0] == "socket"]
    assert lengths
    assert max(lengths) <= LONGEST_PATH
    (private,) = [line for line in lines if line[0] == "private"]
    assert private[1] == "0o700"
    (after,) = [line for line in ray_run() if line[0] == "private"]
    assert not Path(private[2]).exists()
    assert not Path(after[2]).exists()


def test_a_system_without_file_locks_is_named_before_ray_starts(tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['fcntl'] = None\n"  # as on Windows
        "import importlib.util; find = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'fcntl' else find(name, *rest)\n"
        "import morel_search.cluster.session\n"
        "from morel_search.__main__ import main\n"
        "code = main(['run', '--space', 'search_spaces/digits.yaml', '--results', sys.argv[1]])\n"
        "print(code, 'ray' in sys.modules and sys.modules['ray'].is_initialized())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "2 False"
    assert "use Linux or macOS, or WSL on Windows" in done.stderr
