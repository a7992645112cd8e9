"""The accuracy objectives by name, and the attack that each of them requires."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, cast

import torch.nn.functional as F
from torch import Tensor

from morel_search._imports import import_object, not_callable_reason
from morel_search.errors import TrainingError
from morel_search.training import losses
from morel_search.training.settings import TrainSettings

__all__ = ["ACCURACY_OBJECTIVES", "AccuracyObjective", "accuracy_objective"]

AttackTarget = Literal["kl", "cross_entropy"]


@dataclass(frozen=True, slots=True)
class AccuracyObjective:
    """An accuracy objective with the settings of a training.

    Attributes:
        loss: Function of clean logits, adversarial logits, labels and epoch (from 0) that returns a scalar.
            Without an attack, both logits are the clean logits.
        attack_target: The loss that the training attack maximises: the KL divergence from the clean
            prediction, or the cross entropy.
        needs_attack: Whether the loss depends on the adversarial logits.
    """

    loss: Callable[[Tensor, Tensor, Tensor, int], Tensor]
    attack_target: AttackTarget = "cross_entropy"
    needs_attack: bool = True


def _trades(settings: TrainSettings) -> AccuracyObjective:
    return AccuracyObjective(lambda clean, adv, y, _: losses.trades(clean, adv, y, beta=settings.beta), "kl")


def _mart(settings: TrainSettings) -> AccuracyObjective:
    return AccuracyObjective(lambda clean, adv, y, _: losses.mart(clean, adv, y, beta=settings.beta))


def _loat(settings: TrainSettings) -> AccuracyObjective:
    def phase(epoch: int) -> losses.Phase:
        if epoch <= settings.loat_early_until:
            return "early"
        return "late" if epoch >= settings.loat_late_from else "middle"

    gamma = settings.loat_gamma if settings.loat_variant == "lore" else 0.0
    return AccuracyObjective(
        lambda clean, adv, y, epoch: losses.loat(
            clean,
            adv,
            y,
            beta=settings.beta,
            phase=phase(epoch),
            regularizer=settings.loat_regularizer,
            theta=settings.loat_theta,
            gamma=gamma,
        )
    )


def _pgd(_: TrainSettings) -> AccuracyObjective:
    return AccuracyObjective(lambda clean, adv, y, epoch: F.cross_entropy(adv, y))


def _none(_: TrainSettings) -> AccuracyObjective:
    return AccuracyObjective(lambda clean, adv, y, epoch: F.cross_entropy(clean, y), needs_attack=False)


ACCURACY_OBJECTIVES: dict[str, Callable[[TrainSettings], AccuracyObjective]] = {
    "trades": _trades,
    "mart": _mart,
    "loat": _loat,
    "pgd": _pgd,
    "none": _none,
}


def accuracy_objective(settings: TrainSettings) -> AccuracyObjective:
    """Return the accuracy objective that the settings name.

    An import path ``package.module:name`` names a function (clean logits, adversarial logits, labels, *,
    epoch, settings) that returns a scalar. Its attribute ``attack_target``, "kl" or "cross_entropy" (the
    default), selects the loss that the attack maximises.

    Raises:
        TrainingError: The name is unknown, or the import path names nothing.
    """
    build = ACCURACY_OBJECTIVES.get(settings.accuracy_loss)
    if build is not None:
        return build(settings)
    loss = _import_loss(settings.accuracy_loss)
    target = cast(AttackTarget, getattr(loss, "attack_target", "cross_entropy"))
    return AccuracyObjective(
        lambda clean, adv, y, epoch: loss(clean, adv, y, epoch=epoch, settings=settings), target
    )


def _import_loss(path: str) -> Callable[..., Tensor]:
    """Import the function ``package.module:name``.

    Raises:
        TrainingError: The path is not of this form, the module or the name does not exist, or the object
            cannot be a loss.
    """
    try:
        loss = import_object(path)
    except ImportError as error:
        known = ", ".join(ACCURACY_OBJECTIVES)
        raise TrainingError(
            f"accuracy_loss {path!r} is neither one of {known} nor an import path package.module:name "
            f"({error})"
        ) from error
    reason = "is a class, not a function" if isinstance(loss, type) else not_callable_reason(loss)
    if reason:
        raise TrainingError(f"accuracy_loss {path!r} {reason}")
    return cast("Callable[..., Tensor]", loss)
