"""Clean and robust accuracy of a network on a set of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from morel_search.training.attacks import (
    Objective,
    ascend,
    attack_mode,
    cross_entropy_objective,
    first_points,
    input_gradient,
    margin_objective,
    starting_points,
    targeted_margin_objective,
)
from morel_search.training.augment import to_float
from morel_search.training.compute import exact_arithmetic, to_memory_format
from morel_search.training.compute_settings import FLOAT32, Compute
from morel_search.training.datasets.loading import ImageSet
from morel_search.training.evaluation_attacks import EvaluationAttack, final_attack, quick_attack
from morel_search.training.frozen import FrozenNetwork
from morel_search.training.settings import EvaluationLoss, EvaluationSettings

__all__ = [
    "TEST_SEED",
    "Evaluation",
    "attack_starts",
    "correct",
    "evaluate",
    "finite",
    "not_finite_text",
    "robust_mask",
    "score",
    "wrong_classes",
]

TEST_SEED = 1
"""Seed of the attack on the test split; the epochs are compared with another one."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Clean and robust accuracy, as fractions, and the number of images.

    Attributes:
        clean_accuracy: Share of the images that are correctly classified without an attack.
        robust_accuracy: Share of those that are so under the attack too.
        images: Number of images.
        not_finite: Number of images with a logit that is not finite; they count as misclassified.
    """

    clean_accuracy: float
    robust_accuracy: float
    images: int
    not_finite: int = 0


def evaluate(
    model: nn.Module,
    image_set: ImageSet,
    settings: EvaluationSettings,
    *,
    final: bool = False,
    seed: int = 0,
    compute: Compute = FLOAT32,
    adversary: FrozenNetwork | None = None,
) -> Evaluation:
    """Measure clean accuracy, and robust accuracy under the quick or the final attack of the settings.

    Args:
        model: Float images in [0, 1], shape (N, C, H, W), to logits; its mode and gradients do not change.
        image_set: On the model's device.
        settings: Attacks and batch size.
        final: Whether to use the final attack; see :mod:`morel_search.training.evaluation_attacks`.
        seed: Seed of the random starts.
        compute: The arithmetic of the attack's gradients.
        adversary: An up-to-date frozen copy of the model, where there is one.
    """
    attack = final_attack(settings) if final else quick_attack(settings)
    return score(
        model, image_set, attack, settings.batch_size, seed=seed, compute=compute, adversary=adversary
    )


def score(
    model: nn.Module,
    image_set: ImageSet,
    attack: EvaluationAttack,
    batch_size: int,
    *,
    seed: int = 0,
    compute: Compute = FLOAT32,
    adversary: FrozenNetwork | None = None,
) -> Evaluation:
    """Measure clean accuracy, and robust accuracy under one attack.

    An image is robust if it is correctly classified without an attack and at every point that the attack
    visits; a misclassified image is not attacked again. The attack's gradients are computed in the arithmetic
    of ``compute``; whether an image is misclassified is decided by the network itself, in float32. The random
    starts depend on the seed alone, so they are the same for every network. A batch that does not fit into
    the device's memory is divided into halves.

    Args:
        model: Float images in [0, 1], shape (N, C, H, W), to logits; its mode and gradients do not change.
        image_set: On the model's device.
        attack: The attack.
        batch_size: Number of images in a batch.
        seed: Seed of the random starts.
        compute: The arithmetic of the attack's gradients.
        adversary: An up-to-date frozen copy of the model, where there is one.
    """
    device = image_set.images.device
    generator = torch.Generator(device).manual_seed(seed)
    clean = robust = not_finite = 0
    with attack_mode(model), _changing_sizes(device):
        for start in range(0, len(image_set), batch_size):
            images = to_memory_format(compute, to_float(image_set.images[start : start + batch_size]))
            labels = image_set.labels[start : start + batch_size]
            starts = attack_starts(images, attack, generator)
            adversary = adversary or FrozenNetwork(model, images, compute)
            counted = _counts(model, adversary, images, labels, starts, attack)
            clean, robust, not_finite = clean + counted[0], robust + counted[1], not_finite + counted[2]
    return Evaluation(clean / len(image_set), robust / len(image_set), len(image_set), not_finite)


def not_finite_text(network: str, evaluation: Evaluation, split: str = "test") -> str:
    """Return a sentence about the images on which a network has no prediction; empty if there are none."""
    if not evaluation.not_finite:
        return ""
    return (
        f"{network} gives logits that are not finite on {evaluation.not_finite} of {evaluation.images} "
        f"{split} images, which count as misclassified"
    )


def attack_starts(
    images: Tensor, attack: EvaluationAttack, generator: torch.Generator | None = None
) -> list[Tensor]:
    """Return where the runs of an attack begin, inside the ball: one tensor of the images' shape per start.

    Args:
        images: Float in [0, 1], shape (N, C, H, W).
        attack: The attack.
        generator: Source of the noise, on the images' device; None for torch's global one.
    """
    settings = [replace(attack.attack, random_start=start) for start in attack.starts]
    return [first_points(images, own, starting_points(images, own, generator)) for own in settings]


def _counts(
    model: nn.Module,
    adversary: FrozenNetwork,
    images: Tensor,
    labels: Tensor,
    starts: list[Tensor],
    attack: EvaluationAttack,
) -> tuple[int, int, int]:
    """Return the number of correctly classified images, of robust ones, and of those without finite logits.

    Each image has its own starts, whatever the network does on the others.
    """
    try:
        with exact_arithmetic(images.device), torch.no_grad():
            logits = model(images)
        is_correct = _is_correct(logits, labels)
        not_finite = int((~_finite(logits)).sum())
        remaining = is_correct.nonzero().squeeze(1)
        for start in starts:
            mask = robust_mask(
                model, adversary, images[remaining], labels[remaining], start[remaining], attack
            )
            remaining = remaining[mask]
        return int(is_correct.sum()), len(remaining), not_finite
    except torch.OutOfMemoryError:
        if len(images) == 1:
            raise
    torch.cuda.empty_cache()
    middle = len(images) // 2
    halves = [
        _counts(model, adversary, images[part], labels[part], [start[part] for start in starts], attack)
        for part in (slice(middle), slice(middle, None))
    ]
    first, second = halves
    return first[0] + second[0], first[1] + second[1], first[2] + second[2]


@torch.no_grad()
def correct(model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Return which images, shape (M,), a network classifies correctly, in float32.

    An image with a logit that is not finite counts as misclassified.
    """
    with exact_arithmetic(images.device):
        return _is_correct(model(images), labels)


@torch.no_grad()
def finite(model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return on which images, shape (M,), all logits of a network are finite, in float32."""
    with exact_arithmetic(images.device):
        return _finite(model(images))


def robust_mask(
    model: nn.Module,
    adversary: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    start: Tensor,
    attack: EvaluationAttack,
) -> Tensor:
    """Return which images are correctly classified at every point that an attack visits from one start.

    Args:
        model: The network that decides, inside :func:`attack_mode`.
        adversary: Its frozen copy, which gives the gradients.
        images: Float in [0, 1], shape (M, C, H, W).
        labels: Shape (M,).
        start: As :func:`attack_starts` gives it, of the images' shape.
        attack: The attack; with the targeted margin it is run once per wrong class.

    Returns:
        Booleans, shape (M,).
    """
    is_robust = torch.zeros(len(images), dtype=torch.bool, device=images.device)
    if not len(images):
        return is_robust
    remaining = torch.arange(len(images), device=images.device)
    if attack.loss != "targeted_margin":
        remaining = remaining[_run(model, adversary, images, labels, start, attack, None)]
    else:
        classes = wrong_classes(adversary, images, labels)[:, : attack.targets]
        for target in classes.unbind(dim=1):
            survived = _run(
                model,
                adversary,
                images[remaining],
                labels[remaining],
                start[remaining],
                attack,
                target[remaining],
            )
            remaining = remaining[survived]
            if not len(remaining):
                break
    is_robust[remaining] = True
    return is_robust


def _run(
    model: nn.Module,
    adversary: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    start: Tensor,
    attack: EvaluationAttack,
    targets: Tensor | None,
) -> Tensor:
    """Run projected gradient ascent once; return the indices of the images that stay correctly classified."""
    index = torch.arange(len(images), device=images.device)
    points = start
    for step in range(attack.attack.steps):
        gradient, logits = input_gradient(adversary, points, _objective(attack.loss, labels, targets))
        keep = _unbroken(model, points, labels, logits)
        if not keep.all():
            images, labels, points, gradient, index = (
                part[keep] for part in (images, labels, points, gradient, index)
            )
            targets = None if targets is None else targets[keep]
            if not len(index):
                return index
        points = ascend(points, gradient, images, attack.attack, attack.step_size(step))
    return index[correct(model, points, labels)]


def _objective(loss: EvaluationLoss, labels: Tensor, targets: Tensor | None) -> Objective:
    if targets is not None:
        return targeted_margin_objective(labels, targets)
    return margin_objective(labels) if loss == "margin" else cross_entropy_objective(labels)


@torch.no_grad()
def wrong_classes(adversary: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Return the wrong classes of each image, shape (M, classes - 1), those with the largest logits first."""
    logits = torch.nan_to_num(adversary(images), nan=0.0)
    ordered = logits.scatter(1, labels.unsqueeze(1), float("-inf")).argsort(dim=1, descending=True)
    return ordered[ordered != labels.unsqueeze(1)].view(len(images), -1)


def _unbroken(model: nn.Module, points: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
    """Return which points are correctly classified.

    The network itself decides, for the points that the attack's own logits show as misclassified.
    """
    keep = torch.ones(len(points), dtype=torch.bool, device=points.device)
    suspects = (~_is_correct(logits, labels)).nonzero().squeeze(1)
    if len(suspects):
        keep[suspects] = correct(model, points[suspects], labels[suspects])
    return keep


def _is_correct(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(dim=1) == labels) & _finite(logits)


def _finite(logits: Tensor) -> Tensor:
    return torch.isfinite(logits).all(dim=1)


@contextmanager
def _changing_sizes(device: torch.device) -> Iterator[None]:
    """Switch off cuDNN's search for the fastest algorithm, which repeats for every batch size."""
    before = torch.backends.cudnn.benchmark
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
    try:
        yield
    finally:
        torch.backends.cudnn.benchmark = before
