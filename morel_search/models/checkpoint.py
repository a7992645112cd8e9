"""Checkpoints of networks: the weights, and the settings with which the network is built again."""

from __future__ import annotations

import os
import pickle
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from morel_search._consent import NO_CODE, Consent
from morel_search.errors import NetworkError
from morel_search.models.archive import NO_DATA, UNREADABLE, check_archive
from morel_search.models.build import build_saved, network_names
from morel_search.results.files import os_error_sentence
from morel_search.training.settings import NetworkSettings

__all__ = ["Metadata", "load_model", "network_content", "save_atomically", "save_model"]


@dataclass(frozen=True, slots=True)
class Metadata:
    """The data that a checkpoint holds beside the weights.

    Attributes:
        image_shape: Channels, height and width of the images.
        classes: Names of the classes, in the order of the logits.
        network: The settings with which it was built.
        epoch: Epoch of the training after which the network was saved; None if it is not known.
    """

    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    network: NetworkSettings
    epoch: int | None = None


def save_model(
    path: Path,
    model: nn.Module,
    network: NetworkSettings,
    image_shape: Sequence[int],
    classes: Sequence[str],
    *,
    epoch: int | None = None,
) -> None:
    """Write a network so that :func:`load_model` builds it again.

    Args:
        path: The file; see :func:`save_atomically`.
        model: The network, see :func:`network_content`.
        network: The settings.
        image_shape: Channels, height and width.
        classes: Names of the classes, in the order of the logits.
        epoch: Epoch of the training.
    """
    save_atomically(path, network_content(model, network, image_shape, classes, epoch=epoch))


def network_content(
    model: nn.Module,
    network: NetworkSettings,
    image_shape: Sequence[int],
    classes: Sequence[str],
    *,
    epoch: int | None = None,
) -> dict[str, object]:
    """Return the content of the file of a network; its tensors are those of the network.

    The embedding space of the training is not part of the network.

    Args:
        model: The network that :func:`~morel_search.models.build.build_saved` built for the settings.
        network: The settings.
        image_shape: Channels, height and width.
        classes: Names of the classes, in the order of the logits.
        epoch: Epoch of the training.
    """
    return {
        "network": {"name": network.name, "options": dict(network.options)},
        "image_shape": list(image_shape),
        "classes": list(classes),
        "facts": {} if epoch is None else {"epoch": epoch},
        "weights": {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()},
    }


def load_model(path: Path, consent: Consent = NO_CODE) -> tuple[nn.Module, Metadata]:
    """Load a network, in eval mode on the CPU, and its metadata.

    Args:
        path: The file. Its content is read as data; only a network by import path runs code.
        consent: The code that may be run.

    Raises:
        NetworkError: The file is missing, truncated, or does not fit its own settings.
        UntrustedCodeError: The file names code without consent.
    """
    try:
        check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
        settings = NetworkSettings(name=content["network"]["name"], options=content["network"]["options"])
        if not isinstance(settings.name, str):
            raise TypeError(f"the name of the network must be a text, got {settings.name!r}")
        consent.check(network_names(settings), path)
        channels, height, width = content["image_shape"]
        classes = tuple(content["classes"])
        model = build_saved(settings, (channels, height, width), len(classes))
        model.load_state_dict(content["weights"])
        epoch = content["facts"].get("epoch")
    except pickle.UnpicklingError as error:
        raise NetworkError(f"{path} is not a network of this project: {NO_DATA}") from error
    except UNREADABLE as error:
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise NetworkError(f"{path} is not a network of this project: {reason}") from error
    return model.eval(), Metadata((channels, height, width), classes, settings, epoch)


def save_atomically(path: Path, content: Mapping[str, object]) -> None:
    """Write a file with ``torch.save``: after an interruption, the file is the old one or the new one.

    Two processes may write one file: a training that was moved to another machine may still run on its first
    one, which only the network had lost. The file is then that of one of them.

    Raises:
        RunFolderError: The file cannot be written, for example on a full disk.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("xb") as file:
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())  # the study, which refers to this file, is written with fsync too
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        # torch hides an error of the file system behind one of its own
        cause = error if isinstance(error, OSError) else error.__context__
        if isinstance(error, (OSError, RuntimeError)) and isinstance(cause, OSError):
            raise os_error_sentence("write", path, cause) from error
        raise
