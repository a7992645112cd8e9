"""What a run was made with: package versions, hardware and commit."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from morel_search._machine import memory_bytes, usable_cpus
from morel_search.results.settings import Hardware

__all__ = ["commit", "hardware", "versions"]

PACKAGES = (
    "morel-search",
    "torch",
    "torchvision",
    "ray",
    "optuna",
    "numpy",
    "pandas",
    "plotly",
    "moocore",
    "scikit-learn",
)
"""Packages whose version can change a result."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the installed :data:`PACKAGES`, by name with underscores."""
    installed = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            installed[name.replace("-", "_")] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def hardware() -> Hardware:
    """Describe the machine that runs the search; on a cluster the trials may run on other machines.

    Cores and memory are those that this process may use.
    """
    import torch

    return Hardware(
        cpu=_cpu_name(),
        cores=usable_cpus(),
        memory_gib=_memory_gib(),
        gpus=[torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())],
        platform=platform.platform(terse=True),
    )


def commit() -> str | None:
    """Return the commit of the package, with ``+`` when files were changed; None outside a git checkout."""
    try:
        _git("ls-files", "--error-unmatch", __file__)
        changed = _git("status", "--porcelain", "--untracked-files=no")
        return _git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    folder = Path(__file__).resolve().parent
    return subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=10, check=True
    ).stdout.strip()


def _cpu_name() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    size = memory_bytes()
    return None if size is None else round(size / 2**30, 1)
