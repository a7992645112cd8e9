"""Rivals as a worker loads them: networks that the search of a run did not train."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from morel_search._consent import Consent, import_paths
from morel_search._user_code import named_errors, time_limit
from morel_search.cluster.worker_data import test_images
from morel_search.config.rivals import Rival
from morel_search.errors import NetworkError
from morel_search.training.compute import operations
from morel_search.training.compute_settings import Compute, ComputeSettings
from morel_search.training.settings import DataSettings
from morel_search.verification.outside import (
    attack_compute,
    check_network,
    fingerprint_of,
    is_random,
    load_outside,
)

__all__ = ["RivalModel", "RivalSummary", "check_rival", "describe_rival", "load_rival", "rival_errors"]

FEW_IMAGES = 8


@dataclass(frozen=True, slots=True)
class RivalSummary:
    """What is known of a rival once it was loaded.

    Attributes:
        fingerprint: SHA-256 of its structure and weights.
        parameters: Number of its parameters.
        operations: Floating point operations of one forward pass of one image.
        compute: The arithmetic of the gradients of attacks on it.
        own_operations: Operations of a network of the run, for comparison.
    """

    fingerprint: str
    parameters: int
    operations: int
    compute: Compute
    own_operations: int = 0


@dataclass(frozen=True, slots=True)
class RivalModel:
    """A rival, with all that is needed to load it.

    Attributes:
        rival: Where it comes from.
        image_shape: Channels, height and width of the images.
        classes: Names of the classes, in the order of their labels.
        consent: The code that may be run.
        summary: What is known of it; None before it was loaded.
    """

    rival: Rival
    image_shape: tuple[int, int, int]
    classes: tuple[str, ...]
    consent: Consent
    summary: RivalSummary | None = None

    @property
    def code(self) -> list[str]:
        """The code that the rival names itself."""
        return [*import_paths(self.rival.describe())]

    @property
    def title(self) -> str:
        """``rival theirs (my_rivals:network)``, the subject of a sentence."""
        return f"rival {self.rival.name} ({self.rival.title})"


def load_rival(model: RivalModel) -> nn.Module:
    """Load a rival in eval mode, on the CPU.

    Raises:
        NetworkError: It cannot be loaded, or has other weights than when it was described.
        UntrustedCodeError: It names code without consent.
    """
    from morel_search.training.networks import build_network
    from morel_search.training.networks.start import load_trained

    rival = model.rival
    model.consent.check(model.code, f"the rival {rival.name}")
    with rival_errors(model), torch.random.fork_rng(devices=[]):
        if rival.network is None:
            network = load_outside(rival.source, model.image_shape, model.classes, model.consent)
        else:
            plain = replace(rival.network, weights=None, weights_sha256=None)
            built = build_network(plain, model.image_shape, len(model.classes))
            load_trained(built, rival.network)
            network = built
        network = network.eval().requires_grad_(False)
    if model.summary is not None and fingerprint_of(network) != model.summary.fingerprint:
        raise NetworkError(f"{model.title} has other weights than when this verification began")
    return network


def check_rival(model: RivalModel, images: Tensor, settings: ComputeSettings, device: str) -> RivalSummary:
    """Load a rival and check that it classifies the images and can be attacked.

    Args:
        model: The rival.
        images: A few float images in [0, 1], shape (N, C, H, W).
        settings: The arithmetic that the space file asks for.
        device: The device of the attacks.

    Raises:
        NetworkError: It cannot be loaded or attacked, or its predictions are random.
        UntrustedCodeError: It names code without consent.
    """
    with time_limit(f"the check of the {model.title}"):
        network = load_rival(model)
        with rival_errors(model):
            check_network(model.title, network, images, len(model.classes))
            if is_random(network, images):
                raise NetworkError(
                    f"{model.title} is random in eval mode: two passes over the same images differ, so its "
                    "accuracies would not be reliable"
                )
            return RivalSummary(
                fingerprint=fingerprint_of(network),
                parameters=sum(weight.numel() for weight in network.parameters()),
                operations=operations(network, model.image_shape),
                compute=attack_compute(network, images, settings, device),
            )


def describe_rival(
    rival: Rival,
    consent: Consent,
    data: DataSettings,
    path: str,
    own_consent: Consent,
    settings: ComputeSettings,
    device: str,
) -> RivalModel:
    """Load and check a rival on the test images; run on a worker.

    Args:
        rival: The rival.
        consent: The code that may be run for it.
        data: Settings of the data, with absolute paths.
        path: File with the weights of a network of the run, which knows the classes.
        own_consent: The code that this file may name.
        settings: The arithmetic that the space file asks for.
        device: The device of the attacks.

    Raises:
        MorelSearchError: As :func:`check_rival`.
    """
    from morel_search.models.checkpoint import load_model
    from morel_search.training.augment import to_float

    with named_errors(f"the network in {path}", own_consent.names):
        own, metadata = load_model(Path(path), own_consent)
        cost = operations(own, metadata.image_shape)
    model = RivalModel(rival, metadata.image_shape, tuple(metadata.classes), consent)
    images = to_float(test_images(data).images[:FEW_IMAGES])
    return replace(model, summary=replace(check_rival(model, images, settings, device), own_operations=cost))


@contextmanager
def rival_errors(model: RivalModel) -> Iterator[None]:
    """Turn an error of a rival's code into one sentence, which begins with its name.

    Raises:
        NetworkError: The rival cannot be used.
    """
    code = [*model.code, *model.consent.names]
    try:
        with named_errors(model.title, code):
            yield
    except NetworkError as error:
        text = str(error)
        if text.startswith(model.title):
            raise
        raise NetworkError(f"rival {model.rival.name}: {text}") from error
