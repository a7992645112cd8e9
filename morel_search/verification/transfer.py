"""Black-box attacks by transfer: adversarial examples of another network, which was trained independently."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from morel_search.training.attacks import attack_mode, cross_entropy_objective, pgd
from morel_search.training.compute_settings import Compute
from morel_search.training.evaluation import correct
from morel_search.training.frozen import FrozenNetwork
from morel_search.training.settings import EvaluationSettings

__all__ = ["transfer_accuracy", "transfer_examples"]

STEPS = 50


def transfer_examples(
    source: nn.Module,
    images: Tensor,
    labels: Tensor,
    evaluation: EvaluationSettings,
    *,
    seed: int,
    compute: Compute,
) -> Tensor:
    """Return PGD-50 examples computed on a network, of the images' shape.

    Args:
        source: Network from float images in [0, 1], shape (N, C, H, W), to logits.
        images: Float images in [0, 1], shape (N, C, H, W), on the network's device.
        labels: Shape (N,).
        evaluation: Its norm and radius are used.
        seed: Random seed of the attack's start.
        compute: The arithmetic of the attack.
    """
    attack = replace(evaluation, steps=STEPS, step_size=None, step_ratio=2.5, random_start="uniform").attack
    generator = torch.Generator(images.device).manual_seed(seed)
    with attack_mode(source):
        copy = FrozenNetwork(source, images[:2], compute)
        return pgd(copy, images, cross_entropy_objective(labels), attack, generator)


def transfer_accuracy(model: nn.Module, examples: Tensor, labels: Tensor) -> float:
    """Return a network's accuracy, a fraction, on examples that were computed on another network.

    Args:
        model: Network from float images in [0, 1], shape (N, C, H, W), to logits.
        examples: As :func:`transfer_examples` gives them, on the network's device.
        labels: Shape (N,).
    """
    with attack_mode(model):
        return float(correct(model, examples, labels).float().mean())
