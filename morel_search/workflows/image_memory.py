"""A warning before a search whose images do not fit into memory: each training process keeps them all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from morel_search._machine import memory_bytes
from morel_search.cluster.placement import local_places
from morel_search.config import Space

if TYPE_CHECKING:
    from morel_search.training.datasets.loading import Development

__all__ = ["image_memory_warning"]

GIB = 2**30


def image_memory_warning(space: Space, development: Development, memory: int | None = None) -> str:
    """Return why the images of all trainings that run at a time may not fit into memory; empty if they do.

    Training, validation and extra images lie in the memory of the device as 8-bit numbers, once for each
    training that runs there.

    Args:
        space: The space; its resources say how many trainings run at a time.
        development: The images.
        memory: Bytes of memory of the device; None measures this machine, or its first GPU.
    """
    resources = space.resources
    sets = (development.train, development.validation, development.extra)
    size = sum(images.images.nbytes for images in sets if images is not None)
    if resources.gpu:
        count, device = local_places(resources, 1), "a GPU"
        memory = memory or _gpu_bytes()
    else:
        count, device = local_places(resources, 0), "this machine"
        memory = memory or memory_bytes()
    if memory is None or size * count <= memory:
        return ""
    fewer = "raise resources.gpu, or lower" if resources.gpu else "lower resources.concurrent,"
    remedy = f"{fewer} data.image_size or data.limit" if count > 1 else "lower data.image_size or data.limit"
    return (
        f"data: the images take {size / GIB:,.1f} GiB in each of {count} trainings at a time, "
        f"{size * count / GIB:,.1f} GiB in all, but {device} has {memory / GIB:,.1f} GiB; {remedy}"
    )


def _gpu_bytes() -> int | None:
    import torch

    if not torch.cuda.is_available():
        return None
    return int(torch.cuda.get_device_properties(0).total_memory)
