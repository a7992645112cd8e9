"""What a worker does for a verification: one piece of one network at a time; images and networks stay loaded for the next."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from morel_search.cluster.worker_data import test_images
from morel_search.errors import OutOfMemoryError
from morel_search.results.attack_records import COLUMNS, UNKNOWN
from morel_search.results.diagnostics import MaskingDiagnostics
from morel_search.training.settings import Compute, DataSettings, EvaluationSettings

if TYPE_CHECKING:
    from torch import Tensor

    from morel_search.verification.attack_suite import AttackSuite

__all__ = ["Task", "attack", "look"]

Table = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class Task:
    """What every piece of a verification has in common.

    Attributes:
        data: Where the test split is.
        evaluation: Norm, radius and the search's own attack.
        compute: The arithmetic of the attacks' gradients.
        device: ``cpu``, ``cuda`` or ``mps``.
        threads: Processor threads.
        seed: Of every attack.
        sources: Networks on which examples for all others are made: what they are called, and the files with
            their weights.
    """

    data: DataSettings
    evaluation: EvaluationSettings
    compute: Compute
    device: str
    threads: int
    seed: int
    sources: tuple[tuple[str, str], ...]


def look(data: DataSettings, path: str) -> tuple[int, int, str]:
    """Images of the test split, operations of one of a network's forward passes, and the split's fingerprint."""
    from morel_search.training.compute import operations

    test = test_images(data)
    channels, height, width = (int(size) for size in test.images.shape[1:])
    digest = hashlib.sha256(test.images.numpy().tobytes() + test.labels.numpy().tobytes()).hexdigest()
    return len(test), operations(_model(path, "cpu"), (channels, height, width)), digest


def attack(
    path: str,
    stages: tuple[str, ...],
    rows: NDArray[np.int64],
    known: Table,
    scale: float,
    what: Task,
) -> tuple[Table, MaskingDiagnostics | tuple[str, ...]]:
    """Run attacks on some images of the test split, or measure the diagnostics of gradient masking.

    Args:
        path: File with the weights of the network.
        stages: Attacks to run; without any, the diagnostics are measured.
        rows: The images, as indices into the test split.
        known: The rows of the network's attack record for these images.
        scale: Divisor of the logits in the attacks.
        what: The settings that all parts of a verification share.

    Returns:
        The rows of the attack record, and the diagnostics; with attacks, the attacks that apply to the network
        instead of the diagnostics.
    """
    import torch

    from morel_search.training.augment import to_float
    from morel_search.training.compute import configure
    from morel_search.verification.masking import diagnose_masking
    from morel_search.verification.transfer import transferred

    torch.set_num_threads(what.threads)
    configure(what.compute, what.device)
    test = test_images(what.data)
    chosen = torch.from_numpy(rows)
    images, labels = to_float(test.images[chosen].to(what.device)), test.labels[chosen].to(what.device)
    table = known.copy()
    if not stages:
        model = _model(path, what.device)
        signs = diagnose_masking(model, images, labels, what.evaluation, seed=what.seed, compute=what.compute)
        transfer = {
            label: transferred(
                model,
                _model(source, what.device),
                images,
                labels,
                what.evaluation,
                seed=what.seed,
                compute=what.compute,
            )
            for label, source in what.sources
            if _trial(source) != _trial(path)
        }
        return table, replace(signs, transfer=transfer)
    suite = _battery(path, scale, what)
    for stage in ("clean", *stages):
        if stage != "clean" and stage not in suite.names:
            continue
        column = COLUMNS.index(stage)
        alive = np.flatnonzero(~(table == 0).any(axis=1) & (table[:, column] == UNKNOWN))
        if len(alive):
            part = torch.from_numpy(alive).to(what.device)
            table[alive, column] = _standing(suite, stage, images[part], labels[part]).cpu().numpy()
    return table, suite.names


def _standing(suite: AttackSuite, stage: str, images: Tensor, labels: Tensor) -> Tensor:
    """Which images are right as they are, or withstand an attack; those that the device's memory does not hold at once, by halves."""
    import torch

    try:
        return suite.correct(images, labels) if stage == "clean" else suite.robust_mask(stage, images, labels)
    except torch.OutOfMemoryError as error:
        if len(images) == 1:
            raise OutOfMemoryError(
                f"out of memory: {images.device} does not hold the attack {stage} on one image"
            ) from error
    torch.cuda.empty_cache()
    middle = len(images) // 2
    return torch.cat(
        [_standing(suite, stage, images[part], labels[part]) for part in (slice(middle), slice(middle, None))]
    )


def _trial(path: str) -> str:
    """The trial whose network a file is: another epoch of the same training is not independent of it."""
    return Path(path).parent.name.partition("-")[0]


@lru_cache(maxsize=16)
def _model(path: str, device: str) -> Any:
    from morel_search.models.checkpoint import load_model

    return load_model(Path(path))[0].to(device)


@lru_cache(maxsize=4)
def _battery(path: str, scale: float, what: Task) -> AttackSuite:
    from morel_search.training.augment import to_float
    from morel_search.verification.attack_suite import AttackSuite

    images = to_float(test_images(what.data).images[:2].to(what.device))
    return AttackSuite(
        _model(path, what.device), images, what.evaluation, seed=what.seed, compute=what.compute, scale=scale
    )
