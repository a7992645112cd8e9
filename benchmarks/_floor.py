"""What the machine can do at the most: the rate of its matrix products and the bandwidth of its memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch.nn.functional import conv2d

SIZE, BYTES = 2048, 2**28


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    synchronise(device)
    began = time.perf_counter()
    work()
    synchronise(device)
    return time.perf_counter() - began


def side_by_side(
    works: Sequence[Callable[[], object]], device: torch.device, repeats: int
) -> list[list[float]]:
    """Seconds of each piece of work, one after the other in every round.

    A first round of all of them does not count.
    """
    times: list[list[float]] = [[] for _ in works]
    for round_ in range(repeats + 1):
        for work, found in zip(works, times, strict=True):
            took = seconds(work, device)
            if round_:
                found.append(took)
    return times


def arithmetic_rate(dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second of a large matrix product or of a large convolution, whichever is faster (on a CPU, libraries differ)."""
    a, b = (torch.randn(SIZE, SIZE, device=device).to(dtype) for _ in range(2))
    maps = torch.randn(64, 256, 16, 16, device=device).to(dtype, memory_format=torch.channels_last)
    kernel = torch.randn(256, 256, 3, 3, device=device).to(dtype, memory_format=torch.channels_last)
    product, convolution = side_by_side([lambda: a @ b, lambda: conv2d(maps, kernel, padding=1)], device, 7)
    counts = 2 * SIZE**3, 2 * maps.numel() * kernel[0].numel()
    return max(
        count / statistics.median(times) for count, times in zip(counts, (product, convolution), strict=True)
    )


def copy_rate(device: torch.device) -> float:
    """Bytes a second, read and written, of a large copy."""
    a = torch.randn(BYTES // 4, device=device)
    b = torch.empty_like(a)
    return 2 * BYTES / statistics.median(side_by_side([lambda: b.copy_(a)], device, 7)[0])
