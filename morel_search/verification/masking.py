"""Measurements that indicate gradient masking.

Gradients, logits, randomness, and robust accuracy at several radii.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor, nn

from morel_search.results.attack_names import CURVE_STEPS, MULTIPLES
from morel_search.results.diagnostics import MaskingDiagnostics
from morel_search.training.attacks import (
    attack_mode,
    cross_entropy_objective,
    input_gradient,
)
from morel_search.training.compute_settings import Compute
from morel_search.training.evaluation import attack_starts, correct, robust_mask
from morel_search.training.evaluation_attacks import plain_attack
from morel_search.training.frozen import FrozenNetwork
from morel_search.training.settings import EvaluationSettings

__all__ = ["diagnose_masking"]

USUAL_GAP = 5.0
"""Median difference of the two largest logits after they are divided; see :data:`WIDE_GAP`."""

WIDE_GAP = 50.0
"""In float32, softmax is 1 from a difference of about 17, and cross entropy has no gradient from 104."""


def diagnose_masking(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    evaluation: EvaluationSettings,
    *,
    seed: int,
    compute: Compute,
) -> MaskingDiagnostics:
    """Measure what indicates gradient masking.

    Transfer is measured apart, by :func:`~morel_search.verification.transfer.transfer_accuracy`.

    Args:
        model: Network from float images in [0, 1], shape (N, C, H, W), to logits; its mode and gradients do
            not change.
        images: Float images in [0, 1], shape (N, C, H, W), on the model's device.
        labels: Shape (N,).
        evaluation: Norm and radius; multiples of the radius are attacked with PGD-20.
        seed: Random seed of the attack's starts.
        compute: The arithmetic of the attack.
    """
    with attack_mode(model):
        gradient, logits = input_gradient(model, images, cross_entropy_objective(labels))
        with torch.no_grad():
            second_logits = model(images)
        is_correct = logits.argmax(dim=1) == labels
        flat = gradient.flatten(1)
        zero = (flat == 0).all(dim=1) & is_correct
        unfit = ~(torch.isfinite(logits).all(dim=1) & torch.isfinite(flat).all(dim=1))
        finite = torch.isfinite(logits).all(dim=1) & torch.isfinite(second_logits).all(dim=1)
        largest = logits[finite].topk(2, dim=1).values
        gap = float((largest[:, 0] - largest[:, 1]).median()) if len(largest) else 0.0
        deviation = (float(logits[finite].std()) if len(largest) else 0.0) or 1.0
        scale = gap / USUAL_GAP if gap > WIDE_GAP else 1.0
        copy = FrozenNetwork(model, images[:2], compute)

        def divided(points: Tensor) -> Tensor:
            return copy(points) / scale

        attacked = divided if scale != 1.0 else copy
        curve, everywhere = _curve(model, attacked, images, labels, evaluation, seed)
    difference = float((second_logits - logits)[finite].abs().max()) if len(largest) else 0.0
    return MaskingDiagnostics(
        images=len(images),
        zero_gradients=float(zero.sum()) / max(1, int(is_correct.sum())),
        unfit=float(unfit.float().mean()),
        gap=gap,
        same_class=float(logits.argmax(dim=1).bincount().max()) / len(images),
        chance=difference / deviation,
        scale=scale,
        curve=curve,
        everywhere=everywhere,
    )


def _curve(
    model: nn.Module,
    attacked: Callable[[Tensor], Tensor],
    images: Tensor,
    labels: Tensor,
    evaluation: EvaluationSettings,
    seed: int,
) -> tuple[tuple[float, ...], float]:
    """Return robust accuracy at :data:`MULTIPLES` of the radius, and at a radius that allows every image.

    An image that is misclassified at one radius is not attacked at a larger one: the larger ball contains the
    same adversarial example.
    """
    accuracies: list[float] = []
    remaining = correct(model, images, labels).nonzero().squeeze(1)
    longest = 1.0 if evaluation.norm == "linf" else math.sqrt(images[0].numel())
    radii = [*(Fraction(multiple) * evaluation.epsilon for multiple in MULTIPLES), Fraction(longest)]
    for radius in radii:
        attack = plain_attack(
            replace(
                evaluation,
                loss="cross_entropy",
                epsilon=radius,
                steps=CURVE_STEPS,
                step_size=None,
                step_ratio=2.5,
                random_start="uniform",
                restarts=1,
            )
        )
        generator = torch.Generator(images.device).manual_seed(seed)
        (start,) = attack_starts(images, attack, generator)
        is_robust = robust_mask(
            model, attacked, images[remaining], labels[remaining], start[remaining], attack
        )
        remaining = remaining[is_robust]
        accuracies.append(len(remaining) / len(images))
    return tuple(accuracies[:-1]), accuracies[-1]
