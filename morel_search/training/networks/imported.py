"""A network of torchvision or of the user, by its import path."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from morel_search._imports import import_object, not_callable_reason
from morel_search._user_code import PASSED_ON, error_text, time_limit
from morel_search.errors import NetworkError

__all__ = ["build_imported"]


def build_imported(
    path: str, options: Mapping[str, object], image_shape: tuple[int, int, int], classes: int
) -> tuple[nn.Module, nn.Linear]:
    """Build a network from ``package.module:name`` and split it into encoder and head.

    The network must be copyable by ``copy.deepcopy``, also after a step of training.

    The path names an ``nn.Module`` class, a function that returns a module, or a module. The last
    ``nn.Linear`` that runs becomes the head; it is replaced by a new one if its number of logits is not the
    number of classes. Everything before it is the encoder. The split is checked with two images of the right
    shape, in eval and in training mode. The object that the path names is copied and not changed. A module
    that exists already keeps its weights, which therefore do not depend on the seed of a training.

    Args:
        path: ``package.module:name``; the name may contain dots.
        options: Keyword arguments of the call; ``num_classes`` is added if it is a parameter of the call and
            not given.
        image_shape: Channels, height and width.
        classes: Number of logits.

    Returns:
        The encoder and the head.

    Raises:
        NetworkError: The path names nothing, the call fails, or the network cannot be split or does not fit
            the images.
        TrainingError: The network's code does not return.
    """
    with time_limit(f"the construction of the network {path}"):
        return _build(path, options, image_shape, classes)


def _build(
    path: str, options: Mapping[str, object], image_shape: tuple[int, int, int], classes: int
) -> tuple[nn.Module, nn.Linear]:
    model = _copied(_construct(_imported(path), dict(options), classes))
    images = torch.linspace(0, 1, 2 * image_shape[0] * image_shape[1] * image_shape[2]).view(2, *image_shape)
    shape = " x ".join(map(str, image_shape))
    with _probing(model), _explained(f"does not take images of {shape}"):
        logits, name, is_last = _last_linear(model, images)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 2:
        raise NetworkError(
            f"must give logits of shape (N, classes) for N images of {shape}, got {_shape(logits)}"
        )
    if not name:
        raise NetworkError("has no nn.Linear, which the head requires")
    if not is_last:
        raise NetworkError(_not_last(name))
    head = model.get_submodule(name)
    assert isinstance(head, nn.Linear)
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, nn.Identity())
    _check_parts(model, head, images, logits, name)
    return model, head if head.out_features == classes else nn.Linear(
        head.in_features, classes, bias=head.bias is not None
    )


def _imported(path: str) -> object:
    try:
        return import_object(path)
    except ImportError as error:
        raise NetworkError(f"cannot be imported: {error}") from error


def _copied(model: nn.Module) -> nn.Module:
    """Return a copy of a network.

    Attacks and weight averages work on copies. Old ``torch.nn.utils.weight_norm`` and ``spectral_norm`` keep
    a tensor that was computed with gradients, which cannot be copied.

    Raises:
        NetworkError: The network cannot be copied.
    """
    try:
        return copy.deepcopy(model)
    except PASSED_ON:
        raise
    except BaseException as error:
        hint, text = "", error_text(error)
        if "graph leaves" in text or "deepcopy protocol" in text:
            hint = (
                "; torch.nn.utils.weight_norm and spectral_norm keep such tensors, "
                "torch.nn.utils.parametrizations.weight_norm and spectral_norm do not"
            )
        raise NetworkError(f"cannot be copied by copy.deepcopy: {text}{hint}") from error


def _construct(target: object, options: dict[str, object], classes: int) -> nn.Module:
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
    with _explained(f"fails with options {options}"):
        if "num_classes" in inspect.signature(target).parameters:
            options.setdefault("num_classes", classes)
        model = target(**options)
    if not isinstance(model, nn.Module):
        raise NetworkError(f"must return an nn.Module, got {type(model).__name__}")
    return model


@contextmanager
def _explained(problem: str) -> Iterator[None]:
    """Turn any error of the network's own code, which runs inside, into one sentence."""
    try:
        yield
    except (NetworkError, *PASSED_ON):
        raise
    except BaseException as error:
        raise NetworkError(f"{problem}: {error_text(error)}") from error


@contextmanager
def _probing(model: nn.Module, *, training: bool = False) -> Iterator[None]:
    """Run a module without gradients inside; restore its mode and the random state afterwards."""
    modes = {part: part.training for part in model.modules()}
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model.train(training)
        try:
            yield
        finally:
            for part, mode in modes.items():
                part.training = mode


def _last_linear(model: nn.Module, images: Tensor) -> tuple[object, str, bool]:
    """Run the model and observe its linear layers.

    Returns:
        The output of the model, the name of the linear layer that ran last (empty if none ran), and whether
        the output of the model is that of this layer, unchanged. A clamp, for example, is a change even where
        it leaves these logits as they are: once in front of the head, it would limit the features.
    """
    ran: list[tuple[str, Tensor, int]] = []

    def observe(name: str, output: Tensor) -> None:
        ran.append((name, output, output._version))

    hooks = [
        part.register_forward_hook(lambda _part, _inputs, output, name=name: observe(name, output))
        for name, part in model.named_modules()
        if isinstance(part, nn.Linear)
    ]
    try:
        logits = model(images)
    finally:
        for hook in hooks:
            hook.remove()
    if not ran:
        return logits, "", False
    name, output, version = ran[-1]
    same = (
        isinstance(logits, Tensor)
        and logits.data_ptr() == output.data_ptr()
        and logits.numel() == output.numel()
        and output._version == version
    )
    return logits, name, same


def _not_last(name: str) -> str:
    return f"computes more after its last nn.Linear ({name}), which therefore cannot be the head"


def _check_parts(encoder: nn.Module, head: nn.Linear, images: Tensor, logits: Tensor, name: str) -> None:
    """Check that encoder and head give the logits of the model, and the encoder features in training mode.

    Raises:
        NetworkError: They do not.
    """
    not_last = _not_last(name)
    with _probing(encoder), _explained(not_last):
        features = encoder(images)
        if not isinstance(features, Tensor) or features.shape != (2, head.in_features):
            raise NetworkError(f"{not_last}: the features before it have the shape {_shape(features)}")
        if not torch.allclose(head(features), logits, rtol=1e-4, atol=1e-5, equal_nan=True):
            raise NetworkError(not_last)
    trial = _copied(encoder)  # a forward pass in training mode changes the running statistics
    with _probing(trial, training=True), _explained("fails in training mode"), torch.enable_grad():
        trained = trial(images)
    _copied(trial)
    if not isinstance(trained, Tensor) or trained.shape != features.shape:
        raise NetworkError(f"gives {_shape(trained)} in training mode and {_shape(features)} in eval mode")


def _shape(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
