"""Which epoch of a training is the point that counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["EPOCH_RULES", "EpochResult", "chosen_epoch", "chosen_epochs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """What one epoch gave.

    Losses are means over the images; accuracies are fractions on the validation split, None if not measured.
    Gradients are norms of the loss's weighted terms with respect to the features of the epoch's first batch,
    None in what older versions wrote.
    """

    epoch: int
    loss: float
    accuracy_loss: float
    robust_loss: float
    cosine_loss: float
    contrastive_loss: float
    lr: float
    train_accuracy: float
    clean_accuracy: float | None
    robust_accuracy: float | None
    seconds: float
    accuracy_gradient: float | None = None
    cosine_gradient: float | None = None
    contrastive_gradient: float | None = None


def _last(result: EpochResult) -> tuple[float, ...]:
    return (result.epoch,)


def _best_robust(result: EpochResult) -> tuple[float, ...]:
    return (result.robust_accuracy or 0.0, result.clean_accuracy or 0.0, result.epoch)


def _best_sum(result: EpochResult) -> tuple[float, ...]:
    return (
        (result.robust_accuracy or 0.0) + (result.clean_accuracy or 0.0),
        result.robust_accuracy or 0.0,
        result.epoch,
    )


EPOCH_RULES: dict[str, Callable[[EpochResult], tuple[float, ...]]] = {
    "last": _last,
    "best_robust": _best_robust,
    "best_sum": _best_sum,
    "front": _best_sum,
}
"""Name of a rule to the key it maximises.

The later of two equal epochs is taken. ``front`` has several epochs, of which this is one.
"""


def chosen_epoch(history: Sequence[EpochResult], rule: str) -> EpochResult | None:
    """The evaluated epoch that the rule chooses on the validation split.

    None where no epoch was evaluated.
    """
    evaluated = [result for result in history if result.robust_accuracy is not None]
    return max(evaluated, key=EPOCH_RULES[rule], default=None)


def chosen_epochs(history: Sequence[EpochResult], rule: str) -> list[EpochResult]:
    """All epochs that a training stands for, the one of :func:`chosen_epoch` first.

    That is one, except for the rule ``front``: each evaluated epoch that no other one dominates, of equal
    ones the last.
    """
    chosen = chosen_epoch(history, rule)
    if chosen is None or rule != "front":
        return [] if chosen is None else [chosen]
    latest = {_pair(result): result for result in history if result.robust_accuracy is not None}
    return [
        chosen,
        *(
            one
            for pair, one in latest.items()
            if one is not chosen and not any(_above(other, pair) for other in latest)
        ),
    ]


def _pair(result: EpochResult) -> tuple[float, float]:
    return result.clean_accuracy or 0.0, result.robust_accuracy or 0.0


def _above(one: tuple[float, float], other: tuple[float, float]) -> bool:
    return one != other and one[0] >= other[0] and one[1] >= other[1]
