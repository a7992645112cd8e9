"""The accuracy objectives by name, and the attack that each of them requires."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch.nn.functional as F
from torch import Tensor

from morel_search._format import shortened
from morel_search._imports import import_object, not_callable_reason
from morel_search.errors import TrainingError
from morel_search.training import distillation, losses
from morel_search.training.attacks import (
    Objective,
    cross_entropy_objective,
    kl_objective,
    margin_objective,
)
from morel_search.training.settings import TrainSettings

__all__ = ["ACCURACY_OBJECTIVES", "AccuracyObjective", "AttackTarget", "Outputs", "accuracy_objective"]

AttackTarget = Callable[[Callable[[], Tensor], Tensor, int, Tensor | None], Objective]
"""What an attack maximises, from a function that returns the clean logits, the labels, the epoch, and the
teacher's clean logits, or None without a teacher."""

ATTACK_TARGETS: dict[str, tuple[AttackTarget, str]] = {
    "cross_entropy": (lambda clean, y, *_: cross_entropy_objective(y), "the cross entropy"),
    "kl": (
        lambda clean, y, *_: kl_objective(clean()),
        "the KL divergence from the clean prediction",
    ),
    "margin": (
        lambda clean, y, *_: margin_objective(y),
        "the largest wrong logit minus that of the label",
    ),
}
"""Name of a target to the target and its name in a sentence."""

TEACHER_ARGUMENT = "teacher_logits"
"""The argument of a loss of the user's own that asks for a teacher."""


@dataclass(frozen=True, slots=True, eq=False)
class Outputs:
    """The logits of a batch, from which an accuracy objective is computed.

    Attributes:
        clean: Clean logits, shape (N, C).
        adversarial: Adversarial logits, shape (N, C); without an attack, the clean ones.
        labels: Integers in [0, C), shape (N,).
        epoch: Epoch, from 0.
        teacher: The teacher's logits of the clean images, shape (N, C); None if the objective needs none.
    """

    clean: Tensor
    adversarial: Tensor
    labels: Tensor
    epoch: int = 0
    teacher: Tensor | None = None


@dataclass(frozen=True, slots=True)
class AccuracyObjective:
    """An accuracy objective with the settings of a training.

    Attributes:
        loss: Function of the logits that returns a scalar.
        attack_target: What the training attack maximises.
        needs_attack: Whether the loss depends on the adversarial logits.
        attack_text: What the attack maximises, in words.
        needs_teacher: Whether the loss or the attack depends on the logits of a teacher.
    """

    loss: Callable[[Outputs], Tensor]
    attack_target: AttackTarget = ATTACK_TARGETS["cross_entropy"][0]
    needs_attack: bool = True
    attack_text: str = ATTACK_TARGETS["cross_entropy"][1]
    needs_teacher: bool = False


def _trades(settings: TrainSettings) -> AccuracyObjective:
    target, text = ATTACK_TARGETS["kl"]
    smoothing = settings.label_smoothing
    return AccuracyObjective(
        lambda out: losses.trades(
            out.clean, out.adversarial, out.labels, beta=settings.beta, label_smoothing=smoothing
        ),
        target,
        attack_text=text,
    )


def _mart(settings: TrainSettings) -> AccuracyObjective:
    smoothing = settings.label_smoothing
    return AccuracyObjective(
        lambda out: losses.mart(
            out.clean, out.adversarial, out.labels, beta=settings.beta, label_smoothing=smoothing
        )
    )


def _loat(settings: TrainSettings) -> AccuracyObjective:
    def phase(epoch: int) -> losses.Phase:
        if epoch <= settings.loat_early_until:
            return "early"
        return "late" if epoch >= settings.loat_late_from else "middle"

    gamma = settings.loat_gamma if settings.loat_variant == "lore" else 0.0
    return AccuracyObjective(
        lambda out: losses.loat(
            out.clean,
            out.adversarial,
            out.labels,
            beta=settings.beta,
            phase=phase(out.epoch),
            regularizer=settings.loat_regularizer,
            theta=settings.loat_theta,
            gamma=gamma,
            label_smoothing=settings.label_smoothing,
        )
    )


def _pgd(settings: TrainSettings) -> AccuracyObjective:
    smoothing = settings.label_smoothing
    return AccuracyObjective(
        lambda out: F.cross_entropy(out.adversarial, out.labels, label_smoothing=smoothing)
    )


def _none(settings: TrainSettings) -> AccuracyObjective:
    smoothing = settings.label_smoothing
    return AccuracyObjective(
        lambda out: F.cross_entropy(out.clean, out.labels, label_smoothing=smoothing), needs_attack=False
    )


def _ard(settings: TrainSettings) -> AccuracyObjective:
    weight = _or_default(settings.teacher_weight, distillation.ARD_WEIGHT)
    temperature = _or_default(settings.teacher_temperature, distillation.ARD_TEMPERATURE)
    return AccuracyObjective(
        lambda out: distillation.ard(
            out.clean,
            out.adversarial,
            _given(out.teacher),
            out.labels,
            weight=weight,
            temperature=temperature,
            label_smoothing=settings.label_smoothing,
        ),
        needs_teacher=True,
    )


def _rslad(settings: TrainSettings) -> AccuracyObjective:
    weight = _or_default(settings.teacher_weight, distillation.RSLAD_WEIGHT)
    temperature = _or_default(settings.teacher_temperature, distillation.RSLAD_TEMPERATURE)
    return AccuracyObjective(
        lambda out: distillation.rslad(
            out.clean, out.adversarial, _given(out.teacher), weight=weight, temperature=temperature
        ),
        lambda clean, y, epoch, teacher: distillation.soft_labels(_given(teacher), temperature),
        attack_text="the KL divergence from the teacher's clean prediction",
        needs_teacher=True,
    )


def _or_default(value: float | None, default: float) -> float:
    return default if value is None else value


def _given(teacher: Tensor | None) -> Tensor:
    assert teacher is not None, "a step without a teacher is refused when it is made"
    return teacher


ACCURACY_OBJECTIVES: dict[str, Callable[[TrainSettings], AccuracyObjective]] = {
    "trades": _trades,
    "mart": _mart,
    "loat": _loat,
    "pgd": _pgd,
    "none": _none,
    "ard": _ard,
    "rslad": _rslad,
}


def accuracy_objective(settings: TrainSettings) -> AccuracyObjective:
    """Return the accuracy objective that the settings name.

    An import path ``package.module:name`` names a function (clean logits, adversarial logits, labels, *,
    epoch, settings) that returns a scalar. Its attribute ``attack_target`` selects what the training attack
    maximises: a name of ``ATTACK_TARGETS`` (``cross_entropy`` is the default), a function with the arguments
    of the loss, or None for a loss that does not depend on the adversarial logits. A function with an
    argument ``teacher_logits`` needs a teacher.

    Raises:
        TrainingError: The name is unknown, the import path names nothing, or the attack target is none of
            these.
    """
    build = ACCURACY_OBJECTIVES.get(settings.accuracy_loss)
    if build is not None:
        return build(settings)
    loss = _import_loss(settings.accuracy_loss)
    taught = _takes_teacher(loss)

    def value(out: Outputs) -> Tensor:
        more = {TEACHER_ARGUMENT: out.teacher} if taught else {}
        made: object = loss(
            out.clean, out.adversarial, out.labels, epoch=out.epoch, settings=settings, **more
        )
        if not isinstance(made, Tensor):
            raise TrainingError(
                f"accuracy_loss {settings.accuracy_loss} must return one number as a tensor, got "
                f"{type(made).__name__}"
            )
        return made

    target = _attack_target_of(loss)
    if target is None:
        return AccuracyObjective(value, needs_attack=False, needs_teacher=taught)
    if isinstance(target, str) and target in ATTACK_TARGETS:
        known, text = ATTACK_TARGETS[target]
        return AccuracyObjective(value, known, attack_text=text, needs_teacher=taught)
    if not callable(target):
        raise TrainingError(
            f"the attack_target of accuracy_loss {settings.accuracy_loss} must be one of "
            f"{', '.join(ATTACK_TARGETS)}, a function or None, got {shortened(repr(target))}"
        )
    name = getattr(target, "__name__", "its own function")
    return AccuracyObjective(
        value,
        _own_target(target, settings),
        attack_text=str(name),
        needs_teacher=taught or _takes_teacher(target),
    )


def _takes_teacher(function: Callable[..., object]) -> bool:
    try:
        return TEACHER_ARGUMENT in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a builtin without a signature
        return False


def _attack_target_of(loss: Callable[..., Tensor]) -> object:
    """Return the attribute of the loss, or of the function that a ``functools.partial`` calls."""
    target: object = loss
    while not hasattr(target, "attack_target") and isinstance(target, functools.partial):
        target = target.func
    return getattr(target, "attack_target", "cross_entropy")


def _own_target(function: Callable[..., object], settings: TrainSettings) -> AttackTarget:
    """Return the target that the user's own function computes, as a sum over the batch."""
    place = f"the attack_target of accuracy_loss {settings.accuracy_loss}"
    taught = _takes_teacher(function)

    def target(clean: Callable[[], Tensor], y: Tensor, epoch: int, teacher: Tensor | None) -> Objective:
        clean_logits = clean()
        more = {TEACHER_ARGUMENT: teacher} if taught else {}

        def objective(adversarial_logits: Tensor) -> Tensor:
            value = function(clean_logits, adversarial_logits, y, epoch=epoch, settings=settings, **more)
            if not isinstance(value, Tensor) or value.shape not in ((), (len(y),)):
                got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
                raise TrainingError(f"{place} must return one number, or one for each image, got {got}")
            if not value.requires_grad:
                raise TrainingError(f"{place} must depend on the adversarial logits, with a gradient")
            return value.sum()

        return objective

    return target


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
