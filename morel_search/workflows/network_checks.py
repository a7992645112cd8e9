"""Checks of the network and the accuracy objectives before a search starts, on a few training images."""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from morel_search._cli import print_err
from morel_search._consent import import_paths
from morel_search._user_code import LIMIT_SECONDS, PASSED_ON, cause_of, error_text, time_limit
from morel_search.cluster.placement import device_for
from morel_search.config import Space
from morel_search.config.possible_values import accuracy_losses, highest
from morel_search.errors import MorelSearchError, NetworkError, TrainingError
from morel_search.training.compute_settings import Compute
from morel_search.training.names import ACCURACY_LOSSES
from morel_search.workflows.network_variants import check_memory, check_variants, network_variants

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from morel_search.models.teacher import LoadedTeacher
    from morel_search.training.datasets.loading import ImageSet
    from morel_search.training.networks import Classifier

__all__ = ["checked_network", "objective_notes", "own_code", "start_notes", "teacher_note", "teacher_of"]


def checked_network(
    space: Space, images: ImageSet, classes: int, teacher: nn.Module | None = None
) -> tuple[Classifier, Compute, tuple[str, ...]]:
    """Build the network, and check it and the accuracy objectives.

    Args:
        space: The space.
        images: The training images.
        classes: Number of classes.
        teacher: The teacher of the trainings that need one.

    Returns:
        The network, the arithmetic of trainings on this machine, and properties of the network that make its
        accuracies unreliable, one sentence each.

    Raises:
        NetworkError: The network does not fit the images, or its predictions depend on the other images of a
            batch.
        TrainingError: An accuracy objective cannot be used, the device does not support the requested
            arithmetic, or its memory does not hold the weights of a training.
    """
    from morel_search.training.networks import build_network

    channels, height, width = (int(size) for size in images.images.shape[1:])
    with own_code(space, f"the check of the network {space.network.name} and the losses"):
        network = build_network(space.network, (channels, height, width), classes)
        check_variants(space, (channels, height, width), classes)
        warnings = _check_predictions(space, network, images)
        compute = _compute(space, network, images, classes)
        check_memory(space, network)
        _try_objectives(space, network, images, teacher)
    return network, compute, warnings


@contextmanager
def own_code(space: Space, what: str, seconds: float = LIMIT_SECONDS) -> Iterator[None]:
    """Limit the time of the code inside; explain an error of the user's own code.

    A bug of this project passes unchanged, with its traceback. Where it is unclear whose mistake an error is,
    its traceback is printed too; see :func:`~morel_search._user_code.cause_of`.

    Args:
        space: The space.
        what: What the code does, as the subject of a sentence.
        seconds: The limit.

    Raises:
        TrainingError: The limit is over, or the user's code may have failed.
    """
    with time_limit(what, seconds):
        try:
            yield
        except (MorelSearchError, *PASSED_ON):
            raise
        except BaseException as error:
            if (text := _explained(error, space, 200)) is None:
                raise
            raise TrainingError(f"{what} failed: {text}") from error


def _explained(error: BaseException, space: Space, length: int) -> str | None:
    """Return the text of an error that the user's code may have caused; None for a bug of this project."""
    cause = cause_of(error, import_paths(space.describe()))
    if cause == "project":
        return None
    if cause == "unclear":
        print_err("".join(traceback.format_exception(error)).rstrip())
        return f"{error_text(error, length)}; if your own code is right, the traceback above is one of a bug"
    return error_text(error, length)


def _compute(space: Space, network: Classifier, images: ImageSet, classes: int) -> Compute:
    """Return the arithmetic of trainings on this machine, which all networks of the search can have.

    Raises:
        TrainingError: The device or the network does not support the requested arithmetic.
    """
    from morel_search.training.augment import to_float
    from morel_search.training.compute import (
        breaks_bfloat16,
        operations,
        resolve_compute,
        supports_channels_last,
    )
    from morel_search.training.networks import build_network

    examples = to_float(images.images[:2])
    channels, height, width = (int(size) for size in images.images.shape[1:])
    compute = resolve_compute(
        space.compute, device_for(space.resources), operations(network, (channels, height, width))
    )
    if compute.channels_last and not supports_channels_last(network, examples):
        if space.compute.channels_last == "on":
            raise TrainingError(
                f"compute.channels_last is on, but {space.network.name} does not work with that "
                "memory layout; set it to off or auto"
            )
        compute = replace(compute, channels_last=False)
    on_cpu = device_for(space.resources) == "cpu"
    variants = (
        build_network(settings, (channels, height, width), classes) for settings in network_variants(space)
    )
    if (
        on_cpu
        and compute.precision == "bfloat16"
        and any(breaks_bfloat16(built, examples) for built in chain([network], variants))
    ):
        if space.compute.precision == "bfloat16":
            raise TrainingError(
                f"compute.precision is bfloat16, but a convolution of {space.network.name} has a stride "
                "larger than its input, which PyTorch computes wrongly in bfloat16 on a CPU; set it to auto "
                "or float32"
            )
        compute = replace(compute, precision="float32")
    return compute


def _check_predictions(space: Space, network: Classifier, images: ImageSet) -> tuple[str, ...]:
    """Check that a prediction in eval mode depends on the image alone; return a warning if it is random.

    Features are compared too: the last layer may be initialised with zeros.

    Raises:
        NetworkError: It depends on the other images of the batch.
    """
    from morel_search.training.augment import to_float
    from morel_search.training.predictions import DEPENDS_ON_BATCH, NOISE, batch_effect, randomness

    few = to_float(images.first(8).images)
    for outputs in (network.features, network):
        if randomness(network, few, outputs) > NOISE:
            return (
                f"network: {space.network.name} is random in eval mode: two passes over the same images "
                "differ; if dropout remains active, switch it off in eval mode. Accuracies and attacks are "
                "not reliable",
            )
        if batch_effect(network, few, outputs) > NOISE:
            raise NetworkError(f"network {space.network.name} {DEPENDS_ON_BATCH}")
    return ()


def _try_objectives(space: Space, network: Classifier, images: ImageSet, teacher: nn.Module | None) -> None:
    """Run one forward and backward pass in training mode with each accuracy objective of the space.

    Raises:
        TrainingError: An objective cannot be imported, raises an error, or does not return a finite scalar
            with a gradient.
    """
    import torch

    from morel_search.training.augment import to_float
    from morel_search.training.step import MorelStep
    from morel_search.training.teacher import Teacher

    few = images.first(8)
    taught = None if teacher is None else Teacher(teacher, to_float(few.images))
    controls = (space.control_settings(control).awp for control in space.controls)
    awp = max(float(highest(space, "awp")), *controls, 0.0)
    for name in accuracy_losses(space):
        settings = replace(space.train, accuracy_loss=name, attack_steps=1, awp=awp, awp_warmup=0.0)
        step = MorelStep(network, settings, teacher=taught).train()
        try:
            with torch.random.fork_rng(devices=[]):
                losses, _ = step(to_float(few.images), few.labels)
            is_number = losses.accuracy.ndim == 0 and bool(torch.isfinite(losses.accuracy))
            has_gradient = losses.accuracy.requires_grad
            if is_number:
                losses.total.backward()
            step.restore_weights()
        except (TrainingError, *PASSED_ON):
            raise
        except BaseException as error:
            if (text := _explained(error, space, 300)) is None:
                raise
            raise TrainingError(
                f"a first training step with accuracy_loss {name} and {space.network.name} fails: {text}"
            ) from error
        if not is_number:
            raise TrainingError(
                f"accuracy_loss {name} must return one finite number, got {losses.accuracy.detach()}"
            )
        if not has_gradient:
            raise TrainingError(
                f"accuracy_loss {name} must return a tensor with a gradient; it does not depend on the "
                "logits, or was computed under torch.no_grad"
            )
        if not torch.isfinite(losses.total):
            raise TrainingError(
                f"the loss of a first training step is {float(losses.total)} with accuracy_loss {name}: "
                f"accuracy loss {float(losses.accuracy):.3g}, cosine loss {float(losses.cosine):.3g}, "
                f"contrastive loss {float(losses.contrastive):.3g}; check temperature, alpha, k_robust, "
                "k_accuracy and gamma"
            )


def start_notes(space: Space, network: Classifier) -> tuple[str, ...]:
    """Return what ``network.weights`` gives to a network of the space; nothing without it."""
    from morel_search.training.networks.start import start_from

    return () if space.network.weights is None else (start_from(network, space.network),)


def teacher_of(
    space: Space, image_shape: tuple[int, int, int], classes: Sequence[str], copy: Path | None
) -> LoadedTeacher | None:
    """Load the teacher; None if no training of the space needs one.

    Args:
        space: The space.
        image_shape: Channels, height and width of the images.
        classes: Names of the classes.
        copy: A copy of the teacher's folder, which is read instead if it exists.

    Raises:
        NetworkError: It cannot be loaded, or does not fit the images and classes.
        UntrustedCodeError: Its folder names code that the space file does not name.
    """
    from morel_search.models.teacher import load_teacher, search_consent

    consent = search_consent(space.describe())
    with own_code(space, f"the check of the teacher {space.train.teacher}"):
        for name in accuracy_losses(space) if space.train.teacher is not None else ():
            train = replace(space.train, accuracy_loss=name)
            loaded = load_teacher(train, image_shape, classes, consent, copy=copy)
            if loaded is not None:
                return loaded
    return None


def teacher_note(space: Space, loaded: LoadedTeacher) -> str:
    """Return the teacher and what it costs, as a sentence."""
    weights = sum(weight.numel() for weight in loaded.model.parameters())
    networks = f" of each of its {loaded.passes} networks" if loaded.passes > 1 else ""
    return (
        f"the teacher {space.train.teacher} has {weights:,} weights; a training that uses it makes one more "
        f"forward pass{networks} in each step"
    )


def objective_notes(space: Space) -> tuple[str, ...]:
    """Return what the training attack of each loss of the user's own maximises, one sentence each.

    Raises:
        TrainingError: A loss cannot be used.
    """
    from morel_search.training.objectives import accuracy_objective

    notes = []
    for name in accuracy_losses(space):
        if name not in ACCURACY_LOSSES:
            objective = accuracy_objective(replace(space.train, accuracy_loss=name))
            notes.append(
                f"the training attack of {name} maximises {objective.attack_text}"
                if objective.needs_attack
                else f"{name} needs no attack; that of the robust objective maximises {objective.attack_text}"
            )
    return tuple(notes)
