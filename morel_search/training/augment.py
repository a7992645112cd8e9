"""Augmentation of a whole batch at once, on the device of the batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from morel_search.training.data_settings import Augmentation

__all__ = ["augment", "resolve_augmentation", "to_float"]

SMALLEST_SHIFT = 4
"""Largest shift of images of at most 32 x 32 pixels, in pixels; usual for CIFAR."""

SHIFT = 8
"""Larger images are shifted by up to their shorter side divided by this, so that a shift means the same."""


def to_float(images: Tensor) -> Tensor:
    """Return uint8 images of any shape as float32 in [0, 1]."""
    return images.to(torch.float32) / 255


def resolve_augmentation(kind: Augmentation, image_shape: tuple[int, int, int]) -> Augmentation:
    """Return the augmentation that ``auto`` selects for images.

    Args:
        kind: The augmentation of the settings.
        image_shape: Channels, height and width.

    Returns:
        For ``auto``, ``crop_flip`` for colour images of at least 32 x 32 pixels and ``none`` for other
        images. Any other kind is returned unchanged.
    """
    if kind != "auto":
        return kind
    channels, height, width = image_shape
    return "crop_flip" if channels == 3 and min(height, width) >= 32 else "none"


def augment(images: Tensor, kind: Augmentation, generator: torch.Generator | None = None) -> Tensor:
    """Shift each image with zeros at the border, and flip half of the images.

    The largest shift is an eighth of the shorter side, and at least four pixels.

    Args:
        images: uint8 or float, shape (N, C, H, W).
        kind: ``none``, ``crop`` (only the shift) or ``crop_flip``; see :func:`resolve_augmentation` for
            ``auto``.
        generator: Random generator of the shifts and flips, on the device of the images.

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
    largest = max(SMALLEST_SHIFT, min(height, width) // SHIFT)
    shifts = torch.randint(0, 2 * largest + 1, (2, count, 1), generator=generator, device=device)
    rows = shifts[0] + torch.arange(height, device=device)
    columns = shifts[1] + torch.arange(width, device=device)
    if kind == "crop_flip":
        flipped = torch.randint(0, 2, (count, 1), generator=generator, device=device, dtype=torch.bool)
        columns = torch.where(flipped, columns.flip(1), columns)
    return _gather(functional.pad(images, [largest] * 4), rows, columns)


def _gather(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Select rows[n] and columns[n] of image n: (N, C, H', W'), (N, H) and (N, W) to (N, C, H, W)."""
    count, channels, _, width = images.shape
    wide = images.gather(2, rows[:, None, :, None].expand(count, channels, rows.shape[1], width))
    return wide.gather(3, columns[:, None, None, :].expand(count, channels, rows.shape[1], columns.shape[1]))
