"""Networks of timm and torchvision by name: ``timm/resnet10t``, ``torchvision/resnet50``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from morel_search._format import shortened
from morel_search._user_code import PASSED_ON, time_limit
from morel_search.errors import NetworkError
from morel_search.training.library_names import library_problem
from morel_search.training.memory import outline_problem
from morel_search.training.networks.classifier import Parts
from morel_search.training.networks.copies import copied
from morel_search.training.networks.parts import check_parts, explained, take_apart

__all__ = ["build_library", "library_mean_std"]

WEIGHTS = {
    "timm": ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"),
    "torchvision": ("weights", "progress"),
}
"""Options that read weights from a file or from the internet. They have no effect on a network that gets its
weights from a checkpoint, so a folder of somebody else opens nothing with them."""

FROM_DATA = ("num_classes", "in_chans")
"""Options that follow the data."""

ONE_OUTPUT: dict[str, dict[str, object]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}
"""Networks of torchvision that give two outputs more in training mode by default."""


def library_mean_std(
    name: str, options: Mapping[str, object], channels: int
) -> tuple[Sequence[float], Sequence[float]] | None:
    """Return mean and standard deviation with which the requested weights were trained; None without weights.

    Grey images get the average over the colours.
    """
    library, _, network = name.partition("/")
    mean: Sequence[float]
    if library == "timm" and options.get("pretrained"):
        import timm

        settings: Any = timm.get_pretrained_cfg(network)
        mean, std = (settings.mean, settings.std) if settings is not None else ((), ())
    elif library == "torchvision" and options.get("weights") not in (None, ""):
        import torchvision

        with explained("has no such weights"):
            weights: Any = torchvision.models.get_model_weights(network)[str(options["weights"])]
        preset: Any = weights.transforms()
        mean, std = preset.mean, preset.std
    else:
        return None
    if channels == len(mean):
        return tuple(mean), tuple(std)
    if channels == 1 and mean:
        return (sum(mean) / len(mean),), (sum(std) / len(std),)
    return None


def build_library(
    name: str,
    options: Mapping[str, object],
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    initial_weights: bool = True,
) -> Parts:
    """Build a network of timm or torchvision as encoder and head.

    Args:
        name: ``timm/NAME`` or ``torchvision/NAME``.
        options: Keyword arguments of ``timm.create_model`` or ``torchvision.models.get_model``.
        image_shape: Channels, height and width.
        classes: Number of logits.
        initial_weights: Whether options such as ``pretrained`` count.

    Returns:
        The two parts.

    Raises:
        NetworkError: There is no such network, an option is wrong, or it does not fit the images or the
            memory.
    """
    if problem := library_problem(name):
        raise NetworkError(problem)
    library, _, network = name.partition("/")
    for option in FROM_DATA:
        if option in options:
            raise NetworkError(f"has the option {option}, which follows the data; remove it")
    used = {key: value for key, value in options.items() if initial_weights or key not in WEIGHTS[library]}
    build = _timm if library == "timm" else _torchvision
    with time_limit(f"the construction of the network {name}"):
        return build(network, used, image_shape, classes)


def _timm(name: str, options: dict[str, object], image_shape: tuple[int, int, int], classes: int) -> Parts:
    """Build a network of timm. Its head is replaced by a linear one unless it is linear."""
    import timm

    channels, height, width = image_shape
    settings: Any = timm.get_pretrained_cfg(name, allow_unregistered=False)
    if settings is not None and settings.fixed_input_size:
        options.setdefault("img_size", [height, width])

    def build(values: Mapping[str, object]) -> nn.Module:
        made: nn.Module = timm.create_model(name, num_classes=classes, in_chans=channels, **values)
        return made

    model: Any = _built(build, options, WEIGHTS["timm"])
    with explained("cannot be taken apart"):
        head = model.get_classifier()
        model.reset_classifier(0)
    # Other heads are pairs (distillation) or convolutions; what comes before them is the encoder.
    return check_parts(copied(model), head if isinstance(head, nn.Linear) else None, image_shape, classes)


def _torchvision(
    name: str, options: dict[str, object], image_shape: tuple[int, int, int], classes: int
) -> Parts:
    """Build a network of torchvision, which takes three channels: grey images are repeated."""
    import torchvision

    channels, height, width = image_shape
    if channels not in (1, 3):
        raise NetworkError(
            f"takes images of 1 or 3 channels, got {channels}; networks of timm take any number"
        )
    options = {**ONE_OUTPUT.get(name, {}), **options}
    if options.get("weights") in (None, ""):
        options["num_classes"] = classes  # weights are for their own classes; the head is replaced later
        if name.startswith("vit_"):
            options.setdefault("image_size", height)

    def build(values: Mapping[str, object]) -> nn.Module:
        made: nn.Module = torchvision.models.get_model(name, **values)
        return made

    parts = take_apart(copied(_built(build, options, WEIGHTS["torchvision"])), (3, height, width), classes)
    if channels == 3:
        return parts
    return check_parts(nn.Sequential(_GreyAsColour(), parts.encoder), parts.head, image_shape, classes)


def _built(
    build: Callable[[Mapping[str, object]], nn.Module], options: Mapping[str, object], weights: Sequence[str]
) -> nn.Module:
    """Build a network, if it fits into memory.

    Args:
        build: Calls the library with options.
        options: The options.
        weights: Those of them that read weights.
    """
    plain = {key: value for key, value in options.items() if key not in weights}
    with warnings.catch_warnings(), explained(f"fails with options {shortened(str(dict(options)))}"):
        warnings.simplefilter("ignore")  # of the libraries, on their own defaults
        if problem := _memory_problem(lambda: build(plain)):
            raise NetworkError(problem)
        return build(options)


def _memory_problem(build: Callable[[], nn.Module]) -> str:
    """Return why a network does not fit into memory; empty if it does, or cannot be built without memory."""
    try:
        return outline_problem(build)
    except PASSED_ON:
        raise
    except BaseException:  # some networks read their weights while they are built
        return ""


class _GreyAsColour(nn.Module):
    """Repeat one channel three times."""

    def forward(self, images: Tensor) -> Tensor:
        return images.expand(-1, 3, -1, -1)
