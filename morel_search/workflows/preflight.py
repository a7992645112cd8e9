"""What can be known before a search starts: do data and network fit, and what will it cost?"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from morel_search._format import duration
from morel_search.config import SearchSettings, Space, format_value
from morel_search.errors import DataError, ResourceError, TrainingError
from morel_search.training.settings import Compute

if TYPE_CHECKING:
    from morel_search.training.datasets.loading import ImageSet
    from morel_search.training.networks import Classifier

__all__ = ["PreflightResult", "check_device", "inspect", "plan_text", "time_epoch"]

FEW_VALIDATION = 200
"""Below so many validation images the standard error of an accuracy of 0.5 is above 0.035."""


@dataclass(frozen=True, slots=True)
class PreflightResult:
    """What the data and the network turned out to be.

    Attributes:
        train: Training images.
        validation: Validation images.
        image_shape: Channels, height, width.
        classes: Number of classes.
        weights: Trainable weights of the network.
        compute: The arithmetic that trainings will have on this machine.
    """

    train: int
    validation: int
    image_shape: tuple[int, int, int]
    classes: int
    weights: int
    compute: Compute


def inspect(space: Space) -> PreflightResult:
    """Read the development images and build the network; the test split is not touched.

    Raises:
        DataError: The images cannot be read, or are too few for the split.
        NetworkError: The network does not fit the images.
        TrainingError: The accuracy objective's import path leads nowhere, or the device does not have the
            arithmetic that was asked for.
    """
    from morel_search.cluster.placement import device_for
    from morel_search.training.augment import to_float
    from morel_search.training.compute import operations, resolve_compute, supports_channels_last
    from morel_search.training.datasets.loading import check_test, load_development
    from morel_search.training.networks import build_network

    check_test(space.data)
    development = load_development(space.data)
    channels, height, width = (int(size) for size in development.train.images.shape[1:])
    network = build_network(space.network, (channels, height, width), len(development.classes))
    compute = resolve_compute(
        space.compute, device_for(space.resources), operations(network, (channels, height, width))
    )
    if compute.channels_last and not supports_channels_last(network, to_float(development.train.images[:2])):
        if space.compute.channels_last == "on":
            raise TrainingError(
                f"compute.channels_last is on, but {space.network.name} does not work on maps in that layout; off or auto do"
            )
        compute = replace(compute, channels_last=False)
    _try_objectives(space, network, development.train)
    if not len(development.validation):
        raise DataError("the validation split is empty: raise data.validation")
    return PreflightResult(
        train=len(development.train),
        validation=len(development.validation),
        image_shape=(channels, height, width),
        classes=len(development.classes),
        weights=sum(weight.numel() for weight in network.parameters() if weight.requires_grad),
        compute=compute,
    )


def _try_objectives(space: Space, network: Classifier, images: ImageSet) -> None:
    """One forward and backward pass with each accuracy objective that is somebody's own, and with the network in training mode.

    Raises:
        TrainingError: It is not there, raises, or does not give a finite scalar with a gradient.
    """
    import torch

    from morel_search.training.augment import to_float
    from morel_search.training.step import MorelStep

    used = [
        space.train.accuracy_loss,
        *(space.control_settings(control).accuracy_loss for control in space.controls),
    ]
    used += [
        choice
        for parameter in space.parameters
        if parameter.name == "accuracy_loss"
        for choice in parameter.choices
    ]
    for name in dict.fromkeys(used):
        step = MorelStep(network, replace(space.train, accuracy_loss=name, attack_steps=1)).train()
        few = _first(images, 8)
        try:
            with torch.random.fork_rng(devices=[]):
                losses, _ = step(to_float(few.images), few.labels)
            losses.total.backward()
            finite = bool(torch.isfinite(losses.total)) and losses.accuracy.ndim == 0
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            raise TrainingError(
                f"a first step with accuracy_loss {name} and {space.network.name} fails: {reason}"
            ) from error
        if not finite:
            raise TrainingError(
                f"accuracy_loss {name} must give one finite number, got {losses.accuracy.detach()}"
            )


def check_device(space: Space) -> None:
    """Refuse a GPU that this machine does not have, without starting Ray.

    Raises:
        ResourceError: ``resources`` ask for a device that is not there.
    """
    import torch

    resources = space.resources
    wants_cuda = resources.gpu > 0 or resources.device == "cuda"
    if wants_cuda and torch.cuda.device_count() < max(1, resources.gpu):
        has = torch.cuda.device_count()
        raise ResourceError(
            f"resources ask for gpu {resources.gpu:g} and device {resources.device}, but torch sees {has} CUDA devices here; "
            "--set resources.gpu=0 trains on the CPU"
        )
    if resources.device == "cuda" and not resources.gpu:
        raise ResourceError(
            "resources.device is cuda but resources.gpu is 0: say how much of a GPU a trial takes, such as 1 or 0.25"
        )
    if resources.device == "mps" and not torch.backends.mps.is_available():
        raise ResourceError("resources.device is mps, but torch sees no Apple GPU here")
    cores = os.cpu_count() or 1
    if resources.cpu > cores:
        raise ResourceError(f"resources.cpu is {resources.cpu:g}, but this machine has {cores} cores")


def time_epoch(space: Space, compute: Compute, batches: int = 3) -> float:
    """Seconds of one epoch of the space's own ``train`` settings, extrapolated from a few batches after a warm-up."""
    import torch

    from morel_search.cluster.placement import device_for
    from morel_search.training.datasets.loading import Development, load_development
    from morel_search.training.trainer import Training

    torch.set_num_threads(max(1, int(space.resources.cpu)))
    development = load_development(space.data)
    few = _first(development.train, batches * space.train.batch_size)
    probe = _first(development.validation, 128)
    device = device_for(space.resources)
    training = Training(
        space.train,
        space.network,
        Development(few, probe, development.classes),
        space.evaluation,
        seed=0,
        device=device,
        augmentation=space.data.augmentation,
        compute=compute,
    )
    training.train_epoch()
    training.evaluate()
    began = time.perf_counter()
    training.train_epoch()
    train_seconds = (time.perf_counter() - began) * len(development.train) / len(few)
    began = time.perf_counter()
    training.evaluate()
    evaluate_seconds = (time.perf_counter() - began) * len(development.validation) / len(probe)
    return train_seconds + evaluate_seconds / space.evaluation.every


def _first(images: ImageSet, count: int) -> ImageSet:
    return replace(images, images=images.images[:count], labels=images.labels[:count])


def plan_text(space: Space, preflight_result: PreflightResult, epoch_seconds: float, concurrent: int) -> str:
    """The plan in words and numbers: what is searched, how often, and what it will cost."""
    from morel_search.search.successive_halving import rungs_of

    search, resources = space.search, space.resources
    trials = search.trials + len(space.controls)
    trial_seconds = epoch_seconds * space.train.epochs
    levels = rungs_of(space)
    least = _least_share(space, levels)
    lines = [
        f"data         {space.data.name}: {preflight_result.train} training and {preflight_result.validation} validation images, "
        f"{'x'.join(map(str, preflight_result.image_shape))}, {preflight_result.classes} classes",
        f"network      {space.network.name}: {preflight_result.weights:,} weights",
        f"compute      {preflight_result.compute}",
        f"evaluation   PGD-{space.evaluation.steps}, {space.evaluation.norm}, epsilon {format_value(space.evaluation.epsilon)}",
        "parameters",
        *(f"  {parameter.name:<22} {_range(parameter)}" for parameter in space.parameters),
        f"search       {search.sampler}: {search.trials} trials{_generations(search)}, seed {search.seed}",
        f"stopping     {_stopping(space, levels)}",
        *([f"constraints  {', '.join(map(str, space.constraints))}"] if space.constraints else []),
        f"controls     {', '.join(control.name for control in space.controls) or 'none'}",
        f"budget       {trials} trials of {space.train.epochs} epochs{_limits(search)}",
        f"resources    {resources.cpu:g} CPU and {resources.gpu:g} GPU a trial ({resources.device}), {concurrent} at a time",
        f"cost         about {duration(trial_seconds)} a trial at the settings under train, "
        f"{_total(trial_seconds * trials / concurrent, least)} in all (measured on {3} batches; attack steps that are searched shift it)",
    ]
    return "\n".join([*lines, *(f"warning: {warning}" for warning in warnings(space, preflight_result))])


def warnings(space: Space, preflight_result: PreflightResult) -> list[str]:
    """What is allowed and looks wrong: the space's own warnings, and those that need the data."""
    found = list(space.warnings)
    if preflight_result.validation < FEW_VALIDATION and not any(
        warning.startswith("data.validation") for warning in found
    ):
        found.append(
            f"data.validation: {preflight_result.validation} validation images make an accuracy uncertain by "
            f"{0.5 / preflight_result.validation**0.5:.3f} (one standard error)"
        )
    return found


def _generations(search: SearchSettings) -> str:
    if search.sampler in ("nsga2", "nsga3"):
        return f", population {search.population} (about {search.trials / search.population:.1f} generations)"
    return "" if search.sampler == "random" else f", the first {search.population} at random"


def _stopping(space: Space, levels: Sequence[int]) -> str:
    if not levels:
        return "none: every trial is trained to its end"
    settings = space.early_stopping
    after = " and ".join(map(str, levels)) if len(levels) < 3 else ", ".join(map(str, levels))
    return f"after {after} epochs the first 1 in {settings.eta} go on ({settings.ranking}); {settings.run_through:.0%} run through regardless"


def _least_share(space: Space, levels: Sequence[int]) -> float:
    """The share of the epochs that is left where every trial is stopped that the rule can stop."""
    ends, share, going = [*levels, space.train.epochs], 0.0, 1.0
    for begin, end in pairwise([0, *ends]):
        share += going * max(0, end - begin) / space.train.epochs
        going /= space.early_stopping.eta
    through = space.early_stopping.run_through
    return min(1.0, through + (1 - through) * share)


def _total(seconds: float, least: float) -> str:
    if least >= 1:
        return duration(seconds)
    return f"{duration(seconds * least)} to {duration(seconds)}"


def _limits(search: SearchSettings) -> str:
    limits = [
        *([f"{search.max_hours:g} hours"] if search.max_hours is not None else []),
        *([f"{search.max_gpu_hours:g} GPU-hours"] if search.max_gpu_hours is not None else []),
        *(
            [f"{search.patience} trials without a rise of {search.min_improvement:g}"]
            if search.patience is not None
            else []
        ),
    ]
    return f", or {' or '.join(limits)}" if limits else ""


def _range(parameter: object) -> str:
    from morel_search.config import Parameter

    assert isinstance(parameter, Parameter)
    if parameter.kind == "categorical":
        text = ", ".join(format_value(choice) for choice in parameter.choices)
    else:
        text = f"{format_value(parameter.low)} to {format_value(parameter.high)}"
        if parameter.log:
            text += " (log)"
        elif parameter.step is not None:
            text += f" in steps of {format_value(parameter.step)}"
    when = " and ".join(
        f"{name} is {' or '.join(map(str, values))}" for name, values in parameter.when.items()
    )
    return f"{text}, when {when}" if when else text
