"""Learning-rate schedules as functions of the progress of a training, for any number of epochs."""

from __future__ import annotations

import math
from collections.abc import Callable

from morel_search.training.settings import TrainSettings

__all__ = ["learning_rate"]

ONE_CYCLE_WARMUP = 0.3
"""Warm-up of one_cycle if ``warmup`` is 0 (Smith and Topin 2018, as in torch's OneCycleLR)."""


def _cosine(progress: float, _: TrainSettings) -> float:
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def _step(progress: float, settings: TrainSettings) -> float:
    return settings.schedule_factor ** sum(progress >= drop for drop in settings.schedule_drops)


def _constant(_progress: float, _: TrainSettings) -> float:
    return 1.0


SCHEDULES: dict[str, Callable[[float, TrainSettings], float]] = {
    "cosine": _cosine,
    "one_cycle": _cosine,
    "step": _step,
    "constant": _constant,
}


def learning_rate(settings: TrainSettings, progress: float) -> float:
    """Return the learning rate at a step of the training.

    Args:
        settings: The settings; ``schedule``, ``lr``, ``warmup``, ``schedule_drops`` and ``schedule_factor``
            are used.
        progress: Number of finished steps divided by the number of all steps, in [0, 1).

    Returns:
        A rate in [0, lr]. It rises linearly from lr / 25 during the warm-up. Then cosine and one_cycle fall
        over the remaining steps; the drops of step are fractions of all steps.
    """
    warmup = settings.warmup or (ONE_CYCLE_WARMUP if settings.schedule == "one_cycle" else 0.0)
    if progress < warmup:
        return settings.lr * (0.04 + 0.96 * progress / warmup)
    if settings.schedule in ("cosine", "one_cycle"):
        progress = (progress - warmup) / (1.0 - warmup)
    return settings.lr * SCHEDULES[settings.schedule](progress, settings)
