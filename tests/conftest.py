"""Tests run two at a time: which of them share a worker, and how many threads each may use."""

from __future__ import annotations

import os

import pytest

os.environ.setdefault(
    "OMP_NUM_THREADS", "1"
)  # two workers on two cores: more threads would wait for each other

LONG = (
    "test_run",
    "test_kills",
    "test_cluster",
    "test_verify",
    "test_train_command",
    "test_attack_suite",
    "test_frozen",
)
"""Files with the longest tests. They begin, so that none of them runs alone at the end, and are dealt out test by test."""

OWN = {"tmp_path", "tmp_path_factory", "capsys", "capfd", "caplog", "monkeypatch", "request", "recwarn"}
"""Fixtures that every test has to itself."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep tests that share fixtures on one worker; in the long files, a test that shares none is free."""
    for item in items:
        if item.get_closest_marker("xdist_group") is not None:
            continue
        callspec = getattr(item, "callspec", None)
        parameters = set() if callspec is None else set(callspec.params)
        shared = set(getattr(item, "fixturenames", ())) - OWN - parameters
        free = item.path.stem in LONG and not shared
        item.add_marker(pytest.mark.xdist_group(item.nodeid if free else item.path.stem))
    items.sort(key=lambda item: item.path.stem not in LONG)
