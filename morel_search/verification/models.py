"""A verification of networks that no search of this project trained: in this process, without Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from morel_search.results.attack_records import AttackRecord, AttackSetup
from morel_search.results.folder import RunFolder
from morel_search.results.image_order import image_order
from morel_search.training.augment import to_float
from morel_search.training.compute import operations
from morel_search.training.compute_settings import Compute
from morel_search.training.settings import EvaluationSettings
from morel_search.verification.attack_suite import AttackSuite
from morel_search.verification.begin import begin_records
from morel_search.verification.chunk_attacks import put_result, run_attacks
from morel_search.verification.chunks import Chunk, chunk_images, chunks_to_run, is_done, next_chunk
from morel_search.verification.masking import diagnose_masking
from morel_search.verification.outside import fingerprint_of
from morel_search.verification.runner import VerificationBudget
from morel_search.verification.transfer import transfer_accuracy, transfer_examples
from morel_search.verification.worker import digest_of

if TYPE_CHECKING:
    from morel_search.training.datasets.loading import ImageSet

__all__ = ["Candidate", "verify_models"]


@dataclass(frozen=True, slots=True, eq=False)
class Candidate:
    """A network to verify.

    Attributes:
        model: Float images in [0, 1], shape (N, C, H, W), to logits; on the device of the verification.
        compute: The arithmetic of the attacks' gradients.
    """

    model: nn.Module
    compute: Compute


def verify_models(
    folder: RunFolder,
    candidates: Mapping[str, Candidate],
    test: ImageSet,
    evaluation: EvaluationSettings,
    described: Mapping[str, object],
    budget: VerificationBudget,
    on_chunk: Callable[[int, int], None],
) -> dict[str, AttackRecord]:
    """Attack networks with every attack, or until the time limit is reached.

    The images, their order, the attacks and their records are those of the verification of a run; results of
    earlier verifications of the same weights on the same images are kept. The examples of each network are
    transferred to all others.

    Args:
        folder: The folder of the records, whose lock is held.
        candidates: The networks, by names that can be file names.
        test: The test images.
        evaluation: Norm, radius and attacks.
        described: The section ``evaluation`` of the resolved space.
        budget: The limits.
        on_chunk: Called after each chunk with the number of finished chunks and of all chunks.

    Returns:
        The records, by name.

    Raises:
        MorelSearchError: A network cannot be attacked, or the folder cannot be written.
    """
    digest = digest_of(test)
    records = begin_records(
        folder,
        {
            name: AttackSetup(fingerprint_of(candidate.model), described, budget.seed, digest)
            for name, candidate in candidates.items()
        },
        len(test),
        {name: asdict(candidate.compute) for name, candidate in candidates.items()},
    )
    rows = image_order(budget.seed, len(test))[: budget.images]
    channels, height, width = (int(side) for side in test.images.shape[1:])
    cost = max(operations(candidate.model, (channels, height, width)) for candidate in candidates.values())
    device = next(weight.device for candidate in candidates.values() for weight in _tensors(candidate.model))
    size = min(chunk_images(cost, device.type), evaluation.batch_size)
    waiting = chunks_to_run(records, rows, size, evaluation.batch_size)
    attacker = _Attacker(candidates, test, evaluation, budget.seed, device)
    began, total, done = time.monotonic(), len(waiting), 0
    while (index := next_chunk(waiting, (), records, time.monotonic() - began, budget.seconds)) is not None:
        chunk = waiting.pop(index)
        record = records[chunk.network]
        done += 1
        if is_done(chunk, record):
            continue
        attacker.attack(chunk, record)
        record.write(folder)
        on_chunk(done, total)
    return records


class _Attacker:
    """The attacks on all networks; suites and transferred examples are kept for the next chunk."""

    def __init__(
        self,
        candidates: Mapping[str, Candidate],
        test: ImageSet,
        evaluation: EvaluationSettings,
        seed: int,
        device: torch.device,
    ) -> None:
        self._candidates, self._test, self._evaluation = candidates, test, evaluation
        self._seed, self._device = seed, device
        self._suites: dict[str, AttackSuite] = {}
        self._examples: dict[tuple[str, bytes], Tensor] = {}

    def attack(self, chunk: Chunk, record: AttackRecord) -> None:
        """Attack or diagnose a network on the images of a chunk, and put the result into its record."""
        rows = torch.from_numpy(chunk.rows)
        images = to_float(self._test.images[rows].to(self._device))
        labels = self._test.labels[rows].to(self._device)
        if not chunk.stages:
            self._diagnose(chunk, record, images, labels)
            return
        result = run_attacks(
            self._suite(chunk.network, record, images),
            chunk.stages,
            images,
            labels,
            record.table[chunk.rows],
        )
        put_result(record, chunk.rows, result)

    def _diagnose(self, chunk: Chunk, record: AttackRecord, images: Tensor, labels: Tensor) -> None:
        candidate = self._candidates[chunk.network]
        diagnostics = diagnose_masking(
            candidate.model, images, labels, self._evaluation, seed=self._seed, compute=candidate.compute
        )
        transfer = {}
        for name, other in self._candidates.items():
            if name == chunk.network:
                continue
            key = name, chunk.rows.tobytes()
            if key not in self._examples:
                self._examples[key] = transfer_examples(
                    other.model, images, labels, self._evaluation, seed=self._seed, compute=other.compute
                )
            transfer[name] = transfer_accuracy(candidate.model, self._examples[key], labels)
        record.diagnostics = replace(diagnostics, transfer=transfer)

    def _suite(self, name: str, record: AttackRecord, images: Tensor) -> AttackSuite:
        if name not in self._suites:
            candidate = self._candidates[name]
            self._suites[name] = AttackSuite(
                candidate.model,
                images[:2],
                self._evaluation,
                seed=self._seed,
                compute=candidate.compute,
                scale=1.0 if record.diagnostics is None else record.diagnostics.scale,
            )
        return self._suites[name]


def _tensors(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()] or [torch.zeros(0)]
