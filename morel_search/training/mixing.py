"""Upper bounds of the accuracies of mixtures, from adversarial examples of their members and of one mixture.

Attacking every mixture with the final attack would take longer than a search. An adversarial example of one
mixture of two networks, and those of each of them, are tried on all other mixtures of the two, which costs
only forward passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from morel_search.training.attacks import attack_mode, margin_objective, pgd
from morel_search.training.augment import to_float
from morel_search.training.compute_settings import Compute
from morel_search.training.datasets.loading import ImageSet
from morel_search.training.frozen import FrozenNetwork
from morel_search.training.networks.mixture import Form, mixed_logits
from morel_search.training.settings import EvaluationSettings

__all__ = ["Answers", "Recipe", "answers_of", "bounds", "examples_of"]

STEPS = 20


@dataclass(frozen=True, slots=True)
class Recipe:
    """How two networks are mixed.

    Attributes:
        weight: Weight of the first network; the second has the rest.
        form: What is mixed.
    """

    weight: float
    form: Form

    @property
    def weights(self) -> tuple[float, float]:
        """The weights of both networks."""
        return self.weight, round(1.0 - self.weight, 12)


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The logits of one network on the images, and on several sets of adversarial examples.

    Attributes:
        clean: Shape (N, classes).
        attacked: For each set, shape (N, classes).
    """

    clean: Tensor
    attacked: tuple[Tensor, ...]


def examples_of(
    model: nn.Module, image_set: ImageSet, evaluation: EvaluationSettings, compute: Compute
) -> Tensor:
    """Return examples of PGD-20 on the margin, on the CPU: float in [0, 1], shape (N, C, H, W).

    Args:
        model: The network; its mode and gradients do not change.
        image_set: On the network's device.
        evaluation: Norm, radius and batch size.
        compute: The arithmetic of the attack.
    """
    strong = replace(evaluation, steps=STEPS, step_size=None, step_ratio=2.5, random_start="uniform")
    generator = torch.Generator(image_set.images.device).manual_seed(0)
    parts = []
    copy = FrozenNetwork(model, to_float(image_set.images[:2]), compute)
    with attack_mode(model):
        for start in range(0, len(image_set), evaluation.batch_size):
            images = to_float(image_set.images[start : start + evaluation.batch_size])
            labels = image_set.labels[start : start + evaluation.batch_size]
            parts.append(pgd(copy, images, margin_objective(labels), strong.attack, generator).cpu())
    return torch.cat(parts)


@torch.no_grad()
def answers_of(model: nn.Module, image_set: ImageSet, examples: Sequence[Tensor], batch_size: int) -> Answers:
    """Return the logits of a network on images and on examples, on the CPU."""
    device = image_set.images.device

    def logits(images: Tensor) -> Tensor:
        return torch.cat([model(part.to(device)).cpu() for part in torch.split(images, batch_size)])

    with attack_mode(model):
        return Answers(logits(to_float(image_set.images)), tuple(map(logits, examples)))


def bounds(pair: tuple[Answers, Answers], labels: Tensor, recipe: Recipe) -> tuple[float, float]:
    """Return the clean accuracy of a mixture, and an upper bound of its robust accuracy.

    Args:
        pair: The answers of both networks to the same images and examples.
        labels: On the CPU, shape (N,).
        recipe: How they are mixed.
    """
    first, second = pair
    correct = _correct((first.clean, second.clean), labels, recipe)
    robust = correct.clone()
    for both in zip(first.attacked, second.attacked, strict=True):
        robust &= _correct(both, labels, recipe)
    return float(correct.float().mean()), float(robust.float().mean())


def _correct(logits: tuple[Tensor, Tensor], labels: Tensor, recipe: Recipe) -> Tensor:
    mixed = mixed_logits(logits, recipe.weights, recipe.form)
    return (mixed.argmax(dim=1) == labels) & torch.isfinite(mixed).all(dim=1)
