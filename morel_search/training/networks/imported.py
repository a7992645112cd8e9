"""A network of the user or of any library, by its import path."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

from torch import nn

from morel_search._imports import import_object, not_callable_reason
from morel_search._user_code import time_limit
from morel_search.errors import NetworkError
from morel_search.training.networks.classifier import Parts
from morel_search.training.networks.copies import copied
from morel_search.training.networks.parts import check_parts, explained, take_apart

__all__ = ["build_imported", "import_network"]


def build_imported(
    path: str, options: Mapping[str, object], image_shape: tuple[int, int, int], classes: int
) -> Parts:
    """Build a network from ``package.module:name`` as encoder and head.

    The path names an ``nn.Module`` class, a function that returns a module, or a module; such a network is
    taken apart at its last linear layer. A function may also return the pair (encoder, head), for a network
    that cannot be taken apart. The network must be copyable, also after a step of training. The object that
    the path names is copied and not changed. A module that exists already keeps its weights, which therefore
    do not depend on the seed of a training.

    Args:
        path: ``package.module:name``; the name may contain dots.
        options: Keyword arguments of the call; ``num_classes`` is added if it is a parameter of the call and
            not given.
        image_shape: Channels, height and width.
        classes: Number of logits.

    Returns:
        The two parts.

    Raises:
        NetworkError: The path names nothing, the call fails, or the network cannot be split or does not fit
            the images.
        TrainingError: The network's code does not return.
    """
    with time_limit(f"the construction of the network {path}"):
        made = _construct(_imported(path), dict(options), classes)
        if isinstance(made, nn.Module):
            return take_apart(copied(made), image_shape, classes)
        encoder, head = copied(nn.ModuleList(made))  # together, because they may share parts
        return check_parts(encoder, head, image_shape, classes)


def import_network(path: str, classes: int) -> nn.Module:
    """Return a copy of the network that ``package.module:name`` names, as it is, in eval mode.

    Args:
        path: The import path of a module, or of a function or class without required arguments.
        classes: ``num_classes``, if it is a parameter of the call.

    Raises:
        NetworkError: The path names nothing, the call fails, or the network cannot be copied.
        TrainingError: The network's code does not return.
    """
    with time_limit(f"the construction of the network {path}"):
        made = _construct(_imported(path), {}, classes)
        return copied(made if isinstance(made, nn.Module) else nn.Sequential(*made)).eval()


def _imported(path: str) -> object:
    try:
        return import_object(path)
    except ImportError as error:
        raise NetworkError(f"cannot be imported: {error}") from error


def _construct(
    target: object, options: dict[str, object], classes: int
) -> nn.Module | tuple[nn.Module, nn.Module]:
    if isinstance(target, nn.Module):
        if options:
            raise NetworkError(f"is a module already and takes no options, got {', '.join(options)}")
        return target
    if not callable(target):
        raise NetworkError(f"must be an nn.Module, or return one when called, got {type(target).__name__}")
    if reason := not_callable_reason(target):
        raise NetworkError(reason)
    if isinstance(target, type) and not issubclass(target, nn.Module):
        raise NetworkError(f"must be an nn.Module, got the class {target.__name__}")
    with explained(f"fails with options {options}"):
        if "num_classes" in inspect.signature(target).parameters:
            options.setdefault("num_classes", classes)
        made = target(**options)
    if isinstance(made, nn.Module):
        return made
    if isinstance(made, tuple) and len(made) == 2 and all(isinstance(part, nn.Module) for part in made):
        return made[0], made[1]
    raise NetworkError(
        f"must return an nn.Module, or a pair (encoder, head) of two, got {type(made).__name__}"
    )
