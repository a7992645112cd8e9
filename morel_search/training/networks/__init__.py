"""The networks: built-in ones for small images, those of timm and torchvision, and any by import path."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

from torch import nn

from morel_search._format import shortened
from morel_search.errors import NetworkError
from morel_search.training.library_names import is_library_name, library_problem, similar_name
from morel_search.training.memory import outline, outline_problem
from morel_search.training.networks.classifier import Classifier, Encoder, Parts
from morel_search.training.networks.imported import build_imported
from morel_search.training.networks.library import build_library, library_mean_std
from morel_search.training.networks.options import channel_values
from morel_search.training.networks.resnet import preact_resnet18, resnet18
from morel_search.training.networks.small_cnn import small_cnn
from morel_search.training.networks.start import start_from
from morel_search.training.networks.vit import vit
from morel_search.training.networks.wideresnet import wideresnet28_10, wideresnet34_10
from morel_search.training.settings import NetworkSettings

__all__ = ["NETWORKS", "Classifier", "build_network", "outline_of"]

NETWORKS: dict[str, Callable[..., Encoder]] = {
    "small_cnn": small_cnn,
    "resnet18": resnet18,
    "preact_resnet18": preact_resnet18,
    "wideresnet28_10": wideresnet28_10,
    "wideresnet34_10": wideresnet34_10,
    "vit": vit,
}

MAX_PIXELS = 2**16
"""Largest number of channels, and of pixels in height and width."""


def build_network(
    settings: NetworkSettings,
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    initial_weights: bool = True,
) -> Classifier:
    """Build a network; its initial weights are drawn from torch's global random state.

    All networks have the options ``mean`` and ``std``, one number or one for each channel, with which pixels
    in [0, 1] are normalised inside the network. Their defaults are 0 and 1 (no normalisation) for a network
    by import path, which may have a normalisation of its own, those of the weights for a network of timm or
    torchvision that gets weights, and 0.5 and 0.5 for all others.

    Args:
        settings: Name and options.
        image_shape: Channels, height and width of the images.
        classes: Number of logits, at least 2.
        initial_weights: Whether the network reads ``weights``, or one of timm or torchvision the weights that
            its options ask for; False for a network that gets its weights from a checkpoint.

    Returns:
        The network, on the CPU and in training mode.

    Raises:
        NetworkError: The name or an option is unknown, or the network does not fit the images or the memory.
    """
    try:
        build = _builder(settings, image_shape, classes, initial_weights=initial_weights)
        if settings.name in NETWORKS and (problem := outline_problem(build)):
            raise NetworkError(f"{problem}; lower its options or use smaller images")
        network = build().train()
        if initial_weights and settings.weights is not None:
            start_from(network, settings)
        return network
    except NetworkError as error:
        raise NetworkError(f"network {settings.name} {error}") from error


def outline_of(settings: NetworkSettings, image_shape: tuple[int, int, int], classes: int) -> Classifier:
    """Build a built-in network without memory for its weights, see :func:`build_network`.

    Raises:
        NetworkError: As :func:`build_network`.
    """
    try:
        build = _builder(settings, image_shape, classes)
        if problem := outline_problem(build):
            raise NetworkError(problem)
        return outline(build)
    except NetworkError as error:
        raise NetworkError(f"network {settings.name} {error}") from error


def _builder(
    settings: NetworkSettings,
    image_shape: tuple[int, int, int],
    classes: int,
    *,
    initial_weights: bool = False,
) -> Callable[[], Classifier]:
    """Check the settings that all networks share, and return a function that builds the network."""
    if classes < 2:
        raise NetworkError(f"needs at least 2 classes, got {classes}")
    if not 1 <= min(image_shape) <= max(image_shape) <= MAX_PIXELS:
        raise NetworkError(
            f"needs images of 1 to {MAX_PIXELS} channels and pixels a side, got "
            f"{' x '.join(shortened(size) for size in image_shape)}"
        )
    options: dict[str, object] = dict(settings.options)
    default_mean, default_std = _mean_std(settings.name, options, image_shape[0], initial_weights)
    mean = channel_values("mean", options.pop("mean", default_mean), image_shape[0])
    std = channel_values("std", options.pop("std", default_std), image_shape[0], positive=True)

    def build() -> Classifier:
        name = settings.name
        if is_library_name(name):
            parts = build_library(name, options, image_shape, classes, initial_weights=initial_weights)
        else:
            parts = _build(name, options, image_shape, classes)
        return Classifier(parts, mean, std)

    return build


def _mean_std(
    name: str, options: Mapping[str, object], channels: int, initial_weights: bool
) -> tuple[object, object]:
    """Return the default normalisation, see :func:`build_network`."""
    if is_library_name(name) and initial_weights and not library_problem(name):
        known = library_mean_std(name, options, channels)
        if known is not None:
            return known
    return (0.0, 1.0) if ":" in name else (0.5, 0.5)


def _build(
    name: str, options: Mapping[str, object], image_shape: tuple[int, int, int], classes: int
) -> Parts:
    if ":" in name:
        return build_imported(name, options, image_shape, classes)
    if name not in NETWORKS:
        meant = similar_name(name)
        raise NetworkError(
            f"is neither one of {', '.join(NETWORKS)} nor timm/NAME, torchvision/NAME or an import path "
            f"package.module:name{f'; did you mean {meant}?' if meant else ''}"
        )
    known = [option for option in inspect.signature(NETWORKS[name]).parameters if option != "image_shape"]
    for option in options:
        if option not in known:
            raise NetworkError(
                f"has no option {option}; its options are {', '.join([*known, 'mean', 'std'])}"
            )
    encoder = NETWORKS[name](image_shape, **options)
    return Parts(encoder, nn.Linear(encoder.feature_dim, classes), encoder.feature_dim)
