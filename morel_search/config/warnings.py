"""Warnings about settings that are allowed but probably a mistake."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from morel_search._values import JsonObject, SettingValue
from morel_search.config.condition_checks import condition_warnings
from morel_search.config.possible_values import (
    accuracy_losses,
    drawn_with,
    highest,
    lowest,
    parameter_of,
    possible_values,
)
from morel_search.config.rational import format_value
from morel_search.config.search_warnings import search_warnings
from morel_search.config.space import Space
from morel_search.training.data_settings import DOWNLOADED, HUB, is_hub_name
from morel_search.training.names import ACCURACY_LOSSES, DISTILLATION_LOSSES
from morel_search.training.settings import EvaluationSettings

__all__ = ["warnings"]

ALPHA_MATTERS = 1e-3
"""Smallest weight of the contrastive term with a measurable effect.

At k_robust = 0.1 the term changes the gradient of the encoder by 6e-7 of its norm for alpha = 1e-5, and by
6e-3 for alpha = 0.1. Below 1e-3 the change is less than 1e-4, far less than the noise of one batch.
"""
FAR = 3
"""Factor between the epsilons of training and evaluation from which on they are called far apart."""
FEW_IMAGES = 200
"""Number of validation images below which the resolution of an accuracy is named."""

_CONTRASTIVE = ("temperature", "contrastive_features", "attention_heads")
_LOAT = ("loat_variant", "loat_regularizer", "loat_theta", "loat_gamma", "loat_early_until", "loat_late_from")
_TEACHER = ("teacher_weight", "teacher_temperature")
_USED_BY = {
    "beta": ("trades", "mart", "loat"),
    **dict.fromkeys(_LOAT, ("loat",)),
    **dict.fromkeys(_TEACHER, DISTILLATION_LOSSES),
}
_DATA_USED_BY = {
    "folder": DOWNLOADED,
    "download": DOWNLOADED,
    "train": ("parquet", "image_folder", "npz", HUB),
    "test": ("parquet", "image_folder", "npz", HUB),
    "subset": (HUB, "emnist"),
    "revision": (HUB,),
    "commit": (HUB,),
    "image_column": ("parquet", "npz", HUB),
    "label_column": ("parquet", "npz", HUB),
    "image_size": ("parquet", "image_folder", "npz", HUB, *DOWNLOADED[2:]),
}

_EXTRA_USES = ("image_column", "label_column", "image_size")


def warnings(space: Space, given: JsonObject) -> tuple[str, ...]:
    """Return a sentence for each setting that is allowed but probably a mistake.

    Args:
        space: The checked space.
        given: The values of the file; they distinguish given values from defaults.
    """
    checks: tuple[Callable[[Space], Iterator[str]], ...] = (
        search_warnings,
        condition_warnings,
        _robust_objective,
        _accuracy_objective,
        _own_losses,
        _teacher,
        _phases,
        _schedule,
        _awp,
        _attack,
        _images,
        _device,
    )
    data = given.get("data")
    return (
        *(sentence for check in checks for sentence in check(space)),
        *_unused_data(space, data if isinstance(data, dict) else {}),
    )


def _robust_objective(space: Space) -> Iterator[str]:
    if highest(space, "k_robust") == 0:
        for name in (*_CONTRASTIVE, "alpha", "embedding_dim"):
            if parameter_of(space, name):
                yield f"parameters.{name} has no effect: k_robust is 0, so the robust objective has no weight"
        return
    top = highest(space, "alpha")
    for name in _CONTRASTIVE:
        if parameter_of(space, name) and top < ALPHA_MATTERS:
            yield (
                f"parameters.{name} has no measurable effect: alpha is at most {format_value(top)}; search "
                f"alpha from about 0.001 to 10"
            )
    alpha = parameter_of(space, "alpha")
    if alpha and top < ALPHA_MATTERS:
        yield (
            f"parameters.alpha has no measurable effect: it is at most {format_value(top)}; search it from "
            f"about 0.001 to 10"
        )
    if (
        space.train.k_accuracy is None
        and not parameter_of(space, "k_accuracy")
        and highest(space, "k_robust") >= 1
    ):
        yield (
            "k_robust reaches 1 and k_accuracy is 1 - k_robust: without weight on the accuracy objective the "
            "network does not learn to classify"
        )
    if alpha and lowest(space, "batch_size") < 2:
        yield "batch_size reaches 1: the contrastive term has no pairs of images in a batch of one"


def _accuracy_objective(space: Space) -> Iterator[str]:
    for name, users in _USED_BY.items():
        parameter = parameter_of(space, name)
        if parameter is None:
            continue
        losses = drawn_with(space, parameter, "accuracy_loss")
        # A loss of the user's own may read any setting.
        if not any(loss in users or loss not in ACCURACY_LOSSES for loss in losses):
            yield (
                f"parameters.{name} has no effect: accuracy_loss is {_listed(losses)}, which does not use it"
            )


def _own_losses(space: Space) -> Iterator[str]:
    """Settings that a loss of the user's own must read itself."""
    trainings = [space.train, *(space.control_settings(control) for control in space.controls)]
    smoothed = highest(space, "label_smoothing") > 0
    losses = [*possible_values(space, "accuracy_loss")] if smoothed else []
    losses += [training.accuracy_loss for training in trainings if training.label_smoothing > 0]
    for loss in dict.fromkeys(losses):
        if loss not in ACCURACY_LOSSES:
            yield (
                f"label_smoothing has an effect on {loss} only if this function reads "
                f"settings.label_smoothing itself"
            )


def _teacher(space: Space) -> Iterator[str]:
    losses = accuracy_losses(space)
    may_use = any(loss in DISTILLATION_LOSSES or loss not in ACCURACY_LOSSES for loss in losses)
    if space.train.teacher is not None and not may_use:
        yield f"train.teacher has no effect: accuracy_loss is {_listed(losses)}, which has no teacher"


def _phases(space: Space) -> Iterator[str]:
    if "loat" not in possible_values(space, "accuracy_loss"):
        return
    first, epochs = lowest(space, "loat_late_from"), highest(space, "epochs")
    if first >= epochs:
        yield (
            f"loat_late_from is {first}, but the epochs of a training are 0 to {epochs - 1}: LOAT has no "
            f"late phase"
        )


def _schedule(space: Space) -> Iterator[str]:
    for name in ("schedule_drops", "schedule_factor"):
        if parameter_of(space, name) and "step" not in possible_values(space, "schedule"):
            yield f"parameters.{name} has no effect: schedule is never step"


def _awp(space: Space) -> Iterator[str]:
    if parameter_of(space, "awp_warmup") and highest(space, "awp") == 0:
        yield "parameters.awp_warmup has no effect: awp is 0, so no weights are perturbed"


def _attack(space: Space) -> Iterator[str]:
    evaluation = space.evaluation
    norms = possible_values(space, "norm")
    if parameter_of(space, "epsilon") and set(norms) == {evaluation.norm}:
        low, high = lowest(space, "epsilon"), highest(space, "epsilon")
        if high * FAR < evaluation.epsilon or low > evaluation.epsilon * FAR:
            side = "below" if high < evaluation.epsilon else "above"
            yield (
                f"parameters.epsilon ({format_value(low)} to {format_value(high)}) is far {side} the epsilon "
                f"of the evaluation, {format_value(evaluation.epsilon)}"
            )
    if evaluation.norm not in norms:
        yield (
            f"the attack of trainings has the norm {_listed(norms)}, and the attack of the evaluation "
            f"{evaluation.norm}"
        )
    plain = evaluation.loss != "targeted_margin"  # whose further starts are always random
    if plain and evaluation.restarts > 1 and evaluation.random_start == "none":
        yield (
            f"evaluation.restarts is {evaluation.restarts}, but all starts are the same without a random "
            f"start"
        )
    if not plain:
        defaults = EvaluationSettings()
        for name in ("step_size", "step_ratio", "random_start"):
            if getattr(evaluation, name) != getattr(defaults, name):
                yield (
                    f"evaluation.{name} has no effect: evaluation.loss is targeted_margin; set it to margin "
                    "or cross_entropy for plain PGD"
                )


def _device(space: Space) -> Iterator[str]:
    resources = space.resources
    if resources.gpu > 1:
        yield (
            f"resources.gpu is {resources.gpu:g}, but a training uses one GPU: the others are reserved and "
            f"not used"
        )
    if resources.device == "cpu" and resources.gpu > 0:
        yield (
            f"resources.gpu is {resources.gpu:g}, but resources.device is cpu: the GPU is reserved and "
            f"not used"
        )


def _images(space: Space) -> Iterator[str]:
    data = space.data
    if data.validation >= 1:
        count = data.validation
    elif data.limit is not None:
        count = data.validation * data.limit
    else:
        return
    if count < FEW_IMAGES:
        yield (
            f"data.validation leaves {int(count)} validation images: accuracies have steps of "
            f"{1 / max(1, int(count)):.2g}"
        )
    if data.limit is not None and lowest(space, "batch_size") > data.limit - count:
        yield (
            f"batch_size is above the number of training images, {int(data.limit - count)}: an epoch is one "
            f"smaller batch"
        )


def _unused_data(space: Space, given: JsonObject) -> Iterator[str]:
    kind = HUB if is_hub_name(space.data.name) else space.data.name
    for name, users in _DATA_USED_BY.items():
        by_extra = space.data.extra is not None and name in _EXTRA_USES
        if given.get(name) is not None and kind not in users and not by_extra:
            yield f"data.{name} has no effect with {space.data.name}"
    if space.data.extra is None:
        if given.get("extra_share") is not None:
            yield "data.extra_share has no effect: data.extra is not given"
        if parameter_of(space, "data.extra_share"):
            yield "parameters.data.extra_share has no effect: data.extra is not given"


def _listed(values: Iterable[SettingValue]) -> str:
    return " or ".join(format_value(value) for value in values)
