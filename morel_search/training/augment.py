"""Augmentation of a whole batch at once, on whichever device holds it."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from morel_search.training.settings import Augmentation

__all__ = ["augment", "resolve_augmentation", "to_float"]

PADDING = 4
"""Pixels of zeros on each side of an image before the crop, as is usual at 32 x 32."""


def to_float(images: Tensor) -> Tensor:
    """Images of 0 to 255 (uint8) as float32 in [0, 1]; any shape."""
    return images.to(torch.float32) / 255


def resolve_augmentation(kind: Augmentation, image_shape: tuple[int, int, int]) -> Augmentation:
    """What ``auto`` stands for.

    Args:
        kind: As in the settings.
        image_shape: Channels, height and width.

    Returns:
        ``crop_flip`` for colour images of at least 32 x 32 pixels, ``none`` for others; any other kind as it
        is.
    """
    if kind != "auto":
        return kind
    channels, height, width = image_shape
    return "crop_flip" if channels == 3 and min(height, width) >= 32 else "none"


def augment(images: Tensor, kind: Augmentation, generator: torch.Generator | None = None) -> Tensor:
    """Shift each image by up to four pixels, filling with zeros, and mirror half of them.

    Args:
        images: uint8 or float, shape (N, C, H, W).
        kind: ``none``, ``crop`` (the shift alone) or ``crop_flip``; resolve ``auto`` first.
        generator: Source of the shifts and flips, on the images' device.

    Returns:
        Images of the same shape, type and device.

    Raises:
        ValueError: The kind is ``auto`` or unknown.
    """
    if kind == "none":
        return images
    if kind not in ("crop", "crop_flip"):
        raise ValueError(f"augmentation must be none, crop or crop_flip here, got {kind}")
    count, _, height, width = images.shape
    device = images.device
    shifts = torch.randint(0, 2 * PADDING + 1, (2, count, 1), generator=generator, device=device)
    rows = shifts[0] + torch.arange(height, device=device)
    columns = shifts[1] + torch.arange(width, device=device)
    if kind == "crop_flip":
        flipped = torch.randint(0, 2, (count, 1), generator=generator, device=device, dtype=torch.bool)
        columns = torch.where(flipped, columns.flip(1), columns)
    return _gather(functional.pad(images, [PADDING] * 4), rows, columns)


def _gather(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The pixels of image n at rows[n] and columns[n]: (N, C, H', W'), (N, H) and (N, W) to (N, C, H, W)."""
    count, channels, _, width = images.shape
    wide = images.gather(2, rows[:, None, :, None].expand(count, channels, rows.shape[1], width))
    return wide.gather(3, columns[:, None, None, :].expand(count, channels, rows.shape[1], columns.shape[1]))
