"""Black-box attacks by transfer: examples made on another network, which was trained independently."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from morel_search.training.attacks import attack_mode, cross_entropy_objective, pgd
from morel_search.training.evaluation import correct
from morel_search.training.frozen import FrozenNetwork
from morel_search.training.settings import Compute, EvaluationSettings

__all__ = ["transferred"]

STEPS = 50


def transferred(
    model: nn.Module,
    source: nn.Module,
    images: Tensor,
    labels: Tensor,
    evaluation: EvaluationSettings,
    *,
    seed: int,
    compute: Compute,
) -> float:
    """Accuracy of a network on PGD-50 examples that were made on another one.

    Args:
        model: Float images in [0, 1], shape (N, C, H, W), to logits.
        source: The network that the examples are made on.
        images: On the networks' device.
        labels: Shape (N,).
        evaluation: Norm and radius.
        seed: Seed of the attack's start.
        compute: The arithmetic of the attack.
    """
    attack = replace(evaluation, steps=STEPS, step_size=None, step_ratio=2.5, random_start="uniform").attack
    generator = torch.Generator(images.device).manual_seed(seed)
    with attack_mode(source):
        copy = FrozenNetwork(source, images[:2], compute)
        examples = pgd(copy, images, cross_entropy_objective(labels), attack, generator)
    with attack_mode(model):
        return float(correct(model, examples, labels).float().mean())
