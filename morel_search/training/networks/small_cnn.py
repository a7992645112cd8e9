"""A small convolutional network for small images; a search with it takes minutes on a CPU."""

from __future__ import annotations

from torch import Tensor, nn

from morel_search.training.networks.classifier import BatchNorm, Encoder, initialise_convolutions
from morel_search.training.networks.options import check_image, one_of, whole

__all__ = ["SmallCNN", "small_cnn"]


class SmallCNN(Encoder):
    """Three 3 x 3 convolutions with batch normalisation and ReLU.

    The second and the third halve the map and double the width.

    Args:
        channels: Channels of the images.
        width: Channels of the first convolution.
        flat: Number of pixels of the last map if it is flattened into the features; 0 if it is averaged.
    """

    def __init__(self, channels: int, width: int, flat: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for planes, stride in ((width, 1), (2 * width, 2), (4 * width, 2)):
            layers += [
                nn.Conv2d(channels, planes, 3, stride=stride, padding=1, bias=False),
                BatchNorm(planes),
                nn.ReLU(),
            ]
            channels = planes
        self.layers = nn.Sequential(*layers)
        self.flat = flat > 0
        self.feature_dim = 4 * width * max(1, flat)
        initialise_convolutions(self)

    def forward(self, x: Tensor) -> Tensor:
        """Features, shape (N, feature_dim), of images, shape (N, C, H, W)."""
        maps: Tensor = self.layers(x)
        return maps.flatten(1) if self.flat else maps.mean(dim=(2, 3))


def small_cnn(
    image_shape: tuple[int, int, int], *, width: object = 16, pooling: object = "flatten"
) -> SmallCNN:
    """Build the small network.

    Args:
        image_shape: Channels, height and width; at least 4 x 4 pixels.
        width: Channels of the first convolution.
        pooling: ``flatten`` keeps the pixels of the last map as features, ``global`` averages them.

    Raises:
        NetworkError: An option or the image does not fit.
    """
    channels = check_image(image_shape, 4)
    pixels = -(-image_shape[1] // 4) * -(-image_shape[2] // 4)
    flat = one_of("pooling", pooling, ("flatten", "global")) == "flatten"
    return SmallCNN(channels, whole("width", width), pixels if flat else 0)
