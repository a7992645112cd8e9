"""The weights with which every training starts: ``network.weights``.

They are those of a network of this project, or a state dict of another library, such as a checkpoint of timm,
torchvision or RobustBench. Files are read as data; no code of theirs runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from morel_search._format import shortened
from morel_search.errors import NetworkError
from morel_search.training.networks.classifier import Classifier
from morel_search.training.networks.state_dicts import read_state_dict
from morel_search.training.settings import NetworkSettings

__all__ = ["load_trained", "start_from", "with_fingerprint"]

NORMALISATION = {"mean": "mean", "std": "std", "mu": "mean", "sigma": "std"}
"""Names of the tensors with which other libraries normalise pixels inside a network."""

OWN_MEAN, OWN_STD, OWN_HEAD = "encoder.0.mean", "encoder.0.std", "head."

PREFIXES = ("", "encoder.1.", "encoder.1.1.")
"""What stands before the names of a file in those of :class:`Classifier`: nothing for a network of this
project, that of its encoder for another network, and that of an encoder behind a copy of grey channels."""

MOST_WRAPPERS = 3
"""Most modules around a network, such as ``module.model.``, that its names in a file may have."""


class _Match(NamedTuple):
    """The tensors of a file: those of the network by its names, and the others by their own names."""

    matched: dict[str, Tensor]
    others: dict[str, Tensor]


def with_fingerprint(settings: NetworkSettings) -> NetworkSettings:
    """Return the settings with the SHA-256 of ``weights``, by which a resumed search knows the file again.

    Raises:
        NetworkError: The file cannot be read, or is not that of ``weights_sha256``.
    """
    if settings.weights is None:
        return settings
    return replace(settings, weights_sha256=_fingerprint(settings))


def start_from(network: Classifier, settings: NetworkSettings) -> str:
    """Load ``weights`` into a network with which every training starts.

    The names of the file may begin with those of modules around the network. A linear head with another
    number of outputs than the network's is left out. Mean and standard deviation of a file are used, unless
    ``mean`` or ``std`` are in ``network.options``; then they must be equal.

    Args:
        network: The network; its weights are replaced.
        settings: Its settings, with ``weights``.

    Returns:
        What was loaded, as a sentence.

    Raises:
        NetworkError: The file cannot be read, is not that of ``weights_sha256``, or does not fit the network.
    """
    path, missing = _load(network, settings)
    text = f"every training starts from {path}"
    return f"{text}; the head is drawn anew, because the file {missing}" if missing else text


def load_trained(network: Classifier, settings: NetworkSettings) -> None:
    """Load ``weights`` into a network that is not trained further; see :func:`start_from`.

    Raises:
        NetworkError: As :func:`start_from`, or the file has no head for this number of classes.
    """
    path, missing = _load(network, settings)
    if missing:
        raise NetworkError(f"cannot be read from {path}: a head of these classes is needed, and it {missing}")


def _load(network: Classifier, settings: NetworkSettings) -> tuple[Path, str]:
    """Load ``weights``; return the file, and why it has no head for the network, empty if it has one."""
    assert settings.weights is not None
    path = weights_file(settings.weights)
    if settings.weights_sha256 is not None:
        _fingerprint(settings)
    own = network.state_dict()
    matched, others = _best_match(own, read_state_dict(path))
    _take_normalisation(matched, others, own)
    head = _take_head(matched, others, own)
    if problem := _problem(own, matched, others, head):
        raise NetworkError(f"cannot start from {path}: {problem}")
    _check_normalisation(path, settings, matched, own)
    with torch.no_grad():
        for name, tensor in matched.items():
            own[name].copy_(tensor)
    return path, "" if head == "loaded" else head


def weights_file(text: str) -> Path:
    """Return the file with the weights: the given one, or that of a folder of this project.

    Raises:
        NetworkError: There is no such file.
    """
    try:
        path = Path(text).expanduser()
        path.resolve()  # refuses a zero byte
        candidates = [path / "model.safetensors", path / "model.pt"] if path.is_dir() else [path]
        for candidate in candidates:
            if candidate.is_file():
                return candidate
        exists = path.exists()
    except (OSError, ValueError, RuntimeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise NetworkError(
            f"has weights {shortened(repr(text))}, which is not a path that can be used: {reason}"
        ) from error
    if len(candidates) > 1:
        raise NetworkError(f"has weights {path}, a folder without model.safetensors and model.pt")
    raise NetworkError(
        f"has weights {path}, which is {'not a file or a folder' if exists else 'missing: no such file'}"
    )


def _fingerprint(settings: NetworkSettings) -> str:
    path = weights_file(str(settings.weights))
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise NetworkError(f"has weights {path}, which cannot be read: {error.strerror}") from error
    expected = settings.weights_sha256
    if expected is not None and expected.lower() != found:
        raise NetworkError(
            f"has weights {path}, which is another file than that of its settings: the SHA-256 is {found}, "
            f"not {shortened(expected)} (network.weights_sha256)"
        )
    return found


def _best_match(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> _Match:
    """Return the tensors of a file under the names that most tensors of the network have."""
    best = _Match({}, dict(given))
    for names in _unwrapped(given):
        for prefix in PREFIXES:
            match = _Match({}, {})
            for name, tensor in names.items():
                known = prefix + name in own
                (match.matched if known else match.others)[prefix + name if known else name] = tensor
            if len(match.matched) > len(best.matched):
                best = match
    return best


def _unwrapped(given: Mapping[str, Tensor]) -> Iterator[dict[str, Tensor]]:
    """Yield the tensors by their names, and without the modules that stand before all names."""
    names = dict(given)
    for _ in range(MOST_WRAPPERS):
        yield names
        parts = {name.partition(".")[0] for name in names if not _normalisation_part(name)}
        if len(parts) != 1:
            return
        wrapper = f"{parts.pop()}."
        names = {name.removeprefix(wrapper): tensor for name, tensor in names.items()}
    yield names


def _normalisation_part(name: str) -> str | None:
    """Return ``mean`` or ``std`` if a name is that of a normalisation, such as ``normalize.mean``."""
    return NORMALISATION.get(name.rpartition(".")[2])


def _take_normalisation(
    matched: dict[str, Tensor], others: dict[str, Tensor], own: Mapping[str, Tensor]
) -> None:
    """Move the normalisation of another library from the other tensors to those of the network."""
    channels = own[OWN_MEAN].numel()
    for name in [*others]:
        part = _normalisation_part(name)
        if part is not None and others[name].numel() == channels:
            target = OWN_MEAN if part == "mean" else OWN_STD
            matched[target] = others.pop(name).reshape(own[target].shape)


def _take_head(matched: dict[str, Tensor], others: dict[str, Tensor], own: Mapping[str, Tensor]) -> str:
    """Move a linear head from the other tensors to those of the network, if it fits.

    Returns:
        ``loaded``, or why it is not, as the second part of a sentence.
    """
    names = [name for name in own if name.startswith(OWN_HEAD)]
    heads = {name: tensor for name, tensor in matched.items() if name.startswith(OWN_HEAD)}
    if not heads:
        owners = [name.removesuffix("weight") for name in others if _is_head(name, others[name], own)]
        if len(owners) == 1:
            found = [name for name in others if name in (f"{owners[0]}weight", f"{owners[0]}bias")]
            heads = {OWN_HEAD + name.rpartition(".")[2]: others.pop(name) for name in found}
    for name in heads:
        matched.pop(name, None)
    if not heads:
        return "has none"
    if set(heads) != set(names):
        return "has one of another form"
    if any(heads[name].shape != own[name].shape for name in names):
        shapes = [tuple(tensor.shape) for tensor in heads.values() if tensor.ndim == 2]
        return f"has one of the shape {shapes[0]}" if shapes else "has one of another shape"
    matched.update(heads)
    return "loaded"


def _is_head(name: str, tensor: Tensor, own: Mapping[str, Tensor]) -> bool:
    """Return whether a tensor is the weight of a linear layer on the features of the network."""
    linear = own.get(f"{OWN_HEAD}weight")
    is_weight = name == "weight" or name.endswith(".weight")
    return is_weight and linear is not None and tensor.ndim == 2 and tensor.shape[1] == linear.shape[1]


def _problem(
    own: Mapping[str, Tensor], matched: Mapping[str, Tensor], others: Mapping[str, Tensor], head: str
) -> str:
    """Return the first difference between a file and a network; empty if it fits."""
    for name, tensor in matched.items():
        if tensor.shape != own[name].shape:
            return f"{name} must have the shape {tuple(own[name].shape)}, got {tuple(tensor.shape)}"
        if not torch.isfinite(tensor).all():
            return f"{name} has values that are not finite"
    missing = [
        name
        for name in own
        if name not in matched
        and name not in (OWN_MEAN, OWN_STD)
        and not name.endswith("num_batches_tracked")  # files of old versions of torch lack it
        and not (name.startswith(OWN_HEAD) and head != "loaded")
    ]
    if missing:
        return f"it lacks {len(missing)} of {len(own)} tensors of the network, such as {missing[0]}"
    if others:
        return (
            f"it has tensors that the network lacks ({len(others)}), such as {shortened(next(iter(others)))}"
        )
    return ""


def _check_normalisation(
    path: Path, settings: NetworkSettings, matched: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> None:
    for option, name in (("mean", OWN_MEAN), ("std", OWN_STD)):
        given = matched.get(name)
        if option not in settings.options or given is None:
            continue
        if not torch.allclose(given.float().cpu(), own[name].float().cpu(), rtol=1e-3, atol=1e-4):
            raise NetworkError(
                f"cannot start from {path}: its weights were trained with the {option} "
                f"{[round(value, 4) for value in given.flatten().tolist()]}; remove {option} from "
                "network.options"
            )
