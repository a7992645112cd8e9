"""Adversarial examples with 8 bits, and what a network says of them; a worker's part of the pictures.

The attack is PGD on targeted margins, once for each of the most likely wrong classes. Each change of a pixel
is rounded to whole 8-bit levels and stays in the ball; of the rounded images, the one with the largest margin
is taken. A network's predictions are those of this rounded image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, floor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from morel_search._user_code import named_errors
from morel_search.errors import OutOfMemoryError
from morel_search.results.pictures import MOST_SIDE, Picture, Prediction
from morel_search.verification.worker import WorkerSetup, images_for, model_for

if TYPE_CHECKING:
    from torch import Tensor, nn

    from morel_search.training.settings import AttackSettings

__all__ = ["STEPS", "TARGETS", "AttackedImages", "attack_images", "draw_network", "eight_bit"]

STEPS, TARGETS = 20, 9
"""Gradient steps of the attack against each wrong class, and the number of wrong classes."""

SHRINKING = 0.98
"""Factor by which an L2 perturbation is shortened until its rounded form is in the ball."""

Levels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class AttackedImages:
    """The adversarial examples for one network.

    Attributes:
        clean: The test images, shape (N, channels, height, width), reduced to at most :data:`MOST_SIDE`.
        labels: Their classes, shape (N,).
        pictures: The adversarial examples, reduced in the same way.
        reduction: Factor by which height and width were reduced.
    """

    clean: Levels
    labels: NDArray[np.int64]
    pictures: tuple[Picture, ...]
    reduction: int


def draw_network(path: str, rows: NDArray[np.int64], setup: WorkerSetup) -> AttackedImages:
    """Attack some images of one network, on a worker.

    Args:
        path: File with the network's weights.
        rows: The images, as indices into the test split.
        setup: The settings of the verification.

    Raises:
        NetworkError: The user's own network raised an error.
        OutOfMemoryError: The memory of the device is too small.
    """
    import torch

    from morel_search.models.checkpoint import load_model

    images, labels = images_for(rows, setup)
    try:
        with named_errors(f"the network in {path}", setup.consent.names):
            classes = load_model(Path(path), setup.consent)[1].classes
            return attack_images(model_for(path, setup.device, setup.consent), images, labels, classes, setup)
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"out of memory: the memory of {images.device} is too small for the attack on {len(rows)} images"
        ) from error


def attack_images(
    model: nn.Module, images: Tensor, labels: Tensor, classes: Sequence[str], setup: WorkerSetup
) -> AttackedImages:
    """Attack images, round the adversarial examples to 8 bits, and predict their classes.

    Args:
        model: Float images in [0, 1], shape (N, C, H, W), to logits; on the images' device.
        images: Such images, with values that are multiples of 1/255.
        labels: Shape (N,).
        classes: Name of each class.
        setup: Norm, radius and arithmetic of the attack.
    """
    from morel_search.training.attacks import attack_mode

    attack = setup.evaluation.attack
    with attack_mode(model):
        clean = _levels(images)
        adversarial = _strongest(model, images, labels, setup)
        before = _predictions(model, images, classes)
        after = _predictions(model, _floats(adversarial, images), classes)
    factor = ceil(max(clean.shape[2:]) / MOST_SIDE)
    if factor > 1:
        changes = _reduced(adversarial, factor) - _reduced(clean, factor)
        clean = np.rint(_reduced(clean, factor)).astype(np.uint8)
        adversarial = eight_bit(clean + changes, clean, attack)
    pictures = tuple(map(Picture, adversarial, before, after))
    return AttackedImages(clean, labels.cpu().numpy(), pictures, factor)


def _strongest(model: nn.Module, images: Tensor, labels: Tensor, setup: WorkerSetup) -> Levels:
    """Attack each wrong class; return, for each image, the rounded example with the largest margin."""
    import torch

    from morel_search.training.attacks import ascend, input_gradient, targeted_margin_objective
    from morel_search.training.evaluation import wrong_classes
    from morel_search.training.evaluation_attacks import quick_attack
    from morel_search.training.frozen import FrozenNetwork

    attack = quick_attack(
        replace(setup.evaluation, loss="targeted_margin", steps=STEPS, targets=TARGETS, restarts=1)
    )
    copy = FrozenNetwork(model, images[:2], setup.compute)
    clean, examples, margins = _levels(images), [], []
    for target in wrong_classes(copy, images, labels)[:, : attack.targets].unbind(dim=1):
        objective = targeted_margin_objective(labels, target)
        points = images
        for step in range(attack.attack.steps):
            gradient, _ = input_gradient(copy, points, objective)
            points = ascend(points, gradient, images, attack.attack, attack.step_size(step))
        example = eight_bit(points.double().cpu().numpy() * 255, clean, attack.attack)
        logits = _logits(model, _floats(example, images)).nan_to_num(nan=0.0)
        own = logits.gather(1, labels.cpu().unsqueeze(1)).squeeze(1)
        other = logits.scatter(1, labels.cpu().unsqueeze(1), float("-inf")).amax(dim=1)
        examples.append(example)
        margins.append(other - own)
    best = torch.stack(margins).argmax(dim=0).numpy()
    strongest: Levels = np.stack(examples)[best, np.arange(len(best))]
    return strongest


def _floats(levels: Levels, images: Tensor) -> Tensor:
    """Return 8-bit images as floats in [0, 1] on the device of other images."""
    import torch

    from morel_search.training.augment import to_float

    return to_float(torch.from_numpy(levels).to(images.device))


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits of the network itself in float32, on the CPU and as float64."""
    import torch

    from morel_search.training.compute import exact_arithmetic

    with torch.no_grad(), exact_arithmetic(images.device):
        logits: Tensor = model(images)
    return logits.double().cpu()


def eight_bit(points: NDArray[np.float64], clean: Levels, attack: AttackSettings) -> Levels:
    """Round adversarial examples to 8-bit levels that are in the ball around the images and in [0, 255].

    Each change is rounded to the nearest whole level. With L∞ each change is cut to the whole levels in the
    radius; with L2 the whole perturbation is shortened until it is in the ball.

    Args:
        points: The adversarial examples in levels, shape (N, C, H, W).
        clean: The images, of the same shape.
        attack: Norm and radius.
    """
    radius = attack.epsilon * 255
    changes = points - clean
    if attack.norm == "linf":
        whole = np.rint(changes).clip(-floor(radius), floor(radius)).astype(np.int64)
    else:
        whole = np.stack([_inside(change, float(radius)) for change in changes])
    return (clean + whole).clip(0, 255).astype(np.uint8)


def _inside(change: NDArray[np.float64], radius: float) -> NDArray[np.int64]:
    """Round one L2 perturbation, and shorten it until its rounded form is in the ball."""
    whole = np.rint(change).astype(np.int64)
    while (whole**2).sum() > radius**2:
        change = change * SHRINKING
        whole = np.rint(change).astype(np.int64)
    return whole


def _predictions(model: nn.Module, images: Tensor, classes: Sequence[str]) -> list[Prediction]:
    logits = _logits(model, images)
    labels = logits.argmax(dim=1)
    shares = logits.softmax(dim=1).gather(1, labels.unsqueeze(1)).squeeze(1).nan_to_num(nan=0.0)
    return [
        Prediction(label, str(classes[label]) if label < len(classes) else "", share)
        for label, share in zip(labels.tolist(), shares.tolist(), strict=True)
    ]


def _levels(images: Tensor) -> Levels:
    levels: Levels = np.rint(images.double().cpu().numpy() * 255).astype(np.uint8)
    return levels


def _reduced(images: Levels, factor: int) -> NDArray[np.float64]:
    """Return the means of squares of pixels; rows and columns that fill no square are left out."""
    count, channels, height, width = images.shape
    rows, columns = max(1, height // factor), max(1, width // factor)
    tall, wide = min(factor, height), min(factor, width)
    squares = images[:, :, : rows * tall, : columns * wide].reshape(
        count, channels, rows, tall, columns, wide
    )
    return np.asarray(squares.mean(axis=(3, 5)), dtype=np.float64)
