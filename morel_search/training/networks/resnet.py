"""ResNet-18 and PreActResNet-18 with the stem for small images: 3 x 3, no stride, no pooling."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from morel_search.training.networks.classifier import BatchNorm, Encoder, initialise_convolutions
from morel_search.training.networks.options import check_image, whole

__all__ = ["PreActResNet18", "ResNet18", "preact_resnet18", "resnet18"]


def conv3x3(channels: int, planes: int, stride: int = 1) -> nn.Conv2d:
    """Return a 3 x 3 convolution without bias; height and width are divided by the stride."""
    return nn.Conv2d(channels, planes, 3, stride=stride, padding=1, bias=False)


class BasicBlock(nn.Module):
    """relu(F(x) + shortcut(x)) with F = BN conv ReLU BN conv (He et al., arXiv 1512.03385, figure 2)."""

    def __init__(self, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv3x3(channels, planes, stride), BatchNorm(planes)
        self.conv2, self.bn2 = conv3x3(planes, planes), BatchNorm(planes)
        same = stride == 1 and channels == planes
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(nn.Conv2d(channels, planes, 1, stride=stride, bias=False), BatchNorm(planes))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Maps, shape (N, channels, H, W), to (N, planes, H / stride, W / stride)."""
        out = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class PreActBlock(nn.Module):
    """F(a) + shortcut(a) with a = relu(BN(x)) (He et al., arXiv 1603.05027, figure 4e).

    The shortcut is a 1 x 1 convolution, or x itself if the size is the same.
    """

    def __init__(self, channels: int, planes: int, stride: int) -> None:
        super().__init__()
        self.bn1, self.conv1 = BatchNorm(channels), conv3x3(channels, planes, stride)
        self.bn2, self.conv2 = BatchNorm(planes), conv3x3(planes, planes)
        same = stride == 1 and channels == planes
        self.shortcut = None if same else nn.Conv2d(channels, planes, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps, shape (N, channels, H, W), to (N, planes, H / stride, W / stride)."""
        active = functional.relu(self.bn1(x))
        kept: Tensor = x if self.shortcut is None else self.shortcut(active)
        out: Tensor = self.conv2(functional.relu(self.bn2(self.conv1(active))))
        return out + kept


def stages(block: type[BasicBlock] | type[PreActBlock], width: int) -> nn.Sequential:
    """Return four stages of two blocks; each stage after the first doubles the width and halves the map."""
    blocks: list[nn.Module] = []
    channels = width
    for stage in range(4):
        planes = width * 2**stage
        blocks += [block(channels, planes, 1 if stage == 0 else 2), block(planes, planes, 1)]
        channels = planes
    return nn.Sequential(*blocks)


class ResNet18(Encoder):
    """ResNet-18 for small images (He et al., arXiv 1512.03385).

    Args:
        channels: Channels of the images.
        width: Channels of the first stage.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv, self.bn = conv3x3(channels, width), BatchNorm(width)
        self.stages = stages(BasicBlock, width)
        self.feature_dim = 8 * width
        initialise_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Features, shape (N, 8 width), of images, shape (N, C, H, W)."""
        maps: Tensor = self.stages(functional.relu(self.bn(self.conv(x))))
        return maps.mean(dim=(2, 3))


class PreActResNet18(Encoder):
    """PreActResNet-18 for small images (He et al., arXiv 1603.05027).

    No normalisation follows the last addition, as in the usual implementations for CIFAR.

    Args:
        channels: Channels of the images.
        width: Channels of the first stage.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = conv3x3(channels, width)
        self.stages = stages(PreActBlock, width)
        self.feature_dim = 8 * width
        initialise_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Features, shape (N, 8 width), of images, shape (N, C, H, W)."""
        maps: Tensor = self.stages(self.conv(x))
        return maps.mean(dim=(2, 3))


def resnet18(image_shape: tuple[int, int, int], *, width: object = 64) -> ResNet18:
    """Build ResNet-18.

    Args:
        image_shape: Channels, height and width; at least 8 x 8 pixels, which become 1 x 1.
        width: Channels of the first stage.

    Raises:
        NetworkError: An option or the image does not fit.
    """
    return ResNet18(check_image(image_shape, 8), whole("width", width))


def preact_resnet18(image_shape: tuple[int, int, int], *, width: object = 64) -> PreActResNet18:
    """Build PreActResNet-18; arguments as in :func:`resnet18`."""
    return PreActResNet18(check_image(image_shape, 8), whole("width", width))
