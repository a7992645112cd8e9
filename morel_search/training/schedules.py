"""Learning rates as functions of progress, so that every schedule fits every epoch budget."""

from __future__ import annotations

import math
from collections.abc import Callable

from morel_search.training.settings import TrainSettings

__all__ = ["learning_rate"]

ONE_CYCLE_WARMUP = 0.3
"""Share of the budget that one_cycle rises for when ``warmup`` is 0 (Smith and Topin 2018 as in torch's OneCycleLR)."""


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
    """The learning rate at a point of the training.

    Args:
        settings: ``schedule``, ``lr``, ``warmup``, ``schedule_drops`` and ``schedule_factor`` are read.
        progress: Share of all steps that is done, in [0, 1).

    Returns:
        A rate in [0, lr]. During the warm-up it rises linearly from lr / 25; cosine and one_cycle then fall
        over what is left, while step's drops keep their place in the whole budget.
    """
    warmup = settings.warmup or (ONE_CYCLE_WARMUP if settings.schedule == "one_cycle" else 0.0)
    if progress < warmup:
        return settings.lr * (0.04 + 0.96 * progress / warmup)
    if settings.schedule in ("cosine", "one_cycle"):
        progress = (progress - warmup) / (1.0 - warmup)
    return settings.lr * SCHEDULES[settings.schedule](progress, settings)
