"""A vision transformer for small images (Dosovitskiy et al., arXiv 2010.11929)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from morel_search.errors import NetworkError
from morel_search.training.networks.classifier import Encoder
from morel_search.training.networks.options import MAX_LAYERS, check_image, share, whole

__all__ = ["VisionTransformer", "vit"]


class SelfAttention(nn.Module):
    """Multi-head self-attention as matrix products.

    With about 65 tokens this takes little time, and the gradient is the same in every run.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens, shape (N, T, width), to the same shape."""
        count, tokens, width = x.shape
        query, key, value = (
            self.qkv(x).view(count, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        )
        weights = (self.scale * query @ key.transpose(-2, -1)).softmax(dim=-1)
        mixed: Tensor = self.out((weights @ value).transpose(1, 2).reshape(count, tokens, width))
        return mixed


class TransformerLayer(nn.Module):
    """x + attention(LN(x)), then x + MLP(LN(x))."""

    def __init__(self, width: int, heads: int, mlp: int, dropout: float) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, eps=1e-6), SelfAttention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(width, mlp), nn.GELU(), nn.Dropout(dropout), nn.Linear(mlp, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens, shape (N, T, width), to the same shape."""
        x = x + self.dropout(self.attention(self.norm1(x)))
        out: Tensor = x + self.dropout(self.mlp(self.norm2(x)))
        return out


class VisionTransformer(Encoder):
    """Patches as tokens after one class token, whose last state is the feature vector.

    Args:
        channels: Channels of the images.
        patches: Number of patches.
        patch: Side of a patch, in pixels.
        width: Length of a token.
        depth: Number of layers.
        heads: Number of attention heads; it divides the width.
        mlp: Width of the hidden layer between two attentions.
        dropout: Dropout probability after each attention and each MLP.
    """

    def __init__(
        self,
        channels: int,
        patches: int,
        patch: int,
        width: int,
        depth: int,
        heads: int,
        mlp: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.embed = nn.Conv2d(channels, width, patch, stride=patch)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, patches + 1, width))
        self.layers = nn.Sequential(*(TransformerLayer(width, heads, mlp, dropout) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.feature_dim = width
        self._initialise()

    def _initialise(self) -> None:
        """Draw weights and positions from a truncated normal distribution (deviation 0.02); biases are 0."""
        for part in self.modules():
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                nn.init.zeros_(part.bias)
        nn.init.trunc_normal_(self.position, std=0.02)
        nn.init.trunc_normal_(self.token, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Features, shape (N, width), of images, shape (N, C, H, W)."""
        patches = self.embed(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.token.expand(len(x), -1, -1), patches], dim=1) + self.position
        features: Tensor = self.norm(self.layers(tokens)[:, 0])
        return features


def vit(
    image_shape: tuple[int, int, int],
    *,
    patch: object = 4,
    width: object = 256,
    depth: object = 1,
    heads: object = 4,
    mlp: object = None,
    dropout: object = 0.0,
) -> VisionTransformer:
    """Build the transformer; the defaults are the one-layer transformer of MOREL.

    Args:
        image_shape: Channels, height and width; the patch must divide height and width.
        patch: Side of a patch, in pixels.
        width: Length of a token; a multiple of ``heads``.
        depth: Number of layers.
        heads: Number of attention heads.
        mlp: Width of the hidden layer; None means four times the width.
        dropout: Dropout probability, in [0, 1).

    Raises:
        NetworkError: An option or the image does not fit.
    """
    side = whole("patch", patch)
    channels = check_image(image_shape, side)
    rows, columns = image_shape[1] // side, image_shape[2] // side
    if (rows * side, columns * side) != image_shape[1:]:
        raise NetworkError(
            f"option patch {side} does not divide images of {channels} x {image_shape[1]} x {image_shape[2]}"
        )
    length, head_count = whole("width", width), whole("heads", heads)
    if length % head_count:
        raise NetworkError(f"option heads must divide option width, got {head_count} and {length}")
    return VisionTransformer(
        channels,
        rows * columns,
        side,
        length,
        whole("depth", depth, at_most=MAX_LAYERS),
        head_count,
        4 * length if mlp is None else whole("mlp", mlp),
        share("dropout", dropout),
    )
