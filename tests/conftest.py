"""Tests run on two workers, file by file: the order of the files, and the number of threads of a worker."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import hypothesis
import pytest

# Two workers run on two cores: more threads would wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in the background ignores Ctrl-C for them and for the commands they start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Ray gives its workers a low priority; beside the other test process, searches would reach their time limits.
os.environ.setdefault("RAY_worker_niceness", "0")

# The first example may import a package. Each run of the tests tries other examples.
hypothesis.settings.register_profile("project", deadline=None, max_examples=40)
hypothesis.settings.load_profile("project")

LONG = (
    "test_kills",
    "test_cluster",
    "test_run",
    "test_verify",
    "test_attack_suite",
    "test_robust_counts",
    "test_docs",
    "test_hangs",
    "test_poisoned",
    "test_config_fuzz",
    "test_compute",
    "test_train_command",
    "test_batched_attacks",
    "test_frozen",
)
"""Files with the longest tests, the longest first. They begin, so that none of them runs alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files whose tests take longest."""
    order = {name: place for place, name in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.stem, len(LONG)))


@pytest.fixture(autouse=True)
def _current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a current folder of its own: `results` there holds no run of a user or of a test."""
    monkeypatch.chdir(tmp_path)
