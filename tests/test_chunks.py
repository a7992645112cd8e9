"""Which chunk of a verification starts next: the rules of its order, on records without a network."""

from __future__ import annotations

import numpy as np
import pytest

from morel_search.results.attack_names import LATE, WHITE_BOX
from morel_search.results.attack_records import COLUMNS, ROBUST, UNKNOWN, AttackRecord, AttackSetup
from morel_search.results.diagnostics import MaskingDiagnostics
from morel_search.verification.chunks import Chunk, chunks_to_run, next_chunk

IMAGES, BLOCK = 80, 40
DIAGNOSED = MaskingDiagnostics(IMAGES, 0.0, 0.0, 1.0, 0.2, 0.0, 1.0, (), 0.0)


def records(*, diagnosed: bool = False) -> dict[str, AttackRecord]:
    table = np.full((IMAGES, len(COLUMNS)), UNKNOWN, dtype=np.int8)
    setup = AttackSetup("weights", {}, 0, "data")
    return {
        name: AttackRecord(name, setup, table.copy(), DIAGNOSED if diagnosed else None) for name in ("a", "b")
    }


def finish(chunk: Chunk, known: dict[str, AttackRecord]) -> None:
    record = known[chunk.network]
    if chunk.stages:
        columns = [0, *(COLUMNS.index(stage) for stage in chunk.stages)]
        record.table[np.ix_(chunk.rows, columns)] = ROBUST
    else:
        record.diagnostics = DIAGNOSED


def run_all(known: dict[str, AttackRecord]) -> list[Chunk]:
    """Run the chunks one after the other, as ``verify --model`` does."""
    waiting, ran = chunks_to_run(known, np.arange(IMAGES), BLOCK, IMAGES), []
    while (index := next_chunk(waiting, (), known, 0.0, None)) is not None:
        chunk = waiting.pop(index)
        finish(chunk, known)
        ran.append(chunk)
    assert not waiting
    return ran


def test_every_chunk_runs_once_and_comparable_first_images_come_first() -> None:
    known = records()
    ran = run_all(known)
    assert [(chunk.network, chunk.stages) for chunk in ran[:4]] == [
        ("a", ()),
        ("a", WHITE_BOX),
        ("b", ()),
        ("b", WHITE_BOX),
    ]
    assert all((record.table == ROBUST).all() for record in known.values())
    assert len({(chunk.network, chunk.stages, chunk.rows.tobytes()) for chunk in ran}) == len(ran)
    assert [chunk.stages == LATE for chunk in ran] == sorted(chunk.stages == LATE for chunk in ran)


def test_a_network_is_not_attacked_while_it_is_diagnosed() -> None:
    known = records()
    waiting = chunks_to_run(known, np.arange(IMAGES), BLOCK, IMAGES)
    diagnosis = waiting.pop(0)
    index = next_chunk(waiting, [diagnosis], known, 0.0, None)
    assert index is not None
    assert (waiting[index].network, waiting[index].stages) == ("b", ())


def test_no_network_gets_further_images_before_all_have_started_their_first() -> None:
    known = records(diagnosed=True)
    waiting = chunks_to_run(known, np.arange(IMAGES), BLOCK, IMAGES)
    first = [chunk for chunk in waiting if chunk.first and chunk.stages == WHITE_BOX]
    assert [chunk.network for chunk in first] == ["a", "b"]
    pending = [waiting.pop(0)]
    index = next_chunk(waiting, pending, known, 0.0, None)
    assert index is not None
    assert waiting[index] is first[1]
    pending.append(waiting.pop(index))
    index = next_chunk(waiting, pending, known, 0.0, None)
    assert index is not None
    assert (waiting[index].stages, waiting[index].first) == (WHITE_BOX, False)


def test_square_waits_for_the_white_box_attacks_on_its_images() -> None:
    known = records(diagnosed=True)
    late = [chunk for chunk in chunks_to_run(known, np.arange(IMAGES), BLOCK, IMAGES) if chunk.stages == LATE]
    assert next_chunk(late, (), known, 0.0, None) is None, "none can start yet"
    known["b"].table[:, : 1 + len(WHITE_BOX)] = ROBUST
    index = next_chunk(late, (), known, 0.0, None)
    assert index is not None
    assert late[index].network == "b"


@pytest.mark.parametrize(
    ("elapsed", "stages"),
    [(0.0, WHITE_BOX), (59.9, WHITE_BOX), (60.1, LATE), (100.0, LATE), (100.1, None)],
)
def test_most_of_a_time_limit_is_for_white_box_attacks(
    elapsed: float, stages: tuple[str, ...] | None
) -> None:
    """The first block has all white-box attacks; the limit is 100 s, of which they get 60 %."""
    known = records(diagnosed=True)
    waiting = chunks_to_run(known, np.arange(IMAGES), BLOCK, IMAGES)
    for chunk in waiting:
        if chunk.first and chunk.stages == WHITE_BOX:
            finish(chunk, known)
    waiting = chunks_to_run(known, np.arange(IMAGES), BLOCK, IMAGES)
    index = next_chunk(waiting, (), known, elapsed, 100.0)
    assert (None if index is None else waiting[index].stages) == stages


def test_nothing_is_left_when_all_is_known() -> None:
    known = records()
    run_all(known)
    assert chunks_to_run(known, np.arange(IMAGES), BLOCK, IMAGES) == []
    assert next_chunk([], (), known, 0.0, None) is None
