"""What every network is here: normalisation and encoder, then a linear head."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["BatchNorm", "Classifier", "Encoder", "Normalize", "initialise_convolutions"]


class Encoder(nn.Module):
    """A network without its last layer: images, shape (N, C, H, W), to features, shape (N, ``feature_dim``)."""

    feature_dim: int


class Normalize(nn.Module):
    """(x - mean) / std, for each channel.

    Args:
        mean: One number a channel, in units of the pixel range [0, 1].
        std: One number a channel, above 0.
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
    """Batch normalisation that also takes a single value a channel in training mode.

    One image whose map has shrunk to 1 x 1 has no variance, and torch refuses it; such a batch is normalised
    by the running statistics, which it does not change.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise maps, shape (N, C, H, W)."""
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        return super().forward(x)


class Classifier(nn.Module):
    """A network that classifies images in [0, 1]; its normalisation is part of it, so that an epsilon is always in pixel units.

    Args:
        encoder: Normalised images to features.
        head: Features to logits.
        mean: Mean that is taken from each channel.
        std: What each channel is then divided by.

    Attributes:
        encoder: Normalisation and encoder: images in [0, 1] to features.
        head: The last layer.
        feature_dim: Length of a feature vector.
    """

    def __init__(
        self, encoder: nn.Module, head: nn.Linear, mean: Sequence[float], std: Sequence[float]
    ) -> None:
        super().__init__()
        self.encoder = nn.Sequential(Normalize(mean, std), encoder)
        self.head = head
        self.feature_dim = head.in_features

    def features(self, x: Tensor) -> Tensor:
        """Features, shape (N, feature_dim), of images in [0, 1], shape (N, C, H, W)."""
        features: Tensor = self.encoder(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, classes), of images in [0, 1], shape (N, C, H, W)."""
        logits: Tensor = self.head(self.features(x))
        return logits


def initialise_convolutions(module: nn.Module) -> None:
    """Draw the weights of every convolution as He et al. (arXiv 1502.01852) do, by fan-out.

    Biases become 0.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
