"""Whether a network's predictions are functions of the image alone: not random, and not of the batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from morel_search.training.attacks import attack_mode

__all__ = ["DEPENDS_ON_BATCH", "NOISE", "batch_effect", "randomness"]

NOISE = 1e-3
"""Difference, in standard deviations of the output, up to which two outputs are equal but for rounding."""

FEW_IMAGES = 8

DEPENDS_ON_BATCH = (
    "predicts an image differently in eval mode if the other images of the batch change, so its accuracy is "
    "not defined; use running statistics in batch norms, and pass the argument of train on where train is "
    "overridden"
)
"""The error of a network with a :func:`batch_effect`, after its name."""


def randomness(model: nn.Module, images: Tensor, output: Callable[[Tensor], Tensor] | None = None) -> float:
    """Return the largest difference between the outputs of two passes over the same images in eval mode.

    Args:
        model: The network; its mode and gradients do not change.
        images: Float in [0, 1], shape (N, C, H, W).
        output: The part of the network that is compared; None for its logits.

    Returns:
        The difference in units of the outputs' standard deviation; a dropout layer that remains active gives
        about 1.
    """
    compute = output or model
    with attack_mode(model), torch.no_grad():
        return _difference(compute(images), compute(images))


def batch_effect(model: nn.Module, images: Tensor, output: Callable[[Tensor], Tensor] | None = None) -> float:
    """Return how far an image's output depends on the batch that it is in, in eval mode.

    A batch norm without running statistics, for example, or a network that stays in training mode, normalises
    by the other images. Then the accuracy depends on the batch size, and on which images are still attacked.

    Args:
        model: The network; its mode and gradients do not change.
        images: Float in [0, 1], shape (N, C, H, W); a few of them are used.
        output: The part of the network that is compared; None for its logits.

    Returns:
        The largest difference between the output of an image in the batch, alone, and in a batch with other
        images, in units of the outputs' standard deviation; 0 for a random network, where it cannot be
        measured, and infinity if the network cannot take a single image.
    """
    compute, images = output or model, images[:FEW_IMAGES]
    if randomness(model, images, output) > NOISE:
        return 0.0
    with attack_mode(model), torch.no_grad():
        together = compute(images)
        half = (len(images) + 1) // 2
        halves = torch.cat([compute(part) for part in (images[:half], images[half:]) if len(part)])
        try:
            alone = torch.cat([compute(image.unsqueeze(0)) for image in images])
        except ValueError:  # batch norm in training mode raises it where it has one value for each channel
            return float("inf")
        reversed_ = compute(images.flip(0)).flip(0)
        return max(_difference(together, other) for other in (halves, alone, reversed_))


def _difference(first: Tensor, second: Tensor) -> float:
    """Return the largest difference of finite values, in standard deviations of the first; 0 without any."""
    finite = torch.isfinite(first) & torch.isfinite(second)
    if not finite.any():
        return 0.0
    deviation = float(first[finite].std(correction=0)) or 1.0
    return float((first - second)[finite].abs().max()) / deviation
