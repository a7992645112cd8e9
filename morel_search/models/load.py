"""A network in a folder of its own: the weights, and the ``settings.json`` from which it is loaded, or trained again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from morel_search.errors import NetworkError
from morel_search.models import checkpoint as models
from morel_search.models.recipe import read_section
from morel_search.results.renamed import current_member_settings
from morel_search.training.networks import build_network
from morel_search.training.settings import NetworkSettings

__all__ = ["CHECKPOINT", "FORMAT", "SETTINGS", "WEIGHTS", "load_model", "read_settings", "weights_bytes"]

FORMAT = 1
"""The format of ``settings.json`` beside a network's weights.

It is the run folder's, which has the same file in ``front/NUMBER``.
"""

WEIGHTS, CHECKPOINT, SETTINGS = "model.safetensors", "model.pt", "settings.json"


def load_model(folder: str | Path) -> nn.Module:
    """Load a network, ready to classify.

    Args:
        folder: What ``python -m morel_search.pick`` or ``python -m morel_search.train`` wrote, or a run's
            ``front/NUMBER``.

    Returns:
        The network on the CPU, in eval mode: float images in [0, 1], shape (N, C, H, W), to logits, shape (N,
        classes). The normalisation is part of it; the embedding space of the training is not. A network of
        your own must be importable.

    Raises:
        NetworkError: A file is missing or damaged, the weights do not fit the settings, or a newer
            morel_search wrote them.
    """
    folder = Path(folder)
    settings = read_settings(folder)
    with torch.random.fork_rng(
        devices=[]
    ):  # building a network draws weights; the caller's random state is not ours
        if not (folder / WEIGHTS).exists() and (folder / CHECKPOINT).exists():
            return models.load_model(folder / CHECKPOINT)[0]
        return _load(folder / WEIGHTS, settings).eval()


def read_settings(folder: Path) -> dict[str, Any]:
    """Read the ``settings.json`` beside a network's weights.

    Raises:
        NetworkError: It is missing, damaged, or of a newer format.
    """
    path = folder / SETTINGS
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        what = (
            "has no settings.json, so it holds no network of this project"
            if folder.is_dir()
            else "is not a folder that is there"
        )
        raise NetworkError(f"{folder} {what}") from error
    except (OSError, ValueError) as error:
        raise NetworkError(f"{path} cannot be read: {error}") from error
    if (
        not isinstance(settings, dict)
        or not isinstance(settings.get("format"), int)
        or "network" not in settings
    ):
        raise NetworkError(f"{path} is not the settings of a network")
    if settings["format"] > FORMAT:
        raise NetworkError(
            f"{folder} was written by a newer morel_search: it has format {settings['format']}, and this "
            f"one reads up to {FORMAT}"
        )
    return current_member_settings(settings)


def weights_bytes(model: nn.Module) -> bytes:
    """A network's weights and buffers as the contents of ``model.safetensors``."""
    from safetensors.torch import save

    weights = {
        name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, tensor in model.state_dict().items()
    }
    return bytes(save(weights, metadata={"format": "pt"}))


def _load(path: Path, settings: Mapping[str, Any]) -> nn.Module:
    weights = _read_weights(path)
    try:
        network = read_section(NetworkSettings, settings["network"])
        channels, height, width = settings["image_shape"]
        model = build_network(network, (channels, height, width), len(settings["classes"]))
    except (KeyError, TypeError, ValueError) as error:
        raise NetworkError(
            f"{path.parent / SETTINGS} does not say how to build the network: {error!r}"
        ) from error
    if difference := _difference(model.state_dict(), weights):
        raise NetworkError(f"{path} does not fit the network {network.name} of its settings: {difference}")
    model.load_state_dict(weights)
    return model


def _read_weights(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())
    except FileNotFoundError as error:
        raise NetworkError(
            f"{path.parent} has neither {WEIGHTS} nor {CHECKPOINT}: the weights are missing"
        ) from error
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise NetworkError(f"{path} cannot be read: {error}") from error


def _difference(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> str:
    """The first thing in which weights are not those of a network; empty where they are."""
    for name, tensor in own.items():
        if name not in given:
            return f"{name} is missing"
        if given[name].shape != tensor.shape:
            return f"{name} has the shape {tuple(given[name].shape)}, the network wants {tuple(tensor.shape)}"
        if given[name].dtype != tensor.dtype:
            return f"{name} is {given[name].dtype}, the network wants {tensor.dtype}"
    return next((f"{name} is no weight of it" for name in given if name not in own), "")
