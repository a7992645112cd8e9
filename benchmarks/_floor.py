"""Upper limits of the machine: the rate of its matrix products and the bandwidth of its memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import conv2d

SIZE, BYTES = 2048, 2**28


def synchronise(device: torch.device) -> None:
    """Wait until a GPU has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Measure the seconds of one call."""
    synchronise(device)
    began = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - began


def side_by_side(
    works: Sequence[Callable[[], object]], device: torch.device, repeats: int
) -> list[list[float]]:
    """Measure functions in turns, so that a change of the machine's load affects all of them.

    Args:
        works: The functions.
        device: The device on which they compute.
        repeats: Number of measured rounds; a round before them is not measured.

    Returns:
        The seconds of each function in each round.
    """
    times: list[list[float]] = [[] for _ in works]
    for round_number in range(repeats + 1):
        for work, measured in zip(works, times, strict=True):
            duration = seconds(work, device)
            if round_number:
                measured.append(duration)
    return times


def arithmetic_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Measure the operations a second of a large matrix product and of a large convolution.

    Returns:
        The higher rate; which one it is differs between the libraries of CPUs.
    """
    a, b = (torch.randn(SIZE, SIZE, device=device).to(dtype) for _ in range(2))
    maps = torch.randn(64, 256, 16, 16, device=device).to(dtype, memory_format=torch.channels_last)
    kernel = torch.randn(256, 256, 3, 3, device=device).to(dtype, memory_format=torch.channels_last)
    product, convolution = side_by_side([lambda: a @ b, lambda: conv2d(maps, kernel, padding=1)], device, 7)
    counts = 2 * SIZE**3, 2 * maps.numel() * kernel[0].numel()
    return max(
        count / statistics.median(times) for count, times in zip(counts, (product, convolution), strict=True)
    )


def copy_rate(device: torch.device) -> float:
    """Measure the bytes a second, read and written, of a large copy."""
    a = torch.randn(BYTES // 4, device=device)
    b = torch.empty_like(a)
    return 2 * BYTES / statistics.median(side_by_side([lambda: b.copy_(a)], device, 7)[0])
