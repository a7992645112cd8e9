"""Attacked test images of a run, and their limits.

A verification makes them: test images, the adversarial examples that an attack found for some networks
of the front, and what the networks predict before and after it. Pixels have 8 bits, as in the data set. The
predictions are those of exactly these pixels, unless the images were reduced for the page.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "LONGEST_NAME",
    "MOST_IMAGES",
    "MOST_NETWORKS",
    "MOST_SIDE",
    "PIXEL_BYTES",
    "CleanImage",
    "NetworkPictures",
    "Picture",
    "Pictures",
    "Pixels",
    "Prediction",
]

MOST_NETWORKS, MOST_IMAGES = 3, 6
"""Largest numbers of networks, and of images of each."""

MOST_SIDE = 64
"""Largest height and width of an image in the file; larger images are reduced."""

PIXEL_BYTES = 200_000
"""Largest size of the pixels of a file, as text."""

LONGEST_NAME = 40
"""Characters of a class name that are kept."""

Pixels = NDArray[np.uint8]
"""An image, shape (channels, height, width), with 1 or 3 channels."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction of a network for an image.

    Attributes:
        label: Number of the class with the largest logit.
        name: Name of this class.
        probability: Its probability by the softmax of the logits.
    """

    label: int
    name: str
    probability: float


@dataclass(frozen=True, slots=True, eq=False)
class CleanImage:
    """A test image.

    Attributes:
        index: Its index in the test split.
        label: Number of its class.
        name: Name of its class.
        pixels: The image.
    """

    index: int
    label: int
    name: str
    pixels: Pixels


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """The adversarial example of one test image for one network.

    Attributes:
        pixels: The adversarial example, of the image's shape.
        before: The prediction on the test image.
        after: The prediction on the adversarial example.
    """

    pixels: Pixels
    before: Prediction
    after: Prediction


@dataclass(frozen=True, slots=True, eq=False)
class NetworkPictures:
    """The adversarial examples for one network.

    Attributes:
        name: Name of the network.
        weights: SHA-256 of the file with its weights.
        pictures: One for each test image, in their order.
    """

    name: str
    weights: str
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """The attacked images of a run.

    Attributes:
        norm: Norm of the attack, ``linf`` or ``l2``.
        epsilon: Its radius, as in the space file.
        steps: Its number of gradient steps against each wrong class.
        targets: Its number of wrong classes, at most.
        data: SHA-256 of the images and labels of the test split.
        passed_over: Number of images that came earlier in the order of the verification and were not taken,
            because one of the networks misclassifies them without an attack.
        reduction: Factor by which height and width were reduced; 1 if they were not.
        images: The test images.
        networks: The networks.
    """

    norm: str
    epsilon: str
    steps: int
    targets: int
    data: str
    passed_over: int
    reduction: int
    images: tuple[CleanImage, ...]
    networks: tuple[NetworkPictures, ...]
