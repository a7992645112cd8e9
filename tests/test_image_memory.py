"""Images that do not fit into memory are named before a search begins."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from config_files import changed, load

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
        ({"gpu": 2}, 1023 * MIB, "in each of 1 trainings at a time"),
    ],
)
def test_the_images_of_all_trainings_at_a_time_fit(
    tmp_path: Path, resources: dict[str, float], memory: int, text: str
) -> None:
    development = Development(images(700), images(200), ("a",), extra=images(124))
    found = image_memory_warning(load(tmp_path, changed(resources=resources)), development, memory)
    assert text in found
    assert bool(text) == bool(found)


def test_the_memory_of_this_machine_is_measured(tmp_path: Path) -> None:
    space = load(tmp_path, changed(resources={"concurrent": 4}))
    small, huge = (Development(images(count), images(1), ("a",)) for count in (1, 100 * MIB))
    assert image_memory_warning(space, small) == ""
    assert "but this machine has" in image_memory_warning(space, huge)
