"""Images that do not fit into memory are named before a search begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from config_files import changed, load

from morel_search.cluster import placement
from morel_search.config import ResourceSettings
from morel_search.training.datasets.loading import Development, ImageSet
from morel_search.workflows.image_memory import image_memory_warning

MIB = 2**20


def images(count: int) -> ImageSet:
    """Return images of a mebibyte each."""
    return ImageSet(torch.zeros(1, dtype=torch.uint8).expand(count, 1, 1024, 1024), torch.zeros(count).long())


@pytest.mark.parametrize(
    ("resources", "memory", "text"),
    [
        ({"concurrent": 2}, 2048 * MIB, ""),
        ({"concurrent": 2}, 2047 * MIB, "1.0 GiB in each of 2 trainings at a time, 2.0 GiB in all"),
        ({"concurrent": 1}, 1024 * MIB, ""),
        ({"gpu": 1}, 1023 * MIB, "in each of 1 trainings at a time, 1.0 GiB in all, but a GPU has 1.0 GiB"),
        ({"gpu": 0.25}, 4096 * MIB, ""),
        ({"gpu": 0.25}, 4095 * MIB, "in each of 4 trainings at a time, 4.0 GiB in all"),
        ({"gpu": 0.25, "concurrent": 2}, 2048 * MIB, ""),
        ({"gpu": 0.25, "cpu": 8}, 2048 * MIB, ""),
        ({"gpu": 0.25, "cpu": 8}, 2047 * MIB, "in each of 2 trainings at a time"),
        ({"concurrent": 100, "cpu": 2}, 8192 * MIB, ""),
        ({"gpu": 0.1}, 10239 * MIB, "in each of 10 trainings at a time"),
        ({"gpu": 2}, 1023 * MIB, "in each of 1 trainings at a time"),
        ({"gpu": 1}, 1023 * MIB, "GiB; lower data.image_size or data.limit"),
        ({"gpu": 0.5}, 1025 * MIB, "GiB; raise resources.gpu, or lower data.image_size or data.limit"),
        ({"concurrent": 2}, 1025 * MIB, "GiB; lower resources.concurrent, data.image_size or data.limit"),
    ],
)
def test_the_images_of_all_trainings_at_a_time_fit(
    tmp_path: Path,
    resources: dict[str, float],
    memory: int,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """On a machine with 16 cores; resources.concurrent and the cores limit the trainings on a GPU, too."""
    monkeypatch.setattr(placement, "usable_cpus", lambda: 16)
    development = Development(images(700), images(200), ("a",), extra=images(124))
    found = image_memory_warning(load(tmp_path, changed(resources=resources)), development, memory)
    assert text in found
    assert bool(text) == bool(found)


def test_the_memory_of_this_machine_is_measured(tmp_path: Path) -> None:
    space = load(tmp_path, changed(resources={"concurrent": 4}))
    small, huge = (Development(images(count), images(1), ("a",)) for count in (1, 100 * MIB))
    assert image_memory_warning(space, small) == ""
    assert "but this machine has" in image_memory_warning(space, huge)


@pytest.mark.parametrize(
    ("resources", "gpus", "count"),
    [
        ({}, 0, 6),
        ({"cpu": 0.2}, 0, 30),
        ({"cpu": 0.1}, 0, 60),
        ({"cpu": 4}, 0, 1),
        ({"concurrent": 100}, 0, 6),
        ({"concurrent": 2}, 0, 2),
        ({"gpu": 1}, 1, 1),
        ({"gpu": 1}, 4, 4),
        ({"gpu": 0.1, "cpu": 0.5}, 1, 10),
        ({"gpu": 0.3}, 1, 3),
        ({"gpu": 0.01}, 1, 6),
    ],
)
def test_the_trials_that_run_at_a_time(
    resources: dict[str, Any], gpus: int, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here and on a cluster: six cores."""
    settings = ResourceSettings(**resources)
    monkeypatch.setattr(placement, "usable_cpus", lambda: 6)
    assert placement.local_places(settings, gpus) == count
    machine = {"Resources": {"CPU": 6.0, "GPU": float(gpus)}}
    monkeypatch.setattr(placement, "machines_for", lambda _: [machine])
    assert placement.concurrency(settings) == count
