"""What shows that an attack may have been fooled: gradients, logits, chance, and how robustness falls with the radius."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import torch
from torch import Tensor, nn

from morel_search.results.attack_names import MULTIPLES
from morel_search.results.diagnostics import MaskingDiagnostics
from morel_search.training.attacks import (
    attack_mode,
    cross_entropy_objective,
    input_gradient,
    starting_points,
)
from morel_search.training.evaluation import correct, robust_mask
from morel_search.training.frozen import FrozenNetwork
from morel_search.training.settings import Compute, EvaluationSettings

__all__ = ["diagnose_masking"]

USUAL_GAP = 5.0
"""To which distance the two largest logits are brought, at the median, where they lie more than :data:`WIDE_GAP` apart."""

WIDE_GAP = 50.0
"""In float32, softmax is 1 from about 17 on, and cross entropy has no gradient at all from 104 on."""


def diagnose_masking(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    evaluation: EvaluationSettings,
    *,
    seed: int,
    compute: Compute,
) -> MaskingDiagnostics:
    """Look at a network.

    Args:
        model: Float images in [0, 1], shape (N, C, H, W), to logits; its mode and gradients are left as they
            were.
        images: On the model's device.
        labels: Shape (N,).
        evaluation: The attack whose radius is varied.
        seed: Seed of the attack's starts.
        compute: The arithmetic of the attack.
    """
    with attack_mode(model):
        gradient, logits = input_gradient(model, images, cross_entropy_objective(labels))
        with torch.no_grad():
            again = model(images)
        is_right = logits.argmax(dim=1) == labels
        flat = gradient.flatten(1)
        zero = (flat == 0).all(dim=1) & is_right
        unfit = ~(torch.isfinite(logits).all(dim=1) & torch.isfinite(flat).all(dim=1))
        fit = torch.isfinite(logits).all(dim=1) & torch.isfinite(again).all(dim=1)
        best = logits[fit].topk(2, dim=1).values
        gap = float((best[:, 0] - best[:, 1]).median()) if len(best) else 0.0
        spread = (float(logits[fit].std()) if len(best) else 0.0) or 1.0
        scale = gap / USUAL_GAP if gap > WIDE_GAP else 1.0
        copy = FrozenNetwork(model, images[:2], compute)

        def divided(points: Tensor) -> Tensor:
            return copy(points) / scale

        attacked = divided if scale != 1.0 else copy
        curve, everywhere = _curve(model, attacked, images, labels, evaluation, seed)
    return MaskingDiagnostics(
        images=len(images),
        zero_gradients=float(zero.sum()) / max(1, int(is_right.sum())),
        unfit=float(unfit.float().mean()),
        gap=gap,
        same_class=float(logits.argmax(dim=1).bincount().max()) / len(images),
        chance=float((again - logits)[fit].abs().max()) / spread if len(best) else 0.0,
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
    """Each radius is attacked where the smaller ones did not break the image: their points lie in its ball too."""
    found: list[float] = []
    alive = correct(model, images, labels).nonzero().squeeze(1)
    longest = 1.0 if evaluation.norm == "linf" else math.sqrt(images[0].numel())
    radii = [*(Fraction(multiple) * evaluation.epsilon for multiple in MULTIPLES), Fraction(longest)]
    for radius in radii:
        settings = replace(evaluation, epsilon=radius, step_size=None, step_ratio=2.5, random_start="uniform")
        generator = torch.Generator(images.device).manual_seed(seed)
        start = starting_points(images, settings.attack, generator)[alive]
        alive = alive[robust_mask(model, attacked, images[alive], labels[alive], start, settings)]
        found.append(len(alive) / len(images))
    return tuple(found[:-1]), found[-1]
