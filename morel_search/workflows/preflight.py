"""Checks before a search starts.

Whether data, network and device fit together, and how long an epoch takes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from morel_search._cli import print_err
from morel_search._consent import import_paths
from morel_search._format import points
from morel_search._machine import usable_cpus
from morel_search.cluster.placement import device_for, threads_for
from morel_search.config import Space
from morel_search.errors import DataError, DivergedError, ResourceError, TrainingError
from morel_search.training.compute_settings import Compute
from morel_search.workflows.image_memory import image_memory_warning
from morel_search.workflows.network_checks import (
    checked_network,
    objective_notes,
    own_code,
    start_notes,
    teacher_note,
    teacher_of,
)
from morel_search.workflows.rivals import check_rivals

if TYPE_CHECKING:
    from pathlib import Path

    from morel_search.training.trainer import Training

__all__ = ["PreflightResult", "check_device", "inspect", "preflight_warnings", "time_epoch"]

FEW_VALIDATION = 200
"""Number of validation images below which the standard error of an accuracy of 0.5 is above 0.035."""

TIMED_BATCHES = 3
"""Training batches on which the duration of an epoch is measured."""

MEASUREMENT_SECONDS = 3600.0
"""Time limit of that measurement."""

NO_RATE = 1e-12
"""A learning rate that changes no weight."""

TIMED_VALIDATION, TIMED_PASSES = 128, 3
"""Validation images, and gradient passes over them, on which the duration of an attack is measured."""

ATTACKED_SHARE = 0.4
"""Assumed share of the images that are still attacked, on average over the steps of an attack: misclassified
images leave. It is 0.17 (CIFAR-10) to 0.42 (digits) in ``benchmarks/evaluation.md``."""


@dataclass(frozen=True, slots=True)
class PreflightResult:
    """The sizes of the data and the network, and the arithmetic.

    Attributes:
        train: Number of training images.
        validation: Number of validation images.
        image_shape: Channels, height, width.
        classes: Number of classes.
        weights: Number of trainable weights of the network.
        compute: The arithmetic of trainings on this machine.
        warnings: Properties of the network that make its accuracies unreliable, and images that do not fit
            into memory, one sentence each.
        notes: What was done with images, labels and own losses and is worth knowing, one sentence each.
        teacher_sha256: SHA-256 of the teacher; None if no training needs one.
    """

    train: int
    validation: int
    image_shape: tuple[int, int, int]
    classes: int
    weights: int
    compute: Compute
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    teacher_sha256: str | None = None


def inspect(space: Space, teacher_copy: Path | None = None) -> PreflightResult:
    """Read the training and validation images and build the network; only the test split's format is checked.

    Args:
        space: The space.
        teacher_copy: A copy of the teacher's folder, which is read instead if it exists.

    Raises:
        DataError: The images cannot be read, or are too few for the split.
        NetworkError: The network or the teacher does not fit the images, or the network's predictions depend
            on the other images of a batch; or a rival cannot be loaded or attacked.
        UntrustedCodeError: The folder of the teacher names code that the space file does not name.
        TrainingError: An accuracy objective cannot be used, the device does not support the requested
            arithmetic, or its memory does not hold the weights of a training.
    """
    from morel_search.training.datasets.loading import check_test, load_development

    notes = check_test(space.data)
    development = load_development(space.data)
    channels, height, width = (int(size) for size in development.train.images.shape[1:])
    teacher = teacher_of(space, (channels, height, width), development.classes, teacher_copy)
    network, compute, warnings = checked_network(
        space, development.train, len(development.classes), None if teacher is None else teacher.model
    )
    if not len(development.validation):
        raise DataError("the validation split is empty: raise data.validation")
    costs = check_rivals(space, development)
    too_large = image_memory_warning(space, development)
    return PreflightResult(
        train=len(development.train),
        validation=len(development.validation),
        image_shape=(channels, height, width),
        classes=len(development.classes),
        weights=sum(weight.numel() for weight in network.parameters() if weight.requires_grad),
        compute=compute,
        warnings=(*warnings, *([too_large] if too_large else [])),
        notes=(
            *development.notes,
            *notes,
            *start_notes(space, network),
            *objective_notes(space),
            *(() if teacher is None else (teacher_note(space, teacher),)),
            *costs,
        ),
        teacher_sha256=None if teacher is None else teacher.sha256,
    )


def check_device(space: Space) -> None:
    """Refuse resources that this machine does not have, without starting Ray.

    Raises:
        ResourceError: ``resources`` name a device, a number of GPUs or of processor cores that this machine
            does not have.
    """
    import torch

    resources = space.resources
    wants_cuda = resources.gpu > 0 or resources.device == "cuda"
    if wants_cuda and torch.cuda.device_count() < max(1, resources.gpu):
        raise ResourceError(
            f"resources.gpu is {resources.gpu:g} and resources.device is {resources.device}, but torch finds "
            f"{torch.cuda.device_count()} CUDA devices on this machine; "
            "--set resources.gpu=0 trains on the CPU"
        )
    if resources.device == "cuda" and not resources.gpu:
        raise ResourceError(
            "resources.device is cuda but resources.gpu is 0: set resources.gpu to the share of a GPU that a "
            "trial uses, such as 1 or 0.25"
        )
    if resources.device == "mps" and not torch.backends.mps.is_available():
        raise ResourceError(
            "resources.device is mps, but torch finds no Apple GPU on this machine; "
            "--set resources.device=auto trains on the CPU"
        )
    cores = usable_cpus()
    if resources.cpu > cores:
        raise ResourceError(
            f"resources.cpu is {resources.cpu:g}, but this process may use {cores} cores; lower resources.cpu"
        )


def time_epoch(
    space: Space, compute: Compute, batches: int = TIMED_BATCHES, *, teacher_copy: Path | None = None
) -> float:
    """Estimate the seconds of one epoch with the settings of ``train``, on a few batches after a warm-up.

    ``teacher_copy`` is as in :func:`inspect`. If the training diverges, a learning rate near 0 is measured,
    which takes the same time, and a warning says so.

    Raises:
        TrainingError: The user's own network or loss failed or took too long, or the training diverges with
            any learning rate.
    """
    with own_code(space, "the measurement of an epoch", MEASUREMENT_SECONDS):
        try:
            return _epoch_seconds(space, compute, batches, teacher_copy)
        except DivergedError as error:
            problem = f"with the settings of train, a training of {batches} batches {error}"
        codes = [*import_paths([space.train.accuracy_loss, space.network.name])]
        suspects = "".join(f" or check {code}" for code in codes)
        try:
            near_zero = replace(space.train, lr=NO_RATE)
            seconds = _epoch_seconds(replace(space, train=near_zero), compute, batches, teacher_copy)
        except DivergedError as error:
            check = " and ".join(codes) or "the other settings of train, and the weights of the network"
            raise TrainingError(
                f"{problem}, and also with lr {NO_RATE:g}, so that the learning rate is not the cause; check "
                f"{check}"
            ) from error
        print_err(f"warning: {problem}; lower train.lr if it is not searched{suspects}")
        return seconds


def _epoch_seconds(space: Space, compute: Compute, batches: int, teacher_copy: Path | None) -> float:
    import torch

    from morel_search.models.teacher import load_teacher, search_consent
    from morel_search.training.datasets.loading import Development, load_development
    from morel_search.training.evaluation_attacks import final_attack, quick_attack
    from morel_search.training.trainer import Training

    torch.set_num_threads(threads_for(space.resources))
    development = load_development(space.data)
    train = development.train.first(batches * space.train.batch_size)
    validation = development.validation.first(TIMED_VALIDATION)
    loaded = load_teacher(
        space.train,
        train.images.shape[1:],
        development.classes,
        search_consent(space.describe()),
        copy=teacher_copy,
    )
    training = Training(
        space.train,
        space.network,
        Development(train, validation, development.classes),
        space.evaluation,
        seed=0,
        device=device_for(space.resources),
        augmentation=space.data.augmentation,
        extra_share=space.data.extra_share,
        compute=compute,
        teacher=None if loaded is None else loaded.model,
    )
    training.train_epoch()
    began = time.perf_counter()
    training.train_epoch()
    train_seconds = (time.perf_counter() - began) * len(development.train) / len(train)
    pass_seconds = _gradient_pass_seconds(training) * len(development.validation) / len(validation)
    quick, final = (
        ATTACKED_SHARE * attack.passes(len(development.classes)) * pass_seconds
        for attack in (quick_attack(space.evaluation), final_attack(space.evaluation))
    )
    final = final if space.evaluation.final_steps else 0.0
    return train_seconds + quick / space.evaluation.every + final / space.train.epochs


def _gradient_pass_seconds(training: Training) -> float:
    """Return the duration of one gradient pass of an attack over the validation images of a training."""
    from morel_search.training.attacks import attack_mode, cross_entropy_objective, input_gradient
    from morel_search.training.augment import to_float
    from morel_search.training.frozen import FrozenNetwork

    images, labels = to_float(training.validation.images), training.validation.labels
    with attack_mode(training.model):
        network = FrozenNetwork(training.model, images, training.compute)
        input_gradient(network, images, cross_entropy_objective(labels))
        began = time.perf_counter()
        for _ in range(TIMED_PASSES):
            gradient, _ = input_gradient(network, images, cross_entropy_objective(labels))
            float(gradient.sum())  # waits for the device
        return (time.perf_counter() - began) / TIMED_PASSES


def preflight_warnings(space: Space, preflight_result: PreflightResult) -> list[str]:
    """Return the warnings of the space, and those that need the data.

    Allowed settings that are probably mistakes.
    """
    warnings = [*space.warnings, *preflight_result.warnings]
    validation = preflight_result.validation
    if validation < FEW_VALIDATION and not any(text.startswith("data.validation") for text in warnings):
        warnings.append(
            f"data.validation: with {validation} validation images the standard error of an accuracy is up "
            f"to {points(0.5 / validation**0.5)}; use at least {FEW_VALIDATION}"
        )
    return warnings
