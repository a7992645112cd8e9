"""What every reader of images gives: the labels at once, the images when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

__all__ = ["Source", "Split"]

Split = Literal["development", "test"]


@dataclass(frozen=True, eq=False)
class Source:
    """One split of a data set, not yet decoded.

    Attributes:
        labels: Integers from 0, shape (N,), int64.
        classes: Name of each label.
        read: Indices, shape (M,), to their images, uint8, shape (M, channels, height, width).
    """

    labels: Tensor
    classes: tuple[str, ...]
    read: Callable[[Tensor], Tensor]
