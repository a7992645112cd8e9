"""The division of a verification into chunks: one network, some attacks and some images each."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from morel_search.results.attack_names import LATE, WHITE_BOX
from morel_search.results.attack_records import BROKEN, COLUMNS, UNKNOWN, AttackRecord, skip_misclassified

__all__ = ["Chunk", "blocks_of", "chunk_images", "chunks_to_run", "is_done", "is_open", "next_chunk"]

OPERATIONS_PER_SECOND = {"cpu": 1e11, "cuda": 2e13, "mps": 2e12}
"""Rough speed of a device, in floating point operations per second; it decides the size of a chunk."""

CHUNK_SECONDS = 30
"""Intended duration of a chunk; a verification can stop between two chunks."""

CHUNK_PASSES = 3600
"""Rough cost of all attacks on one image, in forward passes."""

FEWEST_IMAGES, MOST_IMAGES = 5, 500
"""Limits of the number of images of a chunk."""

WHITE_BOX_SHARE = 0.6
"""Share of a time limit after which FAB-T and Square are preferred to further white-box attacks."""

FIRST_IMAGES, FIRST_SHARE = 20, 0.25
"""Images of the first block, of which every network gets the white-box attacks before any gets more: at least
this number, and at least this share of the largest block. The attacks of a small network on a few images cost
as much as on many, because the time is that of starting operations."""

DIAGNOSED_IMAGES = 200
"""Images on which signs of gradient masking are measured."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """The work of one task.

    Attributes:
        network: The network's name.
        stages: Names of attacks; empty for measuring signs of gradient masking.
        rows: Images, as indices into the test split.
        first: Whether it is a diagnosis, or attacks the first images of the verification.
    """

    network: str
    stages: tuple[str, ...]
    rows: NDArray[np.int64]
    first: bool


def chunks_to_run(
    records: Mapping[str, AttackRecord],
    rows: NDArray[np.int64],
    block: int,
    batch_size: int,
    smaller: Mapping[str, int] | None = None,
) -> list[Chunk]:
    """Return the chunks that are not done yet, in order.

    First, network by network, the diagnosis and the white-box attacks on the first images, then, block by
    block, the white-box attacks on the others, and then, block by block, FAB-T and Square.

    Args:
        records: The networks' records, by name.
        rows: The images, in order.
        block: Largest number of images of a block.
        batch_size: Largest number of images of a diagnosis.
        smaller: Largest number of images of a chunk, for networks that need more time than the others; their
            blocks are divided.
    """
    smaller = smaller or {}
    blocks = blocks_of(rows, block)
    for record in records.values():
        for part in blocks:
            _skip_if_none_left(record, part)
    chunks: list[Chunk] = []
    for name, record in records.items():
        if record.diagnostics is None:
            chunks.append(Chunk(name, (), rows[: min(DIAGNOSED_IMAGES, batch_size)], True))
        chunks += [
            Chunk(name, WHITE_BOX, piece, True)
            for piece in _pieces(blocks[0], smaller.get(name))
            if is_open(record, piece, WHITE_BOX)
        ]
    for stages in (WHITE_BOX, LATE):
        chunks += [
            Chunk(name, stages, piece, part is blocks[0])
            for part in blocks
            if part is not blocks[0] or stages != WHITE_BOX
            for name, record in records.items()
            for piece in _pieces(part, smaller.get(name))
            if is_open(record, piece, stages)
        ]
    return chunks


def _pieces(part: NDArray[np.int64], most: int | None) -> list[NDArray[np.int64]]:
    """Divide a block into parts of at most ``most`` images; with None, the block is the only part."""
    if most is None or most >= len(part):
        return [part]
    return [part[start : start + most] for start in range(0, len(part), most)]


def next_chunk(
    waiting: Sequence[Chunk],
    pending: Collection[Chunk],
    records: Mapping[str, AttackRecord],
    elapsed: float,
    seconds: float | None,
) -> int | None:
    """Return the index of the chunk to start now.

    Args:
        waiting: The chunks that have not started, in the order of :func:`chunks_to_run`.
        pending: The running chunks.
        records: The networks' records, by name.
        elapsed: Seconds since the verification began.
        seconds: Time limit; None for no limit.

    Returns:
        The index; None if no chunk can start yet, or the time limit is reached.
    """
    if seconds is not None and elapsed > seconds:
        return None
    being_diagnosed = {chunk.network for chunk in pending if not chunk.stages}
    # Once all networks' first images are through the white-box attacks, the networks can be compared.
    # Until all of these chunks have started, no network gets further images.
    first = [chunk for chunk in waiting if chunk.first and chunk.stages != LATE]
    ready = (
        index
        for index, chunk in enumerate(waiting)
        if (not first or (chunk.first and chunk.stages != LATE))
        and _can_start(chunk, being_diagnosed, records)
    )
    comparable = not first and not any(chunk.first and chunk.stages != LATE for chunk in pending)
    if comparable and seconds is not None and elapsed > WHITE_BOX_SHARE * seconds:
        return min(ready, key=lambda index: waiting[index].stages == WHITE_BOX, default=None)
    return next(ready, None)


def _can_start(chunk: Chunk, being_diagnosed: Collection[str], records: Mapping[str, AttackRecord]) -> bool:
    """Return whether a chunk can start.

    Attacks need the scale that the network's diagnosis measures. FAB-T and Square attack only the images
    that are robust to all white-box attacks.
    """
    if chunk.stages and chunk.network in being_diagnosed:
        return False
    return chunk.stages != LATE or not is_open(records[chunk.network], chunk.rows, WHITE_BOX)


def is_done(chunk: Chunk, record: AttackRecord) -> bool:
    """Return whether nothing is left to do: the images are misclassified, or the attacks have failed."""
    return bool(chunk.stages) and not is_open(record, chunk.rows, chunk.stages)


def chunk_images(operations: int, device: str) -> int:
    """Return the number of images that take about :data:`CHUNK_SECONDS`.

    Args:
        operations: Floating point operations of one forward pass of one image.
        device: ``cpu``, ``cuda`` or ``mps``.
    """
    images = OPERATIONS_PER_SECOND[device] * CHUNK_SECONDS / (CHUNK_PASSES * max(1, operations))
    return int(min(MOST_IMAGES, max(FEWEST_IMAGES, images)))


def blocks_of(rows: NDArray[np.int64], block: int) -> list[NDArray[np.int64]]:
    """Divide the images, in their order, into blocks: a small one, then each twice as large, up to ``block``.

    Networks are compared on the blocks that all of them have finished, so a time limit that is reached within
    a block costs at most about half of the images.
    """
    blocks, start, size = [], 0, min(block, max(FIRST_IMAGES, int(FIRST_SHARE * block)))
    while start < len(rows):
        blocks.append(rows[start : start + size])
        start, size = start + size, min(block, 2 * size)
    return blocks


def is_open(record: AttackRecord, rows: NDArray[np.int64], stages: tuple[str, ...]) -> bool:
    """Return whether an attack that can be run has neither attacked nor skipped one of these images yet."""
    able = [stage for stage in stages if stage in record.attacks and stage not in record.failures]
    return bool((record.table[rows][:, [0, *map(COLUMNS.index, able)]] == UNKNOWN).any())


def _skip_if_none_left(record: AttackRecord, rows: NDArray[np.int64]) -> None:
    """Mark these images as skipped by all further attacks if every one of them is misclassified."""
    table = record.table[rows]
    if (table == BROKEN).any(axis=1).all():
        skip_misclassified(table, record.attacks)
        record.table[rows] = table
