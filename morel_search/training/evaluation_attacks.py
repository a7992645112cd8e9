"""The attacks that measure robust accuracy: which losses, from which starts, with which step lengths.

The targeted margin is the logit of one wrong class minus the logit of the label; it is attacked once for each
of the wrong classes with the largest logits. Steps shrink along a cosine from the radius to zero. Measured
against AutoAttack by ``benchmarks/evaluation.py``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from morel_search.training.settings import (
    AttackSettings,
    EvaluationLoss,
    EvaluationSettings,
    RandomStart,
)

__all__ = ["EvaluationAttack", "final_attack", "margin_attack", "plain_attack", "quick_attack"]

MARGIN_STEPS, MARGIN_TARGETS, MARGIN_STARTS = 20, 9, 2
"""Steps of a run, wrong classes and starts of :func:`margin_attack`: the defaults of the final evaluation."""


@dataclass(frozen=True, slots=True)
class EvaluationAttack:
    """Runs of projected gradient ascent; an image is robust if it is correctly classified after all of them.

    Attributes:
        attack: Norm, radius, number of steps, and length of the first step.
        loss: The loss that each run increases.
        starts: Where the runs begin; one run per start, or per start and wrong class.
        targets: Number of wrong classes of the targeted margin, at most; they are ordered by the logits of
            the unperturbed image, largest first.
        decay: Whether the step length follows a cosine from ``attack.step_size`` to 0, or is constant.
    """

    attack: AttackSettings
    loss: EvaluationLoss
    starts: tuple[RandomStart, ...]
    targets: int = 1
    decay: bool = False

    def passes(self, classes: int) -> int:
        """Return the number of gradient passes over an image that stays correctly classified.

        Args:
            classes: Number of classes; there is a run for each wrong class at most.
        """
        return self.attack.steps * len(self.starts) * min(self.targets, classes - 1)

    def step_size(self, step: int) -> float:
        """Return the length of a step, counted from 0."""
        if not self.decay:
            return self.attack.step_size
        return self.attack.step_size * 0.5 * (1.0 + math.cos(math.pi * step / self.attack.steps))


def quick_attack(settings: EvaluationSettings) -> EvaluationAttack:
    """Return the attack after an epoch, which compares trainings at the same epoch."""
    if settings.loss == "targeted_margin":
        return _targeted(settings, settings.steps, settings.targets, settings.restarts)
    return plain_attack(settings)


def final_attack(settings: EvaluationSettings) -> EvaluationAttack:
    """Return the attack on the selected epoch of a finished training; its result is the trial's value.

    Where ``final_steps`` is 0, it is the quick attack.
    """
    if not settings.final_steps:
        return quick_attack(settings)
    return _targeted(settings, settings.final_steps, settings.final_targets, settings.final_restarts)


def plain_attack(settings: EvaluationSettings) -> EvaluationAttack:
    """Return PGD with constant steps and untargeted loss: ``settings.loss``, or else cross entropy."""
    loss = settings.loss if settings.loss != "targeted_margin" else "cross_entropy"
    return EvaluationAttack(settings.attack, loss, (settings.random_start,) * settings.restarts)


def margin_attack(settings: EvaluationSettings) -> EvaluationAttack | None:
    """Return PGD on targeted margins from two starts; None where the final attack includes it already.

    A verdict on robustness includes this attack also where the evaluation of the search is weaker: with fewer
    than four classes AutoAttack has no attack on margins of its own.
    """
    final = final_attack(settings)
    included = (
        final.loss == "targeted_margin"
        and final.targets >= MARGIN_TARGETS
        and len(final.starts) >= MARGIN_STARTS
        and final.attack.steps >= MARGIN_STEPS
    )
    return None if included else _targeted(settings, MARGIN_STEPS, MARGIN_TARGETS, MARGIN_STARTS)


def _targeted(settings: EvaluationSettings, steps: int, targets: int, restarts: int) -> EvaluationAttack:
    further: list[RandomStart] = ["uniform"] * (restarts - 1)
    attack = AttackSettings(
        norm=settings.norm, epsilon=settings.epsilon, steps=steps, step_size=float(settings.epsilon)
    )
    return EvaluationAttack(attack, "targeted_margin", ("none", *further), targets, decay=True)
