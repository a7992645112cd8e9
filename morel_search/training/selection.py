"""The rules that select the epoch of a training by its validation accuracies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter

import numpy as np

from morel_search._dominance import dominates

__all__ = ["EPOCH_RULES", "EpochResult", "chosen_epoch", "chosen_epochs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochResult:
    """Losses, accuracies and durations of one epoch.

    Losses are means over the training images. Accuracies are fractions; clean and robust accuracy are
    measured on the validation split, and None in an epoch without an evaluation. Gradients are the norms of
    the gradients of the weighted loss terms with respect to the features of the epoch's first batch; None in
    results of older versions.

    Attributes:
        epoch: Number of the epoch, from 1.
        loss: The scalarised loss.
        accuracy_loss: The accuracy objective.
        robust_loss: The robust objective.
        cosine_loss: The cosine term of the robust objective.
        contrastive_loss: The contrastive term of the robust objective.
        lr: Learning rate of the last step.
        train_accuracy: Clean accuracy on the augmented training images, during training.
        clean_accuracy: Clean accuracy on the validation split.
        robust_accuracy: Robust accuracy on the validation split, under the quick attack.
        seconds: Duration of the epoch, in seconds.
        accuracy_gradient: Gradient of the accuracy objective.
        cosine_gradient: Gradient of the cosine term.
        contrastive_gradient: Gradient of the contrastive term.
        final_robust_accuracy: Robust accuracy on the validation split, under the final attack; None for an
            epoch that was not selected, of an unfinished training, or without a final attack.
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
    final_robust_accuracy: float | None = None

    @property
    def strongest_robust_accuracy(self) -> float | None:
        """Robust accuracy under the strongest attack that was run after this epoch."""
        return self.robust_accuracy if self.final_robust_accuracy is None else self.final_robust_accuracy

    def to_dict(self) -> dict[str, object]:
        """Return the fields by name, as ``dataclasses.asdict`` does, in a tenth of its time."""
        return dict(zip(_NAMES, _VALUES(self), strict=True))


_NAMES = tuple(field.name for field in fields(EpochResult))
_VALUES = attrgetter(*_NAMES)


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
"""For each epoch selection rule, the key that it maximises.

Of two epochs with equal accuracies, the later one is selected. The rule ``front`` selects several epochs; its
key selects the first of them.
"""


def chosen_epoch(history: Sequence[EpochResult], rule: str) -> EpochResult | None:
    """Return the evaluated epoch that a rule selects; None when no epoch was evaluated.

    Args:
        history: The epochs of a training.
        rule: A key of :data:`EPOCH_RULES`.
    """
    evaluated = [result for result in history if result.robust_accuracy is not None]
    return max(evaluated, key=EPOCH_RULES[rule], default=None)


def chosen_epochs(history: Sequence[EpochResult], rule: str) -> list[EpochResult]:
    """Return all epochs that a rule selects, the epoch of :func:`chosen_epoch` first.

    The rule ``front`` selects each evaluated epoch that no other epoch dominates, and the last of several
    epochs with equal accuracies. Any other rule selects one epoch.

    Args:
        history: The epochs of a training.
        rule: A key of :data:`EPOCH_RULES`.

    Returns:
        The epochs; none when no epoch was evaluated.
    """
    chosen = chosen_epoch(history, rule)
    if chosen is None or rule != "front":
        return [] if chosen is None else [chosen]
    latest = {_pair(result): result for result in history if result.robust_accuracy is not None}
    results, points = list(latest.values()), np.array(list(latest))
    kept = np.flatnonzero(~dominates(points[:, None], points[None]).any(axis=0))
    return [chosen, *(results[index] for index in kept if results[index] is not chosen)]


def _pair(result: EpochResult) -> tuple[float, float]:
    return result.clean_accuracy or 0.0, result.robust_accuracy or 0.0
