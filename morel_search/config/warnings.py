"""What a space file may say and still looks wrong, with the measurements behind the thresholds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from morel_search.config.possible_values import drawn_with, highest, lowest, parameter_of, possible_values
from morel_search.config.rational import format_value
from morel_search.config.space import Space
from morel_search.training.names import ACCURACY_LOSSES

__all__ = ["warnings"]

# At alpha = 1e-5 and k_robust = 0.1 the contrastive term changes the encoder's gradient by 6e-7 of its norm,
# at 0.1 by 6e-3: below 1e-3 it is under 1e-4 of it, far less than the noise of one batch.
ALPHA_MATTERS = 1e-3
FAR = 3
FEW_IMAGES = 200
_CONTRASTIVE = ("temperature", "contrastive_features", "attention_heads")
_LOAT = ("loat_variant", "loat_regularizer", "loat_theta", "loat_gamma", "loat_early_until", "loat_late_from")
_USED_BY = {"beta": ("trades", "mart", "loat"), **dict.fromkeys(_LOAT, ("loat",))}
_DATA_USED_BY = {
    "folder": ("cifar10", "cifar100"),
    "download": ("cifar10", "cifar100"),
    "train": ("parquet", "image_folder"),
    "test": ("parquet", "image_folder"),
    "image_column": ("parquet",),
    "label_column": ("parquet",),
    "image_size": ("parquet", "image_folder"),
}


def warnings(space: Space, given: Mapping[str, Any]) -> tuple[str, ...]:
    """A sentence for everything that is allowed and looks wrong.

    Args:
        space: The checked space.
        given: The file's plain values, to tell what was asked for from what is a default.
    """
    parts: tuple[Callable[[Space], Iterator[str]], ...] = (
        _search,
        _stopping,
        _ending,
        _robust_objective,
        _accuracy_objective,
        _phases,
        _schedule,
        _attack,
        _images,
        _device,
    )
    return tuple(sentence for part in parts for sentence in part(space)) + tuple(
        _unused_data(space, given.get("data") or {})
    )


def _search(space: Space) -> Iterator[str]:
    search = space.search
    if search.sampler in ("nsga2", "nsga3") and search.population >= search.trials:
        yield (
            f"search.population is {search.population} for {search.trials} trials: this is random "
            f"search, because {search.sampler} "
            "learns from the second generation on"
        )
    sizes = [None if parameter.values is None else len(parameter.values) for parameter in space.parameters]
    settings = math.prod(size for size in sizes if size is not None)
    if None not in sizes and settings < search.trials:
        yield f"parameters: there are at most {settings} different trainings for {search.trials} trials, so some will be repeated"


def _stopping(space: Space) -> Iterator[str]:
    stopping, epochs = space.early_stopping, highest(space, "epochs")
    if not stopping.enabled:
        return
    if (stopping.grace or 1) >= epochs:
        yield f"early_stopping cannot stop anything: the first rung is after {stopping.grace or 1} epochs and a training has {epochs}"
    if stopping.min_peers is not None and stopping.min_peers < stopping.eta:
        yield f"early_stopping.min_peers is {stopping.min_peers}; it takes at least eta ({stopping.eta}) trainings to stop one of them"
    if parameter_of(space, "epochs"):
        yield "epochs is searched: trainings of different lengths meet at the same rung with different learning rates"
    if "constant" not in possible_values(space, "schedule") and space.search.select_epoch == "last":
        yield "search.select_epoch is last: early stopping compares what trainings have at a rung, where the learning rate is still high"


def _ending(space: Space) -> Iterator[str]:
    search = space.search
    if search.max_gpu_hours is not None and not space.resources.gpu:
        yield "search.max_gpu_hours never ends this search: resources.gpu is 0"
    if search.warmup_trials is not None and search.sampler not in ("nsga2", "nsga3"):
        yield f"search.warmup_trials has no effect with {search.sampler}"


def _robust_objective(space: Space) -> Iterator[str]:
    if highest(space, "k_robust") == 0:
        for name in (*_CONTRASTIVE, "alpha", "embedding_dim"):
            if parameter_of(space, name):
                yield f"parameters.{name} cannot matter: k_robust is 0, so the robust objective has no weight"
        return
    top = highest(space, "alpha")
    for name in _CONTRASTIVE:
        if parameter_of(space, name) and top < ALPHA_MATTERS:
            yield f"parameters.{name} cannot matter: alpha stays at or below {format_value(top)}; search alpha from about 0.001 to 10"
    alpha = parameter_of(space, "alpha")
    if alpha and top < ALPHA_MATTERS:
        yield f"parameters.alpha cannot matter: it stays at or below {format_value(top)}; search it from about 0.001 to 10"
    if (
        space.train.k_accuracy is None
        and not parameter_of(space, "k_accuracy")
        and highest(space, "k_robust") >= 1
    ):
        yield "k_robust reaches 1 and k_accuracy is 1 - k_robust: without weight on the accuracy objective nothing is classified"
    if alpha and lowest(space, "batch_size") < 2:
        yield "batch_size reaches 1: the contrastive term has no pairs of images to compare there"


def _accuracy_objective(space: Space) -> Iterator[str]:
    for name, users in _USED_BY.items():
        parameter = parameter_of(space, name)
        if parameter is None:
            continue
        losses = drawn_with(space, parameter, "accuracy_loss")
        # A loss of the user's own may read any setting.
        if not any(loss in users or loss not in ACCURACY_LOSSES for loss in losses):
            yield f"parameters.{name} cannot matter: accuracy_loss is {_listed(losses)}, which does not use it"


def _phases(space: Space) -> Iterator[str]:
    if "loat" not in possible_values(space, "accuracy_loss"):
        return
    first, epochs = lowest(space, "loat_late_from"), highest(space, "epochs")
    if first >= epochs:
        yield f"loat_late_from is {first} and a training has {epochs} epochs (0 to {epochs - 1}): LOAT's late phase never comes"


def _schedule(space: Space) -> Iterator[str]:
    for name in ("schedule_drops", "schedule_factor"):
        if parameter_of(space, name) and "step" not in possible_values(space, "schedule"):
            yield f"parameters.{name} cannot matter: schedule is never step"


def _attack(space: Space) -> Iterator[str]:
    judged = space.evaluation
    parameter = parameter_of(space, "epsilon")
    if parameter and set(possible_values(space, "norm")) == {judged.norm}:
        low, high = lowest(space, "epsilon"), highest(space, "epsilon")
        ends = f"{format_value(low)} to {format_value(high)}"
        if high * FAR < judged.epsilon or low > judged.epsilon * FAR:
            side = "below" if high < judged.epsilon else "above"
            yield f"parameters.epsilon ({ends}) is far {side} the evaluation epsilon {format_value(judged.epsilon)}"
    if judged.norm not in possible_values(space, "norm"):
        yield f"trainings defend against {_listed(possible_values(space, 'norm'))} and are judged by {judged.norm}"
    if judged.restarts > 1 and judged.random_start == "none":
        yield f"evaluation.restarts is {judged.restarts} without a random start: each start is the same"


def _device(space: Space) -> Iterator[str]:
    resources = space.resources
    if resources.device == "cpu" and resources.gpu > 0:
        yield f"resources.gpu is {resources.gpu:g} and resources.device is cpu: a GPU is kept busy and not used"


def _images(space: Space) -> Iterator[str]:
    data = space.data
    held = (
        data.validation
        if data.validation >= 1
        else None
        if data.limit is None
        else data.validation * data.limit
    )
    if held is not None and held < FEW_IMAGES:
        yield f"data.validation leaves {int(held)} images to judge by: an accuracy then moves in steps of {1 / max(1, int(held)):.2g}"
    if data.limit is not None and held is not None and lowest(space, "batch_size") > data.limit - held:
        yield f"batch_size is above the {int(data.limit - held)} images to train on: an epoch is one smaller batch"


def _unused_data(space: Space, given: Mapping[str, Any]) -> Iterator[str]:
    for name, users in _DATA_USED_BY.items():
        if given.get(name) is not None and space.data.name not in users:
            yield f"data.{name} is given and {space.data.name} does not use it"


def _listed(values: Any) -> str:
    return " or ".join(format_value(value) for value in values)
