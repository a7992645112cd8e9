"""The batches of an epoch: training images in random order, and a share of extra images in each batch."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["batch_sizes", "draw"]


def batch_sizes(count: int, size: int) -> list[int]:
    """Return the sizes of consecutive batches of ``count`` images.

    A single image that is left over joins the batch before it, as batch norm has no variance of one.
    """
    sizes = [min(size, count - begin) for begin in range(0, count, size)]
    if len(sizes) > 1 and sizes[-1] == 1:
        sizes[-2:] = [sizes[-2] + 1]
    return sizes


def draw(
    count: int,
    size: int,
    generator: torch.Generator,
    *,
    extra: int = 0,
    share: float = 0.0,
    device: torch.device | str = "cpu",
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the numbers of the extra images and of the training images of each batch.

    With extra images, an epoch has as many batches of the same sizes as without. The training images of an
    epoch are then a part of a random order, each at most once. Extra images are in random order too; none is
    drawn twice in an epoch before all have been.

    Args:
        count: Number of training images.
        size: Number of images in a batch.
        generator: Random generator of both orders, on the CPU.
        extra: Number of extra images.
        share: Fraction of a batch that is extra images; with extra images, a batch of at least two images has
            at least one of both kinds.
        device: Device of the numbers; each order is moved to it once.
    """
    sizes = batch_sizes(count, size)
    order = torch.split(torch.randperm(count, generator=generator).to(device), sizes)
    counts = [min(length - 1, max(1, round(share * length))) if extra else 0 for length in sizes]
    drawn = torch.split(_repeated_order(extra, sum(counts), generator).to(device), counts)
    for added, chosen in zip(drawn, order, strict=True):
        yield added, chosen[len(added) :]


def _repeated_order(count: int, length: int, generator: torch.Generator) -> Tensor:
    """Return the first numbers of random orders of ``count`` images, one order after the other."""
    if not length:
        return torch.zeros(0, dtype=torch.int64)
    orders = [torch.randperm(count, generator=generator) for _ in range(-(-length // count))]
    return torch.cat(orders)[:length]
