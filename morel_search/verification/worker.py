"""A worker's part of a verification: one chunk of one network at a time.

Images and networks stay in memory for the next chunk.
"""

from __future__ import annotations

import hashlib
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from morel_search._consent import NO_CODE, Consent
from morel_search._user_code import named_errors
from morel_search.cluster.worker_data import test_images
from morel_search.errors import NetworkError
from morel_search.results.diagnostics import MaskingDiagnostics
from morel_search.results.names import network_trials
from morel_search.training.compute_settings import Compute
from morel_search.training.settings import DataSettings, EvaluationSettings
from morel_search.verification.chunk_attacks import ChunkResult, Table, run_attacks
from morel_search.verification.rivals import RivalModel, load_rival, rival_errors

if TYPE_CHECKING:
    from torch import Tensor, nn

    from morel_search.training.datasets.loading import ImageSet
    from morel_search.verification.attack_suite import AttackSuite

__all__ = [
    "Source",
    "SplitSummary",
    "WorkerSetup",
    "attack_chunk",
    "describe_test_split",
    "diagnose_network",
    "digest_of",
    "images_for",
    "model_for",
]


Source: TypeAlias = str | RivalModel
"""A network to attack: a file with the weights of a network of the run, or a rival."""


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """The settings that all chunks of a verification have in common.

    Attributes:
        data: Settings of the data, with absolute paths.
        evaluation: Norm, radius and the search's own attack.
        compute: The arithmetic of the attacks' gradients.
        device: ``cpu``, ``cuda`` or ``mps``.
        threads: Number of processor threads.
        seed: Random seed of every attack.
        sources: Networks whose adversarial examples are transferred to all others: names, and files with
            weights.
        consent: The code that the files with weights may name.
    """

    data: DataSettings
    evaluation: EvaluationSettings
    compute: Compute
    device: str
    threads: int
    seed: int
    sources: tuple[tuple[str, str], ...]
    consent: Consent = NO_CODE


@dataclass(frozen=True, slots=True)
class SplitSummary:
    """The size of a verification.

    Attributes:
        images: Number of images of the test split.
        operations: Floating point operations of one network's forward pass of one image.
        digest: SHA-256 of the images and labels, as hexadecimal digits.
    """

    images: int
    operations: int
    digest: str


def describe_test_split(data: DataSettings, path: str, consent: Consent = NO_CODE) -> SplitSummary:
    """Read the test split and measure the network in a file; run on a worker.

    Args:
        data: Settings of the data, with absolute paths.
        path: File with the weights of a network.
        consent: The code that the file may name.

    Raises:
        NetworkError: A prediction of the network depends on the other images of the batch, or the user's
            own network raised an error.
    """
    from morel_search.training.augment import to_float
    from morel_search.training.compute import operations
    from morel_search.training.predictions import DEPENDS_ON_BATCH, NOISE, batch_effect

    test = test_images(data)
    channels, height, width = (int(size) for size in test.images.shape[1:])
    with named_errors(f"the network in {path}", consent.names):
        model = model_for(path, "cpu", consent)
        if batch_effect(model, to_float(test.images[:8])) > NOISE:
            raise NetworkError(f"the network in {path} {DEPENDS_ON_BATCH}")
        return SplitSummary(len(test), operations(model, (channels, height, width)), digest_of(test))


def diagnose_network(source: Source, rows: NDArray[np.int64], setup: WorkerSetup) -> MaskingDiagnostics:
    """Measure what indicates gradient masking, with transfer from the other networks; run on a worker.

    Args:
        source: The network.
        rows: Images, as indices into the test split.
        setup: The settings of all chunks.

    Raises:
        NetworkError: The user's own network raised an error.
    """
    from morel_search.verification.masking import diagnose_masking
    from morel_search.verification.transfer import transfer_accuracy

    images, labels = images_for(rows, setup)
    trials = frozenset() if isinstance(source, RivalModel) else network_trials(Path(source).parent.name)
    with _source_errors(source, setup):
        model = model_for(source, setup.device, setup.consent)
        compute = _compute_for(source, setup)
        diagnostics = diagnose_masking(
            model, images, labels, setup.evaluation, seed=setup.seed, compute=compute
        )
        transfer = {
            name: transfer_accuracy(model, _examples(other, rows.tobytes(), setup).to(setup.device), labels)
            for name, other in setup.sources
            # Another epoch of the same training is not an independent network, nor a member of a mixture.
            if not network_trials(Path(other).parent.name) & trials
        }
    return replace(diagnostics, transfer=transfer)


def attack_chunk(
    source: Source,
    stages: tuple[str, ...],
    rows: NDArray[np.int64],
    known: Table,
    scale: float,
    setup: WorkerSetup,
) -> ChunkResult:
    """Run attacks on some images of one network, on a worker; see :func:`run_attacks`.

    Args:
        source: The network.
        stages: Names of attacks.
        rows: Images, as indices into the test split.
        known: The rows of the attack record's table as they are now, shape (images, 1 + attacks).
        scale: Divisor of the logits, see :class:`MaskingDiagnostics`.
        setup: The settings of all chunks.

    Raises:
        NetworkError: The user's own network raised an error without an attack, or under this project's own
            attacks. An error under an attack of AutoAttack is recorded instead.
    """
    with _source_errors(source, setup):
        images, labels = images_for(rows, setup)
        return run_attacks(_attack_suite(source, scale, setup), stages, images, labels, known)


def digest_of(test: ImageSet) -> str:
    """Return the SHA-256 of images and labels, as hexadecimal digits."""
    return hashlib.sha256(test.images.numpy().tobytes() + test.labels.numpy().tobytes()).hexdigest()


def images_for(rows: NDArray[np.int64], setup: WorkerSetup) -> tuple[Tensor, Tensor]:
    """Return the images of a chunk as floats in [0, 1], and their labels, on the device."""
    import torch

    from morel_search.training.augment import to_float
    from morel_search.training.compute import configure

    torch.set_num_threads(setup.threads)
    configure(setup.compute, setup.device)
    test, chosen = test_images(setup.data), torch.from_numpy(rows)
    return to_float(test.images[chosen].to(setup.device)), test.labels[chosen].to(setup.device)


@lru_cache(maxsize=16)
def model_for(source: Source, device: str, consent: Consent) -> nn.Module:
    """Return a network on a device; it is kept for the next task of this process.

    Args:
        source: The network.
        device: The device.
        consent: The code that a file may name; a rival has its own consent.
    """
    from morel_search.models.checkpoint import load_model

    if isinstance(source, RivalModel):
        return load_rival(source).to(device)
    return load_model(Path(source), consent)[0].to(device)


def _compute_for(source: Source, setup: WorkerSetup) -> Compute:
    """Return the arithmetic of the gradients of attacks on a network."""
    if isinstance(source, RivalModel) and source.summary is not None:
        return source.summary.compute
    return setup.compute


def _source_errors(source: Source, setup: WorkerSetup) -> AbstractContextManager[None]:
    """Turn an error of the user's own network into one sentence."""
    if isinstance(source, RivalModel):
        return rival_errors(source)
    return named_errors(f"the network in {source}", setup.consent.names)


@lru_cache(maxsize=8)
def _examples(source: str, rows: bytes, setup: WorkerSetup) -> Tensor:
    """Return the examples of one source on the CPU; they are the same for every network."""
    from morel_search.verification.transfer import transfer_examples

    images, labels = images_for(np.frombuffer(rows, dtype=np.int64).copy(), setup)
    return transfer_examples(
        model_for(source, setup.device, setup.consent),
        images,
        labels,
        setup.evaluation,
        seed=setup.seed,
        compute=setup.compute,
    ).cpu()


@lru_cache(maxsize=4)
def _attack_suite(source: Source, scale: float, setup: WorkerSetup) -> AttackSuite:
    from morel_search.training.augment import to_float
    from morel_search.verification.attack_suite import AttackSuite

    images = to_float(test_images(setup.data).images[:2].to(setup.device))
    return AttackSuite(
        model_for(source, setup.device, setup.consent),
        images,
        setup.evaluation,
        seed=setup.seed,
        compute=_compute_for(source, setup),
        scale=scale,
    )
