"""One verification of a run.

The order of the attacks, Ray's workers, and the records written after each chunk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morel_search._consent import consent_to
from morel_search.cluster.placement import concurrency, device_for, threads_for, with_absolute_paths
from morel_search.cluster.tasks import Results, task_errors, trial_task
from morel_search.config import ResourceSettings, Space
from morel_search.results.attack_records import AttackRecord, AttackSetup, fingerprint
from morel_search.results.diagnostics import MaskingDiagnostics
from morel_search.results.folder import RunFolder
from morel_search.results.image_order import image_order
from morel_search.training.compute_settings import Compute
from morel_search.verification.attacked_images import AttackedImages, draw_network
from morel_search.verification.begin import begin_records
from morel_search.verification.chunk_attacks import ChunkResult, put_result
from morel_search.verification.chunks import Chunk, chunk_images, chunks_to_run, is_done, next_chunk
from morel_search.verification.pictures import update_pictures
from morel_search.verification.rivals import RivalModel
from morel_search.verification.worker import (
    Source,
    SplitSummary,
    WorkerSetup,
    attack_chunk,
    describe_test_split,
    diagnose_network,
)

__all__ = ["VerificationBudget", "verify_networks"]

SECONDS_BETWEEN_WRITES = 10.0


@dataclass(frozen=True, slots=True)
class VerificationBudget:
    """The limits of a verification.

    Attributes:
        images: Number of images of the test split; None for all.
        seconds: Time limit; None for no limit.
        seed: Random seed of the order of the images and of every attack.
    """

    images: int | None = None
    seconds: float | None = None
    seed: int = 0


def verify_networks(
    space: Space,
    run: RunFolder,
    models: Mapping[str, Path],
    sources: Mapping[str, Path],
    compute: Compute,
    budget: VerificationBudget,
    on_chunk: Callable[[int, int], None],
    rivals: Mapping[str, RivalModel] | None = None,
) -> bool:
    """Attack networks on the test split with every attack, or until the time limit is reached.

    All networks are attacked on the same images in the same order, so that they can be compared at any time.
    Results of earlier verifications by the same attacks on the same weights are kept.

    Args:
        space: Its data, evaluation and resources are used.
        run: The run's folder, where the records are written.
        models: Files with weights, by the network's name.
        sources: Files with the weights of networks whose adversarial examples are transferred to all others,
            by name.
        compute: The arithmetic of the attacks' gradients.
        budget: The limits.
        on_chunk: Called after each chunk with the number of finished chunks and of all chunks.
        rivals: Networks that the run did not train, by the names of their records; attacked after the others.

    Returns:
        Whether the verification is complete.

    Raises:
        MorelSearchError: The test split or a network cannot be read, a machine was lost, or the run folder
            cannot be written.
    """
    setup = WorkerSetup(
        data=with_absolute_paths(space.data),
        evaluation=space.evaluation,
        compute=compute,
        device=device_for(space.resources),
        threads=threads_for(space.resources),
        seed=budget.seed,
        sources=tuple((name, str(path.absolute())) for name, path in sources.items()),
        consent=consent_to(space.network.name),
    )
    split = _describe(setup, next(iter(models.values())))
    evaluation = space.describe()["evaluation"]
    known = {name: (fingerprint(path), compute) for name, path in models.items()}
    rivals = rivals or {}
    for name, rival in rivals.items():
        assert rival.summary is not None, "a rival is attacked after it was described"
        known[name] = rival.summary.fingerprint, rival.summary.compute
    records = begin_records(
        run,
        {
            name: AttackSetup(weights, evaluation, budget.seed, split.digest)
            for name, (weights, _) in known.items()
        },
        split.images,
        {name: asdict(arithmetic) for name, (_, arithmetic) in known.items()},
    )
    rows = image_order(budget.seed, split.images)[: budget.images]
    batch_size = space.evaluation.batch_size
    sizes = {
        name: min(chunk_images(rival.summary.operations, setup.device), batch_size)
        for name, rival in rivals.items()
        if rival.summary is not None
    }
    block = min(chunk_images(split.operations, setup.device), batch_size)
    chunks = chunks_to_run(records, rows, block, batch_size, sizes)
    sources_of: dict[str, Source] = {name: str(path.absolute()) for name, path in models.items()}
    verification = _Verification(run, records, {**sources_of, **rivals}, setup, budget)
    complete = verification.run(chunks, space.resources, on_chunk)

    def draw(path: str, images: NDArray[np.int64], setup: WorkerSetup) -> AttackedImages:
        return _draw(path, images, setup, space.resources)

    own = {name: record for name, record in records.items() if name in models}
    update_pictures(run, own, models, rows, setup, split.operations, draw)
    return complete


def _describe(setup: WorkerSetup, model: Path) -> SplitSummary:
    """Read the test split and measure a network on a worker, where the data is."""
    import ray

    with task_errors("the test split could not be read", "run the same command again"):
        task = ray.remote(describe_test_split).remote(setup.data, str(model.absolute()), setup.consent)
        summary: SplitSummary = ray.get(Results().next([task]))
    return summary


def _draw(
    path: str, images: NDArray[np.int64], setup: WorkerSetup, resources: ResourceSettings
) -> AttackedImages:
    """Attack some images of a network on a worker, and return the pictures."""
    import ray

    with task_errors("the attack was interrupted", "the same command tries again"):
        task = trial_task(draw_network, resources).remote(path, images, setup)
        pictures: AttackedImages = ray.get(Results().next([task]))
    return pictures


class _Verification:
    """The running tasks and the records of one verification.

    Args:
        run: The run's folder.
        records: The networks' records, by name.
        models: The networks, by name.
        setup: The settings of all chunks.
        budget: The limits.
    """

    def __init__(
        self,
        run: RunFolder,
        records: Mapping[str, AttackRecord],
        models: Mapping[str, Source],
        setup: WorkerSetup,
        budget: VerificationBudget,
    ) -> None:
        self._run, self._records, self._models, self._setup = run, records, models, setup
        self._began = time.monotonic()
        self._seconds = budget.seconds
        self._unwritten: set[str] = set()
        self._written = self._began

    def run(
        self, chunks: list[Chunk], resources: ResourceSettings, on_chunk: Callable[[int, int], None]
    ) -> bool:
        """Run chunks, as many at the same time as there are resources.

        Return whether all of them were run.
        """
        import ray

        limit = concurrency(resources)
        attack, diagnose = trial_task(attack_chunk, resources), trial_task(diagnose_network, resources)
        waiting = list(chunks)
        pending: dict[Any, Chunk] = {}
        results = Results()
        done = 0
        try:
            with task_errors("the verification was interrupted", "the same command continues it"):
                while waiting or pending:
                    while len(pending) < limit:
                        elapsed = time.monotonic() - self._began
                        index = next_chunk(waiting, pending.values(), self._records, elapsed, self._seconds)
                        if index is None:
                            break
                        chunk = waiting.pop(index)
                        if is_done(chunk, self._records[chunk.network]):
                            done += 1
                        else:
                            pending[self._start(chunk, attack, diagnose)] = chunk
                    if not pending:
                        break
                    reference = results.next(pending)
                    self._take(pending.pop(reference), ray.get(reference))
                    done += 1
                    on_chunk(done, len(chunks))
        finally:
            for reference in pending:
                ray.cancel(reference)
            self._write()
        return not waiting

    def _start(self, chunk: Chunk, attack: Any, diagnose: Any) -> Any:
        """Start a chunk as a Ray task and return its reference."""
        source, record = self._models[chunk.network], self._records[chunk.network]
        if not chunk.stages:
            return diagnose.remote(source, chunk.rows, self._setup)
        scale = 1.0 if record.diagnostics is None else record.diagnostics.scale
        return attack.remote(source, chunk.stages, chunk.rows, record.table[chunk.rows], scale, self._setup)

    def _take(self, chunk: Chunk, result: ChunkResult | MaskingDiagnostics) -> None:
        """Put a chunk's result into its network's record."""
        record = self._records[chunk.network]
        if isinstance(result, MaskingDiagnostics):
            record.diagnostics = result
        else:
            put_result(record, chunk.rows, result)
        self._unwritten.add(chunk.network)
        if time.monotonic() > self._written + SECONDS_BETWEEN_WRITES:
            self._write()

    def _write(self) -> None:
        for name in sorted(self._unwritten):
            self._records[name].write(self._run)
        self._unwritten.clear()
        self._written = time.monotonic()
