"""Clean and robust accuracy of a network on a set of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from morel_search.training.attacks import (
    ascend,
    attack_mode,
    cross_entropy_objective,
    first_points,
    input_gradient,
    margin_objective,
    starting_points,
)
from morel_search.training.augment import to_float
from morel_search.training.compute import exact_arithmetic, to_memory_format
from morel_search.training.datasets.loading import ImageSet
from morel_search.training.frozen import FrozenNetwork
from morel_search.training.settings import FLOAT32, Compute, EvaluationSettings

__all__ = ["TEST_SEED", "Evaluation", "correct", "evaluate", "robust_mask"]

TEST_SEED = 1
"""Seed of the attack on the test split; the epochs are compared with another one."""

OBJECTIVES = {"cross_entropy": cross_entropy_objective, "margin": margin_objective}

LOOK_EVERY = 4
"""Steps after which images that are broken leave the attack. More often costs more checks than it saves (benchmarks/RESULTS.md)."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Accuracies as fractions, with the number of images they rest on."""

    clean_accuracy: float
    robust_accuracy: float
    images: int


def evaluate(
    model: nn.Module,
    image_set: ImageSet,
    settings: EvaluationSettings,
    *,
    seed: int = 0,
    compute: Compute = FLOAT32,
    adversary: FrozenNetwork | None = None,
) -> Evaluation:
    """Score a network: the share of images it classifies rightly, and the share it still does under the attack.

    An image counts as robust if it is classified rightly as it is, after each restart, and at the points on
    the way at which the attack was looked at: what is broken is not attacked again. The attack's gradients
    come in the arithmetic of ``compute``; whether an image is broken is decided by the network itself, in
    float32. The noise depends on the seed alone, so every network meets the same starts. A batch that the
    device's memory does not hold is taken in halves.

    Args:
        model: Float images in [0, 1], shape (N, C, H, W), to logits; its mode and gradients are left as they
            were.
        image_set: On the model's device.
        settings: Attack, restarts and batch size.
        seed: Seed of the random starts.
        compute: The arithmetic of the attack's gradients.
        adversary: An up-to-date frozen copy of the model, where there is one.
    """
    device = image_set.images.device
    generator = torch.Generator(device).manual_seed(seed)
    clean = robust = 0
    with attack_mode(model), _changing_sizes(device):
        for start in range(0, len(image_set), settings.batch_size):
            images = to_memory_format(
                compute, to_float(image_set.images[start : start + settings.batch_size])
            )
            labels = image_set.labels[start : start + settings.batch_size]
            starts = [starting_points(images, settings.attack, generator) for _ in range(settings.restarts)]
            adversary = adversary or FrozenNetwork(model, images, compute)
            found = _score(model, adversary, images, labels, starts, settings)
            clean, robust = clean + found[0], robust + found[1]
    return Evaluation(clean / len(image_set), robust / len(image_set), len(image_set))


def _score(
    model: nn.Module,
    adversary: FrozenNetwork,
    images: Tensor,
    labels: Tensor,
    starts: list[Tensor],
    settings: EvaluationSettings,
) -> tuple[int, int]:
    """How many are right, and how many survive. The starts are all images' own, whatever the network does on the others."""
    try:
        is_right = correct(model, images, labels)
        alive = is_right.nonzero().squeeze(1)
        for start in starts:
            alive = alive[robust_mask(model, adversary, images[alive], labels[alive], start[alive], settings)]
        return int(is_right.sum()), len(alive)
    except torch.OutOfMemoryError:
        if len(images) == 1:
            raise
    torch.cuda.empty_cache()
    middle = len(images) // 2
    halves = [
        _score(model, adversary, images[part], labels[part], [start[part] for start in starts], settings)
        for part in (slice(middle), slice(middle, None))
    ]
    return halves[0][0] + halves[1][0], halves[0][1] + halves[1][1]


@torch.no_grad()
def correct(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Which images, shape (M,), a network classifies rightly, in float32."""
    with exact_arithmetic(images.device):
        prediction: Tensor = model(images).argmax(dim=1)
    return prediction == labels


def robust_mask(
    model: nn.Module,
    adversary: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    start: Tensor,
    settings: EvaluationSettings,
) -> Tensor:
    """Which images one start of the attack leaves classified rightly.

    Args:
        model: The network that decides, inside :func:`attack_mode`.
        adversary: Its frozen copy, which gives the gradients.
        images: Float in [0, 1], shape (M, C, H, W).
        labels: Shape (M,).
        start: As :func:`starting_points` gives it, of the images' shape.
        settings: Attack and loss.

    Returns:
        Booleans, shape (M,).
    """
    standing = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    if not len(images):
        return standing
    attack, objective = settings.attack, OBJECTIVES[settings.loss]
    index = torch.arange(len(images), device=images.device)
    points = first_points(images, attack, start)
    for step in range(attack.steps):
        gradient, logits = input_gradient(adversary, points, objective(labels))
        if step and step % LOOK_EVERY == 0:
            keep = _unbroken(model, points, labels, logits)
            if not keep.all():
                images, labels, points, gradient, index = (
                    part[keep] for part in (images, labels, points, gradient, index)
                )
                if not len(index):
                    return standing
        points = ascend(points, gradient, images, attack)
    standing[index[correct(model, points, labels)]] = True
    return standing


def _unbroken(model: nn.Module, points: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
    """Which points are still classified rightly. The attack's own logits name the suspects.

    The network itself decides about them.
    """
    keep = torch.ones(len(points), dtype=torch.bool, device=points.device)
    suspects = (logits.argmax(dim=1) != labels).nonzero().squeeze(1)
    if len(suspects):
        keep[suspects] = correct(model, points[suspects], labels[suspects])
    return keep


@contextmanager
def _changing_sizes(device: torch.device) -> Iterator[None]:
    """No search for the fastest algorithm of each batch size on CUDA: here every batch has its own."""
    before = torch.backends.cudnn.benchmark
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
