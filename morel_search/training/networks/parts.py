"""A network as encoder and head: taken apart at its last linear layer, or given in two parts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from morel_search._user_code import PASSED_ON, error_text
from morel_search.errors import NetworkError
from morel_search.training.networks.classifier import Parts
from morel_search.training.networks.copies import copied

__all__ = ["check_parts", "explained", "take_apart"]

ADVICE = "; for such a network, name a function that returns the pair (encoder, head)"
"""What to do with a network that cannot be taken apart; see ``docs/guides/own-network.md``."""


def take_apart(model: nn.Module, image_shape: tuple[int, int, int], classes: int) -> Parts:
    """Split a network into encoder and head; it is changed.

    The last ``nn.Linear`` that runs becomes the head; it is replaced by a new one if its number of logits is
    not the number of classes. Everything before it is the encoder. The split is checked with two images of
    the right shape, in eval and in training mode.

    Args:
        model: The network, a copy of its own.
        image_shape: Channels, height and width.
        classes: Number of logits.

    Returns:
        The two parts.

    Raises:
        NetworkError: The network cannot be split or does not fit the images.
    """
    images = _probing_images(image_shape)
    with _probing(model), explained(f"does not take images of {_size(image_shape)}"):
        logits, name, is_last = _last_linear(model, images)
    if not isinstance(logits, Tensor) or logits.ndim != 2 or len(logits) != 2:
        raise NetworkError(
            f"must give logits of shape (N, classes) for N images of {_size(image_shape)}, got "
            f"{_shape(logits)}{ADVICE}"
        )
    if not name:
        raise NetworkError(f"has no nn.Linear, which the head requires{ADVICE}")
    not_last = f"computes more after its last nn.Linear ({name}), which therefore cannot be the head"
    if not is_last:
        raise NetworkError(f"{not_last}{ADVICE}")
    head = model.get_submodule(name)
    assert isinstance(head, nn.Linear)
    parent, _, attribute = name.rpartition(".")
    setattr(model.get_submodule(parent), attribute, nn.Identity())
    with _probing(model), explained(not_last):
        features = model(images)
        if not isinstance(features, Tensor) or features.shape != (2, head.in_features):
            raise NetworkError(f"{not_last}: the features before it have the shape {_shape(features)}")
        if not torch.allclose(head(features), logits, rtol=1e-4, atol=1e-5, equal_nan=True):
            raise NetworkError(f"{not_last}{ADVICE}")
    return check_parts(model, head, image_shape, classes)


def check_parts(
    encoder: nn.Module, head: nn.Module | None, image_shape: tuple[int, int, int], classes: int
) -> Parts:
    """Check an encoder and a head with two images, in eval and in training mode.

    Args:
        encoder: Images to features, shape (N, d).
        head: Features to logits, shape (N, classes); None, or a linear layer with another number of logits,
            is replaced by a new linear layer.
        image_shape: Channels, height and width.
        classes: Number of logits.

    Returns:
        The two parts.

    Raises:
        NetworkError: They do not fit the images, each other or the classes.
    """
    images = _probing_images(image_shape)
    with _probing(encoder), explained(f"does not take images of {_size(image_shape)}"):
        features = encoder(images)
    if not isinstance(features, Tensor) or features.ndim != 2 or len(features) != 2:
        raise NetworkError(f"must have an encoder with features of shape (N, d), got {_shape(features)}")
    dim = int(features.shape[1])
    if head is None:
        head = nn.Linear(dim, classes)
    elif isinstance(head, nn.Linear) and head.in_features == dim and head.out_features != classes:
        head = nn.Linear(dim, classes, bias=head.bias is not None)
    with _probing(head), explained(f"has a head that does not take features of shape {_shape(features)}"):
        logits = head(features)
    if not isinstance(logits, Tensor) or logits.shape != (2, classes):
        raise NetworkError(
            f"must have a head with logits of shape (N, {classes}) for N images of {classes} classes, got "
            f"{_shape(logits)}"
        )
    for part in (encoder, head):
        _check_state(part)
    trial = copied(encoder)  # a forward pass in training mode changes the running statistics
    with _probing(trial, training=True), explained("fails in training mode"), torch.enable_grad():
        trained = trial(images)
    copied(trial)
    if not isinstance(trained, Tensor) or trained.shape != features.shape:
        raise NetworkError(
            f"gives {_shape(trained)} in training mode and {_shape(features)} in eval mode{ADVICE}"
        )
    return Parts(encoder, head, dim)


def _check_state(model: nn.Module) -> None:
    """Check that parameters and buffers are the whole state of a module, and that it can be loaded again.

    Checkpoints, the copies for attacks and the average of the weights hold nothing else.

    Raises:
        NetworkError: They are not, or it cannot.
    """
    for name, part in model.named_modules():
        if type(part).get_extra_state is not nn.Module.get_extra_state:
            raise NetworkError(
                f"has a state beside its parameters and buffers: get_extra_state of {type(part).__name__}"
                f"{f' ({name})' if name else ''}; keep values that training changes in buffers "
                "(register_buffer), and constants as attributes"
            )
    with explained("has a state_dict that it cannot load"):
        state = model.state_dict()
        copied(model).load_state_dict(state)
    other = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if other:
        raise NetworkError(
            f"must have a state_dict of tensors, got {type(state[other[0]]).__name__} {other[0]}"
        )


@contextmanager
def explained(problem: str) -> Iterator[None]:
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


def _probing_images(image_shape: tuple[int, int, int]) -> Tensor:
    channels, height, width = image_shape
    return torch.linspace(0, 1, 2 * channels * height * width).view(2, *image_shape)


def _size(image_shape: tuple[int, int, int]) -> str:
    return " x ".join(map(str, image_shape))


def _shape(value: object) -> str:
    return str(tuple(value.shape)) if isinstance(value, Tensor) else type(value).__name__
