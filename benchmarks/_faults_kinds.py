"""The faults of benchmarks/faults.py: what each does to a search, and what must follow."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from _faults_search import Search

__all__ = ["KINDS", "SECONDS", "Kind"]

SECONDS = 300.0
"""Seconds after which a search that was to end counts as hung."""

INTERRUPTED = (130, -signal.SIGINT)
"""Exit codes of an interrupt. Python ends itself by SIGINT, which shells show as 130, if the exception has
passed code that was made from a text, such as a dataclass that is defined."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    Attributes:
        strike: Does it to a search that runs, and returns whether it could be done.
        codes: Exit codes that may follow; None for a driver that was killed.
        goes_on: Whether the search goes on by itself.
        refused: Whether the next start must refuse to run (exit code 2) until :attr:`mend` was called.
        mend: Undoes a damage.
    """

    strike: Callable[[random.Random, Search], bool]
    codes: tuple[int, ...] | None
    goes_on: bool = False
    refused: bool = False
    mend: Callable[[Search], None] = lambda search: None


def _kill(*targets: str) -> Callable[[random.Random, Search], bool]:
    def strike(_: random.Random, search: Search) -> bool:
        hits = [search.kill(target) for target in targets]
        return all(hits)

    return strike


def _signal(*numbers: signal.Signals) -> Callable[[random.Random, Search], bool]:
    def strike(rng: random.Random, search: Search) -> bool:
        for number in numbers:
            search.kill("driver", number)
            time.sleep(rng.uniform(0, 1) if len(numbers) > 1 else 0)
        return True

    return strike


def _stop_worker(_: random.Random, search: Search) -> bool:
    return search.kill("worker", signal.SIGSTOP)


def _end(damage: Callable[[random.Random, Search], bool]) -> Callable[[random.Random, Search], bool]:
    """Kill the driver, then damage a file."""

    def strike(rng: random.Random, search: Search) -> bool:
        search.kill("driver")
        search.wait(60)
        return damage(rng, search)

    return strike


def _copy(search: Search) -> Path:
    return search.results / "study.copy"


def _damage_study(how: str) -> Callable[[random.Random, Search], bool]:
    def damage(rng: random.Random, search: Search) -> bool:
        if not search.rows():  # without a table, nothing proves that trials are missing
            return False
        with closing(sqlite3.connect(search.study)) as study, closing(sqlite3.connect(_copy(search))) as copy:
            study.backup(copy)
        for ending in ("-wal", "-shm"):
            search.study.with_name(search.study.name + ending).unlink(missing_ok=True)
        content = _copy(search).read_bytes()
        if how == "deleted":
            search.study.unlink()
        else:
            end = 0 if how == "emptied" else rng.randrange(4096, len(content) // 2)
            search.study.write_bytes(content[:end])
        return True

    return damage


def _put_study_back(search: Search) -> None:
    shutil.move(_copy(search), search.study)


def _tear_checkpoints(rng: random.Random, search: Search) -> bool:
    found = sorted((search.run / "ray" / "checkpoints").glob("*/state.pt"))
    for path in found:
        path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])
    return bool(found)


def _tear_tables(rng: random.Random, search: Search) -> bool:
    found = [path for path in sorted(search.run.glob("*.csv")) if path.stat().st_size]
    for path in found:
        path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])
    return bool(found)


def _delete_ray(_: random.Random, search: Search) -> bool:
    shutil.rmtree(search.run / "ray", ignore_errors=True)
    return True


def _lock_study(rng: random.Random, search: Search) -> bool:
    with closing(sqlite3.connect(search.study, timeout=30, isolation_level=None)) as study:
        study.execute("BEGIN IMMEDIATE")
        time.sleep(rng.uniform(1, 15))
        study.execute("ROLLBACK")
    return True


def _second_command(_: random.Random, search: Search) -> bool:
    log = search.results / "second.log"
    second = search.command(log)
    try:
        code = second.wait(SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(second.pid, signal.SIGKILL)
        raise
    text = log.read_text()
    log.unlink()
    if search.process is not None and search.process.poll() is not None:
        return False  # the first has ended meanwhile
    if code != 2 or "is in use by process" not in text:
        raise AssertionError(f"the second command ended with {code}: {text[-300:]}")
    return True


def _filler(search: Search) -> Path:
    return search.results / "filler"


def _fill_disk(_: random.Random, search: Search) -> bool:
    """Fill the file system of the results, which must be one of its own."""
    if not os.path.ismount(search.results):
        return False
    with _filler(search).open("wb", buffering=0) as file:
        for size in (65536, 512):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return True


def _free_disk(search: Search) -> None:
    _filler(search).unlink(missing_ok=True)


KINDS: dict[str, Kind] = {
    "driver killed": Kind(_kill("driver"), None),
    "worker killed": Kind(_kill("worker"), (0,), goes_on=True),
    "raylet killed": Kind(_kill("raylet"), (3,)),
    "GCS server killed": Kind(_kill("gcs"), (3,)),
    "driver and worker killed": Kind(_kill("worker", "driver"), None),
    "worker and raylet killed": Kind(_kill("worker", "raylet"), (3,)),
    "SIGTERM": Kind(_signal(signal.SIGTERM), INTERRUPTED),
    "SIGINT": Kind(_signal(signal.SIGINT), INTERRUPTED),
    "SIGINT twice": Kind(_signal(signal.SIGINT, signal.SIGINT), INTERRUPTED),
    "SIGTERM, then kill": Kind(_signal(signal.SIGTERM, signal.SIGKILL), None),
    "worker stopped": Kind(_stop_worker, (0,), goes_on=True),
    "study locked": Kind(_lock_study, (0,), goes_on=True),
    "second command": Kind(_second_command, (0,), goes_on=True),
    "disk full": Kind(_fill_disk, (2,), mend=_free_disk),
    "checkpoints torn": Kind(_end(_tear_checkpoints), None),
    "tables torn": Kind(_end(_tear_tables), None),
    "Ray's folder deleted": Kind(_end(_delete_ray), None),
    "study cut": Kind(_end(_damage_study("cut")), None, refused=True, mend=_put_study_back),
    "study emptied": Kind(_end(_damage_study("emptied")), None, refused=True, mend=_put_study_back),
    "study deleted": Kind(_end(_damage_study("deleted")), None, refused=True, mend=_put_study_back),
}
"""The kinds by name, in the order of the table."""
