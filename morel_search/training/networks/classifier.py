"""The parts of every network: normalisation, encoder and linear head."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = [
    "BatchNorm",
    "Classifier",
    "Encoder",
    "Normalize",
    "Parts",
    "count_batches",
    "initialise_convolutions",
]


class Encoder(nn.Module):
    """A network without its last layer: (N, C, H, W) images to (N, ``feature_dim``) features."""

    feature_dim: int


class Parts(NamedTuple):
    """A network in two parts.

    Attributes:
        encoder: Images to features, shape (N, ``feature_dim``).
        head: Features to logits.
        feature_dim: Length of a feature vector.
    """

    encoder: nn.Module
    head: nn.Module
    feature_dim: int


class Normalize(nn.Module):
    """(x - mean) / std, for each channel.

    Args:
        mean: One number for each channel, in units of the pixel range [0, 1].
        std: One number for each channel, > 0.
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1))
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1))
        self.mean: Tensor
        self.std: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Normalise images, shape (N, C, H, W)."""
        return (x - self.mean) / self.std


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation that accepts a single value for each channel in training mode.

    torch refuses one image with a map of 1 x 1, which has no variance. Such a batch is normalised with the
    running statistics, and does not change them. The number of batches is not counted here but by
    :func:`count_batches`, for all layers in one operation.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise maps, shape (N, C, H, W)."""
        if self.momentum is None:
            return super().forward(x)
        training = self.training and x.shape[0] * x.shape[2] * x.shape[3] > 1
        return functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training,
            self.momentum,
            self.eps,
        )


class Classifier(nn.Module):
    """A network that classifies images in [0, 1].

    The normalisation is part of the network, so that an epsilon is always in units of the pixel range.

    Args:
        parts: Encoder, from normalised images to features, and head.
        mean: Mean of each channel, which is subtracted.
        std: Standard deviation of each channel, by which the difference is divided.

    Attributes:
        encoder: Normalisation and encoder: images in [0, 1] to features.
        head: The last layer, or another module from features to logits.
        feature_dim: Length of a feature vector.
    """

    def __init__(self, parts: Parts, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.encoder = nn.Sequential(Normalize(mean, std), parts.encoder)
        self.head = parts.head
        self.feature_dim = parts.feature_dim

    def features(self, x: Tensor) -> Tensor:
        """Features, shape (N, feature_dim), of images in [0, 1], shape (N, C, H, W)."""
        features: Tensor = self.encoder(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, classes), of images in [0, 1], shape (N, C, H, W).

        Under autocast the encoder computes in its precision, the head in float32.
        """
        features, device = self.features(x), x.device.type
        if torch.is_autocast_enabled(device):
            with torch.autocast(device, enabled=False):
                logits: Tensor = self.head(features.float())
        else:
            logits = self.head(features)
        return logits


@torch.no_grad()
def count_batches(network: nn.Module, passes: int) -> None:
    """Add a number of passes in training mode to ``num_batches_tracked`` of every :class:`BatchNorm`."""
    counts = [
        part.num_batches_tracked
        for part in network.modules()
        if isinstance(part, BatchNorm) and part.num_batches_tracked is not None and part.momentum is not None
    ]
    if counts:
        torch._foreach_add_(counts, passes)


def initialise_convolutions(module: nn.Module) -> None:
    """Initialise every convolution as He et al. (arXiv 1502.01852), by fan-out, with biases of 0."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
