"""Finished networks as files: weights, and what rebuilds them."""

from __future__ import annotations

import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from morel_search.errors import NetworkError
from morel_search.training.networks import build_network
from morel_search.training.settings import NetworkSettings

__all__ = ["load_model", "save_atomically", "save_model"]


def save_model(
    path: Path,
    model: nn.Module,
    network: NetworkSettings,
    image_shape: Sequence[int],
    classes: Sequence[str],
    **metadata: Any,
) -> None:
    """Write a network so that :func:`load_model` rebuilds it; the embedding space of the training is not part of it.

    Args:
        path: The file; it is replaced at once or not at all.
        model: What :func:`build_network` gave for the settings.
        network: The settings.
        image_shape: Channels, height and width.
        classes: Names of the classes, in the order of the logits.
        **metadata: Plain values to keep beside them, such as the epoch.
    """
    content = {
        "network": {"name": network.name, "options": dict(network.options)},
        "image_shape": list(image_shape),
        "classes": list(classes),
        "facts": metadata,
        "weights": {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()},
    }
    save_atomically(path, content)


def load_model(path: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network in eval mode on the CPU, and the facts kept with it.

    Raises:
        NetworkError: The file is missing, truncated, or does not fit its own settings.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        settings = NetworkSettings(name=content["network"]["name"], options=content["network"]["options"])
        channels, height, width = content["image_shape"]
        model = build_network(settings, (channels, height, width), len(content["classes"]))
        model.load_state_dict(content["weights"])
    except (
        OSError,
        RuntimeError,
        EOFError,
        LookupError,
        AttributeError,
        TypeError,
        ValueError,
        pickle.UnpicklingError,
    ) as error:
        raise NetworkError(
            f"{path} is not a network of this project: "
            f"{str(error).splitlines()[0] if str(error) else error!r}"
        ) from error
    return model.eval(), {
        "classes": content["classes"],
        "image_shape": content["image_shape"],
        **content["facts"],
    }


def save_atomically(path: Path, content: dict[str, Any]) -> None:
    """``torch.save`` that leaves the old file or the new one, never half of one."""
    temporary = path.with_suffix(path.suffix + ".tmp")
    try:
        with temporary.open("wb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())  # the study, which says that this file is there, is written so too
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
