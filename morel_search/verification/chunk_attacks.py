"""The attacks of one chunk, and their result in the network's record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from morel_search.errors import MorelSearchError, OutOfMemoryError
from morel_search.results.attack_names import STAGES, STANDARD
from morel_search.results.attack_records import (
    BROKEN,
    COLUMNS,
    ROBUST,
    UNKNOWN,
    AttackRecord,
    skip_misclassified,
)

if TYPE_CHECKING:
    from torch import Tensor

    from morel_search.verification.attack_suite import AttackSuite

__all__ = ["ChunkResult", "Table", "put_result", "run_attacks"]

Table = NDArray[np.int8]

FINITE = "finite logits"
"""What is asked of the misclassified images, apart from the stages of a record."""


@dataclass(frozen=True, slots=True, eq=False)
class ChunkResult:
    """The result of the attacks of one chunk.

    Attributes:
        table: The rows of the attack record's table, shape (images, 1 + attacks).
        attacks: Names of all attacks that exist for this network; see :attr:`AttackSuite.names`.
        failures: The errors of AutoAttack's attacks that could not be run, by the attack's name.
        not_finite: Which images have logits that are not finite, without an attack, shape (images,); False
            for an image that was classified earlier.
    """

    table: Table
    attacks: tuple[str, ...]
    failures: Mapping[str, str]
    not_finite: NDArray[np.bool_]


def run_attacks(
    suite: AttackSuite, stages: tuple[str, ...], images: Tensor, labels: Tensor, known: Table
) -> ChunkResult:
    """Run attacks on some images of one network, in this process.

    An image that is misclassified already is marked as skipped by each of these attacks. If no image is left,
    all further attacks have nothing to attack, and their cells are marked as well.

    Args:
        suite: The attacks on the network.
        stages: Names of attacks.
        images: Float in [0, 1], shape (N, C, H, W), on the network's device.
        labels: Shape (N,).
        known: The rows of the attack record's table as they are now, shape (N, 1 + attacks).
    """
    import torch

    table = known.copy()
    failures: dict[str, str] = {}
    not_finite = np.zeros(len(table), dtype=bool)
    for stage in ("clean", *stages):
        if stage != "clean" and stage not in suite.names:
            continue
        column = COLUMNS.index(stage)
        remaining = np.flatnonzero(~(table == BROKEN).any(axis=1) & (table[:, column] == UNKNOWN))
        if len(remaining):
            part = torch.from_numpy(remaining).to(images.device)
            try:
                is_robust = _robust(suite, stage, images[part], labels[part]).cpu().numpy()
            except Exception as error:
                # An attack of the library can fail on images or networks that it was not made for.
                if stage not in STANDARD or isinstance(error, MorelSearchError):
                    raise
                failures[stage] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                continue
            table[remaining, column] = np.where(is_robust, ROBUST, BROKEN)
            if stage == "clean" and not is_robust.all():
                wrong = remaining[~is_robust]
                part = torch.from_numpy(wrong).to(images.device)
                not_finite[wrong] = ~_robust(suite, FINITE, images[part], labels[part]).cpu().numpy()
    left = not (table == BROKEN).any(axis=1).all()
    done = [name for name in (stages if left else STAGES) if name in suite.names and name not in failures]
    skip_misclassified(table, done)
    return ChunkResult(table, suite.names, failures, not_finite)


def put_result(record: AttackRecord, rows: NDArray[np.int64], result: ChunkResult) -> None:
    """Put the result of a chunk into its network's record.

    Args:
        record: The record, which is changed.
        rows: The images of the chunk, as indices into the test split.
        result: The result.
    """
    record.table[rows] = result.table
    record.attacks = result.attacks
    record.failures = {**record.failures, **result.failures}
    record.not_finite |= {int(row) for row in rows[result.not_finite]}


def _robust(suite: AttackSuite, stage: str, images: Tensor, labels: Tensor) -> Tensor:
    """Return which images are correctly classified after one stage, or have finite logits (``FINITE``).

    Where the device's memory is too small, by halves.
    """
    import torch

    try:
        if stage == FINITE:
            return suite.finite(images)
        return suite.correct(images, labels) if stage == "clean" else suite.robust_mask(stage, images, labels)
    except torch.OutOfMemoryError as error:
        if len(images) == 1:
            raise OutOfMemoryError(
                f"out of memory: the memory of {images.device} is too small for the attack {stage} on one "
                "image; use a device with more memory"
            ) from error
    torch.cuda.empty_cache()
    middle = len(images) // 2
    return torch.cat(
        [_robust(suite, stage, images[part], labels[part]) for part in (slice(middle), slice(middle, None))]
    )
