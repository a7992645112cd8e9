"""Wide residual networks (Zagoruyko and Komodakis, arXiv 1605.07146)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from morel_search.errors import NetworkError
from morel_search.training.networks.classifier import BatchNorm, Encoder, initialise_convolutions
from morel_search.training.networks.options import MAX_LAYERS, check_image, share, whole

__all__ = ["WideResNet", "wideresnet28_10", "wideresnet34_10"]


class WideBlock(nn.Module):
    """F(a) + shortcut, a = relu(BN(x)).

    The shortcut is x itself, or a 1 x 1 convolution of a if the width or the size changes.
    """

    def __init__(self, channels: int, planes: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = BatchNorm(channels)
        self.conv1 = nn.Conv2d(channels, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = BatchNorm(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout) if dropout else nn.Identity()
        same = stride == 1 and channels == planes
        self.shortcut = None if same else nn.Conv2d(channels, planes, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps, shape (N, channels, H, W), to (N, planes, H / stride, W / stride)."""
        active = functional.relu(self.bn1(x))
        kept: Tensor = x if self.shortcut is None else self.shortcut(active)
        out: Tensor = self.conv2(self.dropout(functional.relu(self.bn2(self.conv1(active)))))
        return out + kept


class WideResNet(Encoder):
    """Three groups of blocks with 16 k, 32 k and 64 k channels, k being the widening factor.

    Args:
        channels: Channels of the images.
        blocks: Number of blocks in each group.
        width: Widening factor k.
        dropout: Dropout probability inside a block.
    """

    def __init__(self, channels: int, blocks: int, width: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        layers: list[nn.Module] = []
        before = 16
        for group in range(3):
            planes = 16 * width * 2**group
            for number in range(blocks):
                layers.append(WideBlock(before, planes, 2 if group and not number else 1, dropout))
                before = planes
        self.blocks = nn.Sequential(*layers)
        self.bn = BatchNorm(before)
        self.feature_dim = before
        initialise_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Features, shape (N, 64 width), of images, shape (N, C, H, W)."""
        maps = functional.relu(self.bn(self.blocks(self.conv(x))))
        return maps.mean(dim=(2, 3))


def wideresnet28_10(
    image_shape: tuple[int, int, int], *, depth: object = 28, width: object = 10, dropout: object = 0.0
) -> WideResNet:
    """Build WRN-28-10, or another depth and width.

    Args:
        image_shape: Channels, height and width; at least 4 x 4 pixels, which become 1 x 1.
        depth: Number of layers, 6 n + 4.
        width: Widening factor.
        dropout: Dropout probability inside a block, in [0, 1).

    Raises:
        NetworkError: An option or the image does not fit.
    """
    channels = check_image(image_shape, 4)
    layers = whole("depth", depth, 10, MAX_LAYERS)
    if (layers - 4) % 6:
        raise NetworkError(f"option depth must be 6 n + 4 (10, 16, 22, 28, 34, ...), got {layers}")
    return WideResNet(channels, (layers - 4) // 6, whole("width", width), share("dropout", dropout))


def wideresnet34_10(
    image_shape: tuple[int, int, int], *, depth: object = 34, width: object = 10, dropout: object = 0.0
) -> WideResNet:
    """Build WRN-34-10; arguments as in :func:`wideresnet28_10`."""
    return wideresnet28_10(image_shape, depth=depth, width=width, dropout=dropout)
