"""The processors and the memory that this process may use, which can be less than the machine has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__ = ["memory_bytes", "usable_cpus"]

CGROUPS = Path("/sys/fs/cgroup")
GROUPS_OF_PROCESS = Path("/proc/self/cgroup")


def usable_cpus() -> int:
    """Return the number of processors that this process may use, at least 1.

    It is the smallest of: the processors of the machine, the affinity of the process (``taskset``, ``srun
    -c``), and the processor quota of its control groups (containers), rounded down.
    """
    counts: list[float] = [os.cpu_count() or 1]
    if hasattr(os, "sched_getaffinity"):  # not on macOS and Windows
        counts.append(len(os.sched_getaffinity(0)))
    for group in _groups("cpu"):
        quota, period = [*_words(group / "cpu.max"), "", ""][:2]  # version 2: "200000 100000" or "max 100000"
        if not quota:
            quota, period = (
                next(_words(group / f"cpu.cfs_{name}_us"), "") for name in ("quota", "period")
            )  # version 1: -1 means no quota
        if quota.isdigit() and period.isdigit() and int(period):
            counts.append(int(quota) / int(period))
    return max(1, int(min(counts)))


def memory_bytes() -> int | None:
    """Return the memory that this process may use: that of the machine, or the limit of its control groups.

    Returns:
        A number of bytes; None when the system does not tell.
    """
    sizes = []
    try:
        sizes.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return None
    for group in _groups("memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            sizes += [int(word) for word in _words(group / name) if word.isdigit()]
    return min(sizes)


def _groups(controller: str) -> Iterator[Path]:
    """Yield the folders of the control groups of this process, each before the group that contains it.

    In a container the path of the group can be that on the host, which does not exist inside; the root, which
    is yielded last, is then the group of the container.
    """
    for root, path in _hierarchies(controller):
        group = root / path.strip("/")
        while True:
            yield group
            if group == root:
                break
            group = group.parent


def _hierarchies(controller: str) -> Iterator[tuple[Path, str]]:
    """Yield the root of each hierarchy with this controller, and the path of the process in it."""
    try:
        lines = GROUPS_OF_PROCESS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        if ".." in path.split("/"):  # a group outside the part of the hierarchy that is visible here
            path = ""
        if not controllers:
            yield CGROUPS, path
        elif controller in controllers.split(","):
            yield CGROUPS / controllers, path
            yield CGROUPS / controller, path


def _words(path: Path) -> Iterator[str]:
    try:
        yield from path.read_text(encoding="utf-8", errors="replace").split()
    except OSError:
        return
