"""Loading a network from its folder, which has the weights and ``settings.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from morel_search._consent import NO_CODE, Consent
from morel_search.errors import NetworkError
from morel_search.models import checkpoint
from morel_search.models.build import build_saved, network_names, outline_saved, saved_settings
from morel_search.models.settings import FORMAT, ModelSettings
from morel_search.results.json_values import read_json
from morel_search.results.reading import read_regular
from morel_search.training.networks import NETWORKS
from morel_search.training.settings import NetworkSettings

__all__ = ["CHECKPOINT", "FORMAT", "SETTINGS", "WEIGHTS", "load_model", "read_settings", "weights_bytes"]

WEIGHTS, CHECKPOINT, SETTINGS = "model.safetensors", "model.pt", "settings.json"


def load_model(folder: str | Path, consent: Consent = NO_CODE) -> nn.Module:
    """Load a network for classification.

    Args:
        folder: A folder that ``python -m morel_search.pick`` or ``python -m morel_search.train`` wrote, or
            ``front/NUMBER`` or ``mixtures/NAME`` of a run.
        consent: The code that may be run; a network of your own is code.

    Returns:
        The network on the CPU, in eval mode: float images in [0, 1], shape (N, C, H, W), to logits, shape (N,
        classes). The normalisation is part of it, the embedding space of the training is not. The module of a
        network of your own must be importable.

    Raises:
        NetworkError: A file is missing or damaged, the weights do not fit the settings, or a newer
            morel_search wrote them.
        UntrustedCodeError: The folder names code without consent.
    """
    folder = Path(folder)
    settings = read_settings(folder)
    # Building a network draws weights; the random state of the caller is kept.
    with torch.random.fork_rng(devices=[]):
        if not (folder / WEIGHTS).exists() and (folder / CHECKPOINT).exists():
            return checkpoint.load_model(folder / CHECKPOINT, consent)[0]
        return _load(folder / WEIGHTS, settings, consent).eval()


def read_settings(folder: Path) -> ModelSettings:
    """Read the ``settings.json`` beside the weights of a network.

    Raises:
        NetworkError: It is missing, damaged, or of a newer format.
    """
    path = folder / SETTINGS
    try:
        content = read_json(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        problem = (
            "has no settings.json, so it has no network of this project"
            if folder.is_dir()
            else "is not a folder"
            if folder.exists()
            else "does not exist: no such folder"
        )
        raise NetworkError(f"{folder} {problem}") from error
    except (OSError, ValueError) as error:
        raise NetworkError(f"{path} cannot be read: {error}") from error
    try:
        return ModelSettings.from_json(content)
    except NetworkError as error:
        raise NetworkError(f"{path} {error}") from None


def weights_bytes(model: nn.Module) -> bytes:
    """Return the weights and buffers of a network as the content of ``model.safetensors``."""
    from safetensors.torch import save

    weights = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    return bytes(save(weights, metadata={"format": "pt"}))


def same_weights(folder: Path, weights: Mapping[str, Tensor]) -> bool:
    """Return whether a folder holds these weights and buffers, or no weights.

    Raises:
        NetworkError: Its weights cannot be read.
    """
    if not (folder / WEIGHTS).exists():
        return True
    written = _read_weights(folder / WEIGHTS)
    return written.keys() == weights.keys() and all(
        tensor.equal(weights[name].detach().cpu()) for name, tensor in written.items()
    )


def _load(path: Path, settings: ModelSettings, consent: Consent) -> nn.Module:
    weights = _read_weights(path)
    try:
        network = saved_settings(settings.network)
    except (TypeError, ValueError) as error:
        raise _not_buildable(path, str(error)) from error
    if settings.image_shape is None or settings.classes is None:
        missing = "image_shape" if settings.image_shape is None else "classes"
        raise _not_buildable(path, f"it has no {missing}")
    names, shape, classes = network_names(network), settings.image_shape, len(settings.classes)
    consent.check(names, path.parent / SETTINGS)
    if all(name in NETWORKS for name in names):  # before memory is taken for weights that the file lacks
        _check_fit(path, network, outline_saved(network, shape, classes), weights)
    model = build_saved(network, shape, classes)
    _check_fit(path, network, model, weights)
    model.load_state_dict(weights)
    return model


def _check_fit(path: Path, network: NetworkSettings, model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    if difference := _difference(model.state_dict(), weights):
        raise NetworkError(f"{path} does not fit the network {network.name} of its settings: {difference}")


def _not_buildable(path: Path, reason: str) -> NetworkError:
    return NetworkError(f"{path.parent / SETTINGS} does not say how to build the network: {reason}")


def _read_weights(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(read_regular(path))
    except FileNotFoundError as error:
        raise NetworkError(
            f"{path.parent} has neither {WEIGHTS} nor {CHECKPOINT}: the weights are missing"
        ) from error
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise NetworkError(f"{path} cannot be read: {error}") from error


def _difference(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """Return the first difference between the tensors of a network and given weights; empty if they fit."""
    for name, tensor in own.items():
        if name not in given:
            return f"{name} is missing"
        if given[name].shape != tensor.shape:
            return f"{name} must have the shape {tuple(tensor.shape)}, got {tuple(given[name].shape)}"
        if given[name].dtype != tensor.dtype:
            return f"{name} must be {tensor.dtype}, got {given[name].dtype}"
    return next((f"the network has no {name}" for name in given if name not in own), "")
