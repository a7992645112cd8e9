"""The SQLite file of a study: strange paths, readers, deletion during a search, and a full disk."""

from __future__ import annotations

import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import optuna
import pytest

from morel_search.errors import RunFolderError
from morel_search.search import log_copier, study_file
from morel_search.search.study import TrialStore
from morel_search.search.study_file import StudyFile, wait_while_locked
from morel_search.search.trial import TrialPlan

PLAN = TrialPlan("search", "", 17, True)
BUSY = sqlite3.OperationalError("database is locked")
BUSY.sqlite_errorcode = sqlite3.SQLITE_BUSY


def add(store: TrialStore) -> int:
    return store.plan(PLAN, {}, {}, running=True)


def count(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (number,) = connection.execute("select count(*) from trials").fetchone()
    return int(number)


def count_alone(folder: Path) -> int:
    """The number of trials in a copy of the file without its log; 0 if the copy is torn."""
    shutil.copyfile(folder / "study.db", folder / "copy.db")
    try:
        return count(folder / "copy.db")
    except sqlite3.DatabaseError:
        return 0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TrialStore]:
    store = TrialStore.of_file(tmp_path / "study.db", "run")
    add(store)
    yield store
    store.close()


@pytest.mark.parametrize("name", ["a?b=c", "%41", "a#b", "two words", "[x]{y}", "ünï", "a%2Fb&mode=ro", "'"])
def test_a_path_is_not_read_as_a_url(tmp_path: Path, name: str) -> None:
    path = tmp_path / name / "study.db"
    path.parent.mkdir()
    store = TrialStore.of_file(path, "run")
    add(store)
    store.close()
    assert [file.name for file in tmp_path.iterdir()] == [name]
    assert [file.name for file in path.parent.iterdir()] == ["study.db"]
    again = TrialStore.of_file(path, "run", create=False)
    assert len(again.trials()) == 1
    again.close()
    study = optuna.load_study(study_name="run", storage=StudyFile(path).url)  # for Optuna's own tools
    assert len(study.trials) == 1


def test_a_reader_does_not_block_the_search(store: TrialStore, tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "study.db", isolation_level=None)) as reader:
        reader.execute("begin")
        reader.execute("select * from trials").fetchall()
        assert add(store) == 1


def test_the_file_alone_is_complete_during_the_search_and_at_its_end(
    store: TrialStore, tmp_path: Path
) -> None:
    add(store)
    while count_alone(tmp_path) != 2:  # the log is copied soon after a commit
        time.sleep(0.05)
    add(store)
    while count_alone(tmp_path) != 3:
        time.sleep(0.05)
    store.close()
    assert sorted(file.name for file in tmp_path.iterdir()) == ["copy.db", "study.db"]


def test_a_commit_is_in_the_log_before_it_is_copied(
    store: TrialStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A search that is killed right after a commit: SQLite applies the log when the study is opened again."""
    store.close()
    monkeypatch.setattr(log_copier, "COPY_SECONDS", 3600)
    killed = TrialStore.of_file(tmp_path / "study.db", "run")
    add(killed)
    left = tmp_path / "left"
    left.mkdir()
    for file in tmp_path.glob("study.db*"):
        shutil.copyfile(file, left / file.name)
    assert count_alone(tmp_path) == 1
    assert count(left / "study.db") == 2
    killed.close()
    assert count_alone(tmp_path) == 2


def test_a_reader_at_the_end_of_the_search_is_named(
    store: TrialStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A reader of an old state keeps the log; it must not be left behind when the file is copied."""
    with closing(sqlite3.connect(tmp_path / "study.db", isolation_level=None)) as reader:
        reader.execute("begin")
        reader.execute("select * from trials").fetchall()
        add(store)
        store.close()
        assert "study.db-wal" in capsys.readouterr().err
    again = TrialStore.of_file(tmp_path / "study.db", "run")
    assert len(again.trials()) == 2
    again.close()
    assert not (tmp_path / "study.db-wal").exists()


def test_what_keeps_the_log_is_named(
    store: TrialStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(file: StudyFile) -> sqlite3.Connection:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    with closing(sqlite3.connect(tmp_path / "study.db")) as reader:
        reader.execute("select * from trials").fetchall()  # keeps the log open
        add(store)
        monkeypatch.setattr(StudyFile, "_connect", full)
        store.close()
    text = capsys.readouterr().err
    assert "study.db-wal could not be copied into study.db (database or disk is full)" in text


def test_every_commit_is_synced(store: TrialStore) -> None:
    """SQLite may be built with another default (SQLITE_DEFAULT_WAL_SYNCHRONOUS)."""
    full = 2
    with store._storage.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == full


def test_without_a_local_file_system_there_is_no_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_file, "_is_local", lambda _: False)
    store = TrialStore.of_file(tmp_path / "study.db", "run")
    add(store)
    assert not (tmp_path / "study.db-wal").exists()
    store.close()


def test_the_file_system_of_a_path(tmp_path: Path) -> None:
    assert not study_file._is_local(Path("/proc/self"))
    assert study_file._unescaped(r"/a\040b\134c") == r"/a b\c"


def test_waiting_for_a_lock_is_said_once_and_ends() -> None:
    moments, said, failures = iter(range(100)), [], [BUSY] * 30

    def action() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert wait_while_locked(action, "study.db", clock=lambda: next(moments), say=said.append) == "done"
    assert len(said) == 2
    assert "waiting" in said[0]
    assert "free again" in said[1]


def test_waiting_for_a_lock_does_not_last_for_ever() -> None:
    moments = iter(range(0, 100_000, 1000))

    def locked() -> None:
        raise BUSY

    with pytest.raises(RunFolderError, match="locked by another program for"):
        wait_while_locked(locked, "study.db", clock=lambda: next(moments), say=lambda _: None)


def test_another_writer_is_waited_for(
    store: TrialStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study_file, "BUSY_SECONDS", 0)
    other = sqlite3.connect(tmp_path / "study.db", isolation_level=None)
    other.execute("begin immediate")
    tries = []
    keep = store.keep_file

    def release_at_the_third() -> None:
        tries.append(1)
        if len(tries) == 3:
            other.close()
        keep()

    monkeypatch.setattr(store, "keep_file", release_at_the_third)
    store._storage.engine.dispose()  # the next connection does not wait
    assert add(store) == 1
    assert len(tries) >= 3


def test_a_study_that_is_deleted_during_the_search_is_written_again(
    store: TrialStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study.db").unlink()
    assert add(store) == 1
    assert "study.db was deleted while the search ran" in capsys.readouterr().err
    assert count(tmp_path / "study.db") == 2
    (tmp_path / "study.db").unlink()
    store.close()
    assert count(tmp_path / "study.db") == 2


def test_a_study_that_is_replaced_during_the_search_keeps_both(store: TrialStore, tmp_path: Path) -> None:
    other = TrialStore.of_file(tmp_path / "other.db", "run")
    other.close()
    (tmp_path / "other.db").replace(tmp_path / "study.db")
    assert add(store) == 1
    assert count(tmp_path / "study.db") == 2
    (kept,) = tmp_path.glob("study.db.other-*")
    assert count(kept) == 0


def test_a_full_disk_leaves_no_trial_running(
    store: TrialStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk stays full until the reserve is deleted, as a real one does."""
    reserve, requeue = tmp_path / study_file.RESERVE, store._storage.set_trial_state_values
    assert reserve.stat().st_size == study_file.RESERVED_BYTES

    def full(*arguments: object, **named: object) -> bool:
        if reserve.exists():
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error
        return bool(requeue(*arguments, **named))  # type: ignore[arg-type]

    monkeypatch.setattr(store._storage, "set_trial_state_values", full)
    store.requeue_running()
    assert [trial.state.name for trial in store.trials()] == ["WAITING"]


@pytest.mark.parametrize("keep", [0.3, 0.6])
def test_a_torn_file_is_refused_in_one_sentence(tmp_path: Path, keep: float) -> None:
    store = TrialStore.of_file(tmp_path / "study.db", "run")
    for _ in range(30):
        add(store)
    store.close()
    content = (tmp_path / "study.db").read_bytes()
    (tmp_path / "study.db").write_bytes(content[: int(keep * len(content))])
    with pytest.raises(RunFolderError, match="cannot be opened"):
        TrialStore.of_file(tmp_path / "study.db", "run")


def test_a_file_without_the_study_is_refused(store: TrialStore, tmp_path: Path) -> None:
    for create in (True, False):
        with pytest.raises(RunFolderError, match="does not have the study 'mine' of this run, but 'run'"):
            TrialStore.of_file(tmp_path / "study.db", "mine", create=create)
    assert len(store.trials()) == 1
