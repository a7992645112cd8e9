"""The teacher of a training: a finished network that answers each batch, and does not change."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from morel_search.training.compute import autocast, supports_channels_last, to_memory_format
from morel_search.training.compute_settings import FLOAT32, Compute

__all__ = ["Teacher"]


class Teacher:
    """A network in eval mode without gradients. It is no part of the state of a training.

    Args:
        network: Images in [0, 1], shape (N, C, H, W), to logits, shape (N, classes). It is moved to the
            images' device, set to eval mode, and frozen.
        images: A few images, on the device of the training.
        compute: The arithmetic of the training; a teacher is not compiled.
    """

    def __init__(self, network: nn.Module, images: Tensor, compute: Compute = FLOAT32) -> None:
        self._network = network.to(images.device).eval().requires_grad_(False)
        self._compute = compute
        self._channels_last = compute.channels_last and supports_channels_last(network, images[:2])
        if self._channels_last:
            network.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Logits in float32, shape (N, classes), of float32 images, shape (N, C, H, W)."""
        images = to_memory_format(self._compute, images) if self._channels_last else images.contiguous()
        with autocast(self._compute, images.device):
            logits: Tensor = self._network(images)
        return logits.float()
