"""Tests run two at a time: which of them share a worker, and how many threads each may use."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers on two cores: more threads would wait for each other

LONG_FIRST = ("test_run", "test_kills", "test_cluster", "test_verify", "test_train_command", "test_battery", "test_frozen")
"""Files with the longest tests begin, so that none of them runs alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a file on one worker, because they share fixtures; a test with a group of its own is free."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
    items.sort(key=lambda item: item.path.stem not in LONG_FIRST)
