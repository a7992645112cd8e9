"""One verification of a run: which network is attacked when, by Ray's workers, and what is written after each piece."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from morel_search.cluster.placement import concurrency, device_for, with_absolute_paths
from morel_search.cluster.tasks import explained_errors
from morel_search.config import ResourceSettings, Space
from morel_search.results.attack_names import LATE, WHITE_BOX
from morel_search.results.attack_records import (
    COLUMNS,
    ROBUST,
    UNKNOWN,
    AttackRecord,
    AttackSetup,
    fingerprint,
    open_record,
)
from morel_search.results.diagnostics import MaskingDiagnostics
from morel_search.results.folder import RunFolder
from morel_search.training.settings import Compute
from morel_search.verification.worker import Task, attack, look

if TYPE_CHECKING:
    pass

__all__ = ["Chunk", "VerificationBudget", "verify_networks"]

RATE = {"cpu": 1e11, "cuda": 2e13, "mps": 2e12}
"""Floating point operations a second that a device is roughly good for."""

SECONDS, PASSES, FEWEST, MOST = 30, 3600, 5, 500
"""What a piece should take, what it costs in forward passes of an image, and how many images it may have: between two pieces a
verification can stop."""

LOOKED_AT = 200
"""Images on which the signs are read."""

FOR_WHITE_BOX = 0.6
"""Share of the time, where it is limited, after which the attacks by gradient make room for FAB-T and Square."""

SECONDS_BETWEEN_WRITES = 10.0

LOST = "the verification was interrupted ({reason}); the same command continues it"

Table = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class VerificationBudget:
    """How much is verified.

    Attributes:
        images: Images of the test split, None for all.
        seconds: When to stop; None for never.
        seed: Decides the order of the images and every attack.
    """

    images: int | None = None
    seconds: float | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a worker does at a time.

    Attributes:
        network: The network's name.
        stages: Attacks; none for reading the signs.
        rows: Images, as indices into the test split.
        first: Whether they are the first images of all.
    """

    network: str
    stages: tuple[str, ...]
    rows: NDArray[np.int64]
    first: bool


def verify_networks(
    space: Space,
    run: RunFolder,
    models: Mapping[str, Path],
    sources: Mapping[str, Path],
    compute: Compute,
    budget: VerificationBudget,
    on_chunk: Callable[[int, int], None],
) -> bool:
    """Attack networks on the test split until every image has seen every attack, or the time is over.

    All networks see the same images in the same order, so that they can be compared at any time. What was
    found earlier, by the same attacks on the same weights, is not done again.

    Args:
        space: Data, attack and resources are read.
        run: Where the records are kept.
        models: Files with weights, by the network's name.
        sources: Files with the weights of networks on which examples for all others are made (transfer), by
            what they are called.
        compute: The arithmetic of the attacks' gradients.
        budget: How much.
        on_chunk: Called after each piece with the pieces done and all.

    Returns:
        Whether everything was done.

    Raises:
        MorelSearchError: The test split or a network cannot be read, a machine was lost, or the run folder
            cannot be written.
    """
    data = with_absolute_paths(space.data)
    made_on = tuple((label, str(path.absolute())) for label, path in sources.items())
    what = Task(
        data,
        space.evaluation,
        compute,
        device_for(space.resources),
        max(1, int(space.resources.cpu)),
        budget.seed,
        made_on,
    )
    size, block, images = _measure(what, next(iter(models.values())))
    evaluation = space.describe()["evaluation"]
    records = {
        name: open_record(run, name, AttackSetup(fingerprint(path), evaluation, budget.seed, images), size)
        for name, path in models.items()
    }
    for record in records.values():
        # Only the gradients of the attacks depend on the arithmetic, so earlier results remain valid.
        record.compute = asdict(compute)
    rows = np.random.default_rng(budget.seed).permutation(size)[: budget.images]
    chunks = _chunks(records, rows, min(block, space.evaluation.batch_size), space.evaluation.batch_size)
    return _Work(run, records, models, what, budget).run(chunks, space.resources, on_chunk)


def _measure(what: Task, model: Path) -> tuple[int, int, str]:
    """Images of the test split, images of a piece, and the split's fingerprint; read where a worker reads them."""
    import ray

    with explained_errors(LOST):
        size, work, images = ray.get(ray.remote(look).remote(what.data, str(model.absolute())))
    return (
        int(size),
        int(min(MOST, max(FEWEST, RATE[what.device] * SECONDS / (PASSES * max(1, work))))),
        str(images),
    )


class _Work:
    """Pieces under way, and what comes of them."""

    def __init__(
        self,
        run: RunFolder,
        records: Mapping[str, AttackRecord],
        models: Mapping[str, Path],
        what: Task,
        budget: VerificationBudget,
    ) -> None:
        self._run, self._records, self._models, self.task_identity = run, records, models, what
        self._began = time.monotonic()
        self._seconds = budget.seconds
        self._unwritten: set[str] = set()
        self._written = self._began

    def run(
        self, chunks: list[Chunk], resources: ResourceSettings, on_chunk: Callable[[int, int], None]
    ) -> bool:
        import ray

        task = ray.remote(num_cpus=resources.cpu, num_gpus=resources.gpu, max_calls=0)(attack)
        at_a_time = concurrency(resources)
        waiting = list(chunks)
        pending: dict[Any, Chunk] = {}
        done = 0
        try:
            while waiting or pending:
                while (
                    len(pending) < at_a_time
                    and (index := self._next(waiting, [*pending.values()])) is not None
                ):
                    chunk = waiting.pop(index)
                    record = self._records[chunk.network]
                    what = str(self._models[chunk.network].absolute()), chunk.stages, chunk.rows
                    pending[
                        task.remote(
                            *what,
                            record.table[chunk.rows],
                            1.0 if record.diagnostics is None else record.diagnostics.scale,
                            self.task_identity,
                        )
                    ] = chunk
                if not pending:
                    break
                with explained_errors(LOST):
                    ready, _ = ray.wait(list(pending))
                    chunk, result = pending.pop(ready[0]), ray.get(ready[0])
                self._take(chunk, result)
                done += 1
                on_chunk(done, len(chunks))
        finally:
            for reference in pending:
                ray.cancel(reference)
            self._write()
        return not waiting

    def _next(self, waiting: list[Chunk], pending: Collection[Chunk]) -> int | None:
        """The piece to begin now; None where nothing can begin yet, or the time is over."""
        passed = time.monotonic() - self._began
        if self._seconds is not None and passed > self._seconds:
            return None
        looked_at = {chunk.network for chunk in pending if not chunk.stages}
        able = (index for index, chunk in enumerate(waiting) if self._able(chunk, looked_at))
        begun = not any(
            chunk.first and chunk.stages != LATE for chunk in (*waiting, *pending)
        )  # something can be compared already
        if begun and self._seconds is not None and passed > FOR_WHITE_BOX * self._seconds:
            return min(able, key=lambda index: waiting[index].stages == WHITE_BOX, default=None)
        return next(able, None)

    def _able(self, chunk: Chunk, looked_at: set[str]) -> bool:
        """Attacks wait for the signs of their network; FAB-T and Square see only what the attacks by gradient have left."""
        if chunk.stages and chunk.network in looked_at:
            return False
        if chunk.stages != LATE:
            return True
        record = self._records[chunk.network]
        return not _open(record, chunk.rows, WHITE_BOX)

    def _take(self, chunk: Chunk, result: tuple[Table, MaskingDiagnostics | tuple[str, ...]]) -> None:
        record = self._records[chunk.network]
        table, measured = result
        if isinstance(measured, MaskingDiagnostics):
            record.diagnostics = measured
        else:
            record.table[chunk.rows], record.attacks = table, measured
        self._unwritten.add(chunk.network)
        if time.monotonic() > self._written + SECONDS_BETWEEN_WRITES:
            self._write()

    def _write(self) -> None:
        for name in sorted(self._unwritten):
            self._records[name].write(self._run)
        self._unwritten.clear()
        self._written = time.monotonic()


def _chunks(
    records: Mapping[str, AttackRecord], rows: NDArray[np.int64], block: int, batch_size: int
) -> list[Chunk]:
    """Signs of every network, then block by block the attacks by gradient, then block by block the rest; nothing that is known."""
    blocks = [rows[start : start + block] for start in range(0, len(rows), block)]
    chunks = [
        Chunk(name, (), rows[: min(LOOKED_AT, batch_size)], True)
        for name, record in records.items()
        if record.diagnostics is None
    ]
    for stages in (WHITE_BOX, LATE):
        chunks += [
            Chunk(name, stages, part, part is blocks[0])
            for part in blocks
            for name, record in records.items()
            if _open(record, part, stages)
        ]
    return chunks


def _open(record: AttackRecord, rows: NDArray[np.int64], stages: tuple[str, ...]) -> bool:
    """Whether one of these attacks has something to do on some image; one that has never run there is UNKNOWN on a standing image."""
    table = record.table[rows]
    for_stages = [COLUMNS.index(stage) for stage in stages if stage in record.attacks]
    is_robust = (table == ROBUST).any(axis=1) & ~(table == 0).any(axis=1)
    return bool(
        (table[:, 0] == UNKNOWN).any() or (is_robust & (table[:, for_stages] == UNKNOWN).any(axis=1)).any()
    )
