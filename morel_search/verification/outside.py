"""Networks that no search of this project trained: loaded, and checked before they are attacked."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from morel_search._consent import Consent, is_import_path
from morel_search.errors import NetworkError
from morel_search.training.compute import breaks_bfloat16, operations, resolve_compute, supports_channels_last
from morel_search.training.compute_settings import Compute, ComputeSettings
from morel_search.training.networks.imported import import_network
from morel_search.training.networks.parts import explained
from morel_search.training.predictions import DEPENDS_ON_BATCH, NOISE, batch_effect, randomness

__all__ = ["attack_compute", "check_network", "fingerprint_of", "is_random", "load_outside"]


def load_outside(
    source: str, image_shape: Sequence[int], classes: Sequence[str], consent: Consent
) -> nn.Module:
    """Load a network in eval mode, on the CPU.

    Args:
        source: ``package.module:name`` of a network with its weights, which is run, or the folder of a
            network of this project.
        image_shape: Channels, height and width of the images.
        classes: Names of the classes of the data set, in the order of their labels.
        consent: The code that the folder may name.

    Raises:
        NetworkError: There is no such network, or its folder says that it is one for other images or classes.
            The message begins with the source.
        UntrustedCodeError: The folder names code without consent.
    """
    if Path(source).is_dir():
        model, own_shape, own_classes = _load_folder(Path(source), consent)
        if own_shape is not None and tuple(own_shape) != tuple(image_shape):
            own, given = (" x ".join(map(str, shape)) for shape in (own_shape, image_shape))
            raise NetworkError(f"{source} is a network for images of {own}, and the images are {given}")
        if tuple(own_classes) != tuple(classes) and sorted(own_classes) == sorted(classes):
            raise NetworkError(
                f"{source} has the classes of the data set in another order: its first logits are "
                f"{', '.join(own_classes[:3])}, and the first labels {', '.join(classes[:3])}"
            )
        return model
    if not is_import_path(source):
        raise NetworkError(
            f"{source} is neither a folder of a network nor an import path package.module:name; for "
            "another network, name a function of your own that returns it with its weights"
        )
    try:
        return import_network(source, len(classes))
    except NetworkError as error:
        raise NetworkError(f"{source} {error}") from error


def check_network(name: str, model: nn.Module, images: Tensor, classes: int) -> None:
    """Check that a network classifies images and can be attacked.

    Args:
        name: The subject of the sentences: ``network my_networks:trained``.
        model: The network, on the CPU; it is put into eval mode.
        images: A few float images in [0, 1], shape (N, C, H, W).
        classes: Number of classes.

    Raises:
        NetworkError: It does not take the images, gives another number of logits, logits that are not finite
            or have no gradient, or its predictions depend on the other images of a batch.
    """
    size = " x ".join(str(side) for side in images.shape[1:])
    try:
        with explained(f"does not take images of {size}"), torch.no_grad():
            logits = model.eval()(images)
    except NetworkError as error:
        raise NetworkError(f"{name} {error}") from error
    if not isinstance(logits, Tensor) or logits.shape != (len(images), classes):
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise NetworkError(
            f"{name} must give logits of shape (N, {classes}) for N images of {classes} classes, got {got}"
        )
    if not torch.isfinite(logits).all():
        raise NetworkError(f"{name} gives logits that are not finite")
    if not _has_gradient(model, images):
        raise NetworkError(
            f"{name} gives logits without a gradient for its images, which the white-box attacks "
            "need; remove no_grad, detach and conversions to NumPy from its forward"
        )
    if batch_effect(model, images) > NOISE:  # 0 for a random network
        raise NetworkError(f"{name} {DEPENDS_ON_BATCH}")


def is_random(model: nn.Module, images: Tensor) -> bool:
    """Return whether two passes over the same images differ in eval mode."""
    return randomness(model, images) > NOISE


def attack_compute(model: nn.Module, images: Tensor, settings: ComputeSettings, device: str) -> Compute:
    """Choose the arithmetic of the gradients of attacks on a network.

    Args:
        model: The network, on the CPU.
        images: A few float images in [0, 1], shape (N, C, H, W).
        settings: The arithmetic that the space file asks for.
        device: The device of the attacks.

    Raises:
        TrainingError: The device does not support the requested arithmetic.
    """
    channels, height, width = (int(side) for side in images.shape[1:])
    compute = resolve_compute(settings, device, operations(model, (channels, height, width)))
    if compute.channels_last and not supports_channels_last(model, images):
        compute = replace(compute, channels_last=False)
    if device == "cpu" and compute.precision == "bfloat16" and breaks_bfloat16(model, images):
        compute = replace(compute, precision="float32")
    return compute


def fingerprint_of(model: nn.Module) -> str:
    """Return the SHA-256 of the structure and the weights of a network, as hexadecimal digits."""
    digest = hashlib.sha256(repr(model).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        if isinstance(value, Tensor):
            flat = value.detach().cpu().contiguous().view(-1).view(torch.uint8)
            digest.update(flat.numpy().tobytes())
        else:  # of a module with get_extra_state
            digest.update(repr(value).encode())
    return digest.hexdigest()


def _load_folder(folder: Path, consent: Consent) -> tuple[nn.Module, Sequence[int] | None, Sequence[str]]:
    """Load a network of this project; return it with the shape of its images and its classes.

    ``front/NUMBER`` of a run has them in its checkpoint, other folders in their settings.
    """
    from morel_search.models import checkpoint
    from morel_search.models.load import CHECKPOINT, WEIGHTS, load_model, read_settings

    settings = read_settings(folder)
    if not (folder / WEIGHTS).exists() and (folder / CHECKPOINT).exists():
        model, metadata = checkpoint.load_model(folder / CHECKPOINT, consent)
        return model, metadata.image_shape, metadata.classes
    return load_model(folder, consent), settings.image_shape, settings.classes or ()


def _has_gradient(model: nn.Module, images: Tensor) -> bool:
    """Return whether the logits have a gradient for the images; its values may all be zero."""
    with torch.enable_grad():
        inputs = images.clone().requires_grad_()
        logits = model(inputs)
        if not logits.requires_grad:
            return False
        (gradient,) = torch.autograd.grad(logits.sum(), inputs, allow_unused=True)
    return gradient is not None
