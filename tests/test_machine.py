"""Processors and memory of this process: the affinity and the control groups limit both."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from morel_search import _machine
from morel_search._machine import memory_bytes, usable_cpus


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with 64 processors, and control groups in a folder of the test."""
    monkeypatch.setattr(_machine, "CGROUPS", tmp_path)
    monkeypatch.setattr(_machine, "GROUPS_OF_PROCESS", tmp_path / "cgroup")
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(48)), raising=False)
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 2**20}[name])
    return tmp_path


def group(machine: Path, line: str, files: dict[str, str]) -> None:
    (machine / "cgroup").write_text(line)
    for name, content in files.items():
        (machine / name).parent.mkdir(parents=True, exist_ok=True)
        (machine / name).write_text(content)


def test_the_affinity_of_the_process_counts(machine: Path) -> None:
    assert usable_cpus() == 48
    assert memory_bytes() == 2**32


@pytest.mark.parametrize(
    ("line", "files", "cpus"),
    [
        ("0::/", {"cpu.max": "200000 100000"}, 2),
        ("0::/", {"cpu.max": "max 100000"}, 48),
        ("0::/", {"cpu.max": "50000 100000"}, 1),
        ("0::/", {"cpu.max": "350000 100000"}, 3),
        ("0::/a/b", {"a/b/cpu.max": "max 100000", "a/cpu.max": "500000 100000"}, 5),
        ("0::/only/on/the/host", {"cpu.max": "700000 100000"}, 7),
        ("0::/../../outside", {"cpu.max": "700000 100000"}, 7),
        ("3:cpu,cpuacct:/", {"cpu,cpuacct/cpu.cfs_quota_us": "-1"}, 48),
        (
            "3:cpu,cpuacct:/a",
            {"cpu/a/cpu.cfs_quota_us": "400000", "cpu/a/cpu.cfs_period_us": "100000"},
            4,
        ),
        ("0::/", {"cpu.max": ""}, 48),
        ("nonsense", {"cpu.max": "x y z"}, 48),
    ],
)
def test_the_quota_of_every_group_counts(machine: Path, line: str, files: dict[str, str], cpus: int) -> None:
    group(machine, line, files)
    assert usable_cpus() == cpus


@pytest.mark.parametrize(
    ("line", "files", "size"),
    [
        ("0::/", {"memory.max": "1000000"}, 1000000),
        ("0::/", {"memory.max": "max"}, 2**32),
        ("0::/a/b", {"a/memory.max": "2000000"}, 2000000),
        ("4:memory:/a", {"memory/a/memory.limit_in_bytes": "3000000"}, 3000000),
        ("4:memory:/a", {"memory/memory.limit_in_bytes": "9223372036854771712"}, 2**32),
    ],
)
def test_the_memory_limit_of_every_group_counts(
    machine: Path, line: str, files: dict[str, str], size: int
) -> None:
    group(machine, line, files)
    assert memory_bytes() == size


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_that_is_bound_to_one_processor_counts_one() -> None:
    program = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))}); "
        "from morel_search._machine import usable_cpus; print(usable_cpus())"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout == "1\n"
