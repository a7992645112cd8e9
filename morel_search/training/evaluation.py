"""Clean and robust accuracy of a network on a set of images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from morel_search.training.attacks import attack_mode, cross_entropy_objective, margin_objective, pgd, starting_points
from morel_search.training.augment import to_float
from morel_search.training.data import ImageSet
from morel_search.training.settings import EvaluationSettings

__all__ = ["Evaluation", "evaluate"]

OBJECTIVES = {"cross_entropy": cross_entropy_objective, "margin": margin_objective}


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Accuracies as fractions, with the number of images they rest on."""

    clean_accuracy: float
    robust_accuracy: float
    images: int


def evaluate(model: nn.Module, image_set: ImageSet, settings: EvaluationSettings, *, seed: int = 0) -> Evaluation:
    """Score a network: the share of images it classifies rightly, and the share it still does under the attack.

    An image counts as robust if it is classified rightly as it is and after each restart. The noise depends on the seed alone, so
    every network meets the same starts.

    Args:
        model: Float images in [0, 1], shape (N, C, H, W), to logits; its mode and gradients are left as they were.
        image_set: On the model's device.
        settings: Attack, restarts and batch size.
        seed: Seed of the random starts.
    """
    device = image_set.images.device
    generator = torch.Generator(device).manual_seed(seed)
    clean = robust = 0
    with attack_mode(model):
        for start in range(0, len(image_set), settings.batch_size):
            images = to_float(image_set.images[start : start + settings.batch_size])
            labels = image_set.labels[start : start + settings.batch_size]
            right = _right(model, images, labels)
            clean += int(right.sum())
            robust += int(_survivors(model, images, labels, right, settings, generator).sum())
    return Evaluation(clean / len(image_set), robust / len(image_set), len(image_set))


@torch.no_grad()
def _right(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    prediction: Tensor = model(images).argmax(dim=1)
    return prediction == labels


def _survivors(
    model: nn.Module, images: Tensor, labels: Tensor, right: Tensor, settings: EvaluationSettings, generator: torch.Generator
) -> Tensor:
    """Which of the images classified rightly are so after every restart; what is broken is not attacked again.

    The starts are drawn for all images, so that an image's start does not depend on how the network does on the others.
    """
    alive = right.clone()
    for _ in range(settings.restarts):
        start = starting_points(images, settings.attack, generator)
        if alive.any():
            objective = OBJECTIVES[settings.loss](labels[alive])
            adversarial = pgd(model, images[alive], objective, settings.attack, start=start[alive])
            alive[alive.clone()] = _right(model, adversarial, labels[alive])
    return alive
