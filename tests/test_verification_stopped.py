"""A verification that is stopped after each of its parts: terminal, table and page state what ran."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch
from run_folders import make_run, make_space
from torch import Tensor
from verified_runs import HONEST

from morel_search.analysis.attacks_run import is_complete
from morel_search.analysis.report.page import write_report
from morel_search.analysis.report.sections.verified_front import verified_front_section
from morel_search.analysis.run_data import read_run_data
from morel_search.analysis.verification import Verification
from morel_search.analysis.verification_reader import read_verification
from morel_search.results.attack_names import LATE, STAGES, WHITE_BOX
from morel_search.results.attack_records import (
    BROKEN,
    COLUMNS,
    ROBUST,
    SKIPPED,
    UNKNOWN,
    AttackRecord,
    AttackSetup,
    read_records,
)
from morel_search.results.folder import RunFolder
from morel_search.training.compute_settings import FLOAT32
from morel_search.training.datasets.loading import ImageSet
from morel_search.training.settings import DataSettings, EvaluationSettings
from morel_search.verification import chunks, runner, worker
from morel_search.workflows.terminal import verification_text
from morel_search.workflows.verify import verify_run

IMAGES = 24
TITLES = {**{stage: stage.upper() for stage in STAGES}, "square": "Square"}


@dataclass
class Network:
    """An invented network: which attack breaks each image, and the log of the attacks that ran.

    Attributes:
        breaker: For each image of the split ``clean``, the name of an attack, or empty.
        failing: Attacks that raise an error.
        names: The attacks that exist for it.
        ran: The attacks that were called, each with the images.
    """

    breaker: Sequence[str]
    failing: tuple[str, ...] = ()
    names: tuple[str, ...] = STAGES
    ran: list[tuple[str, list[int]]] = field(default_factory=list)

    def correct(self, images: Tensor, labels: Tensor) -> Tensor:
        return self._result("clean", labels)

    def finite(self, images: Tensor) -> Tensor:
        return torch.ones(len(images), dtype=torch.bool)

    def robust_mask(self, name: str, images: Tensor, labels: Tensor) -> Tensor:
        if name in self.failing:
            raise IndexError("images of this size are not supported")
        return self._result(name, labels)

    def _result(self, name: str, rows: Tensor) -> Tensor:
        self.ran.append((name, rows.tolist()))
        return torch.tensor([self.breaker[row] != name for row in rows.tolist()])


class Reference:
    """The reference to a finished task."""

    def __init__(self, value: object) -> None:
        self.value = value


class Immediate:
    """A Ray task that runs when it is started."""

    def __init__(self, function: Callable[..., object]) -> None:
        self.function = function

    def remote(self, *arguments: object) -> Reference:
        return Reference(self.function(*arguments))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run folder whose networks are files, and a Ray that runs each task at once."""
    run = make_run(tmp_path, trials=10)
    for entry in read_run_data(run).networks:
        folder = (run.front_models if entry.member else run.control_models) / entry.name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.pt").write_text(entry.name)
    rows = torch.arange(IMAGES)
    split = ImageSet(torch.zeros(IMAGES, 1, 2, 2, dtype=torch.uint8), rows)
    monkeypatch.setattr(worker, "test_images", lambda data: split)
    monkeypatch.setattr(
        runner, "_describe", lambda setup, model: worker.SplitSummary(IMAGES, 1, "digest of the split")
    )
    monkeypatch.setattr(runner, "trial_task", lambda function, resources: Immediate(function))
    monkeypatch.setattr(ray, "wait", lambda references, timeout: (references[:1], references[1:]))
    monkeypatch.setattr(ray, "get", lambda reference: reference.value)
    monkeypatch.setattr(ray, "cancel", lambda reference: None)
    monkeypatch.setattr(runner, "concurrency", lambda resources: 1)
    monkeypatch.setattr(runner, "diagnose_network", lambda path, rows, setup: HONEST)
    monkeypatch.setattr(runner, "chunk_images", lambda operations, device: 8)
    monkeypatch.setattr(runner, "update_pictures", lambda *arguments: None)  # the networks are no networks
    return run


def models_of(run: RunFolder) -> dict[str, Path]:
    return {
        path.parent.name: path
        for path in (*run.front_models.glob("*/model.pt"), *run.control_models.glob("*/model.pt"))
    }


def invented(models: Mapping[str, Path]) -> dict[str, Network]:
    """Networks from weak to strong: the first has no image left after the white-box attacks."""
    random = np.random.default_rng(0)
    networks = {}
    for index, name in enumerate(models):
        breakers = random.choice(["clean", "fgsm", "pgd", "apgd-t", "fab-t", "square"], IMAGES)
        standing = random.random(IMAGES) < index / len(models)
        networks[name] = Network(
            [
                "" if stands else str(breaker if index else random.choice(["clean", "pgd"]))
                for breaker, stands in zip(breakers, standing, strict=True)
            ]
        )
    return networks


def verify(
    run: RunFolder,
    models: Mapping[str, Path],
    networks: Mapping[str, Network],
    monkeypatch: pytest.MonkeyPatch,
    stop_after: int | None = None,
) -> int:
    """Verify until the end, or until a number of chunks is done; return the number of chunks."""
    monkeypatch.setattr(worker, "_attack_suite", lambda path, scale, setup: networks[Path(path).parent.name])
    chunks = 0

    def on_chunk(done: int, total: int) -> None:
        nonlocal chunks
        chunks += 1
        if stop_after is not None and chunks >= stop_after:
            raise KeyboardInterrupt

    budget = runner.VerificationBudget(seed=0)
    with suppress(KeyboardInterrupt):
        runner.verify_networks(make_space(), run, models, {}, FLOAT32, budget, on_chunk)
    return chunks


def expected_counts(networks: Mapping[str, Network]) -> dict[str, int]:
    """Count from the log of the calls on how many images each attack counts.

    An attack has come to an image when it attacked it, or when it attacked another image of its block, or
    when no image of the block was left for it.
    """
    order = np.random.default_rng(0).permutation(IMAGES)
    blocks = chunks.blocks_of(order, 8)
    counts = dict.fromkeys(STAGES, 0)
    for stage in STAGES:
        for block in blocks:
            reached = True
            for network in networks.values():
                seen = {row for name, rows in network.ran if name == stage for row in rows}
                tried = {row for name, rows in network.ran if name == "clean" for row in rows}
                earlier = STAGES[: STAGES.index(stage)]
                left = [row for row in block if network.breaker[row] not in ("clean", *earlier)]
                reached &= set(left) <= seen and set(block.tolist()) <= tried
            counts[stage] += len(block) if reached else 0
    return counts


def counts_in(words: str) -> dict[str, int]:
    """Read the number of images of each attack from ``FGSM and PGD on 8 images; Square not run``."""
    counts = {}
    for part in words.split("; "):
        images = re.search(r" on (\d+) images$", part)
        for stage, title in TITLES.items():
            if re.search(rf"(^|, | and ){re.escape(title)}(,| and | on | not )", part):
                counts[stage] = int(images[1]) if images else 0
    return counts


def check_words(run: RunFolder, verification: Verification, expected: Mapping[str, int]) -> None:
    """Check terminal, ``verified.csv`` and page."""
    text = verification_text(verification)
    line = next(line for line in text.splitlines() if line.startswith("attacks: "))
    assert counts_in(line.removeprefix("attacks: ")) == dict(expected)
    run.write_table(run.verified, verification.table())
    table = run.read_verified()
    absent = table["images"] == 0
    assert set(table["number"][absent].astype(int).astype(str)) == set(verification.missing)
    assert table["robust_accuracy"][absent].isna().all()
    assert table["robust_accuracy"][~absent].notna().all()
    for stage, images in expected.items():
        assert set(table[f"images_{stage.replace('-', '_')}"][~absent]) == {images}
    page = verified_front_section(verification).html
    sentence = re.search(r"Each network was attacked on [^:]*: ([^.]*)\.", page)
    assert sentence is not None
    assert counts_in(sentence[1]) == dict(expected)
    for words in (text, page):
        assert ("The black-box check is missing" in words) == (expected["square"] == 0)
        assert ("Not verified yet" in words) == bool(verification.missing)
        assert all(re.search(rf"Not verified yet: [^.]*\b{name}\b", words) for name in verification.missing)


def test_a_verification_that_is_stopped_after_each_part_states_what_ran(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = dict(sorted(models_of(run).items()))
    whole = verify(run, models, invented(models), monkeypatch)
    final = {name: record.table for name, record in read_records(run).items()}
    seen: set[tuple[int, ...]] = set()
    networks = invented(models)
    for name in models:
        for kind in (".csv", ".json"):
            (run.verification / f"{name}{kind}").unlink()
    for _ in range(whole):
        verify(run, models, networks, monkeypatch, stop_after=1)
        verification = read_verification(read_run_data(run))
        if verification is None:
            continue
        compared = {network.name: networks[network.name] for network in verification.networks}
        expected = expected_counts(compared)
        assert dict(verification.attacked) == expected
        key = (*expected.values(), len(verification.absent))
        if key not in seen:
            check_words(run, verification, expected)
        seen.add(key)
    assert verification is not None
    assert verified_front_section(verification).html in write_report(run).read_text(encoding="utf-8")
    assert is_complete(verification)
    assert dict(verification.attacked) == dict.fromkeys(STAGES, IMAGES)
    assert len(seen) >= 5
    for name, record in read_records(run).items():
        assert np.array_equal(record.table, final[name])
        assert not (record.table == UNKNOWN).any()
        for image, row in enumerate(record.table):
            breaker = networks[name].breaker[image]
            values = [BROKEN if column == breaker else ROBUST for column in COLUMNS]
            after = values.index(BROKEN) + 1 if breaker else len(values)
            assert row.tolist() == values[:after] + [SKIPPED] * (len(values) - after)
    attacked_once = [
        (name, stage, row)
        for name, network in networks.items()
        for stage, rows in network.ran
        for row in rows
    ]
    assert len(attacked_once) == len(set(attacked_once)), "no image is attacked twice"


@pytest.mark.parametrize(("images", "block"), [(1, 500), (20, 500), (359, 339), (359, 8), (1000, 120)])
def test_blocks_hold_every_image_once_and_at_most_double(images: int, block: int) -> None:
    rows = np.random.default_rng(0).permutation(images)
    blocks = chunks.blocks_of(rows, block)
    sizes = [len(part) for part in blocks]
    assert np.array_equal(np.concatenate(blocks), rows)
    assert sizes[0] == min(max(20, block // 4), block, images)
    assert max(sizes) <= block
    assert all(size <= 2 * before for before, size in pairwise(sizes))


@pytest.mark.parametrize("slow_first", [False, True])
def test_no_network_gets_further_images_before_all_got_the_first(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch, slow_first: bool
) -> None:
    """With ``slow_first`` the first diagnosis lasts until nothing else can run."""
    models = models_of(run)
    started: list[chunks.Chunk] = []
    start = runner._Verification._start

    def logged(self: runner._Verification, chunk: chunks.Chunk, attack: Any, diagnose: Any) -> Any:
        started.append(chunk)
        return start(self, chunk, attack, diagnose)

    monkeypatch.setattr(runner._Verification, "_start", logged)
    monkeypatch.setattr(runner, "concurrency", lambda resources: 3)
    if slow_first:
        monkeypatch.setattr(ray, "wait", lambda references, timeout: (references[-1:], references[:-1]))
    monkeypatch.setattr(chunks, "FIRST_IMAGES", 2)
    verify(run, models, invented(models), monkeypatch)
    attacks = [chunk for chunk in started if chunk.stages]
    first, later = attacks[: len(models)], attacks[len(models) :]
    assert {chunk.network for chunk in first} == set(models)
    assert all(chunk.first and chunk.stages == WHITE_BOX and len(chunk.rows) == 2 for chunk in first)
    assert not any(chunk.first and chunk.stages == WHITE_BOX for chunk in later)
    diagnosed = [chunk.network for chunk in started if not chunk.stages]
    assert sorted(diagnosed) == sorted(models)
    for name in models:
        own = [chunk for chunk in started if chunk.network == name]
        assert not own[0].stages, "the attacks need the scale of the diagnosis"


def test_networks_that_the_time_limit_leaves_out_are_named(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = models_of(run)
    networks = invented(models)
    names = list(models)
    verify(run, models, networks, monkeypatch, stop_after=4)  # two diagnoses and two first blocks
    verification = read_verification(read_run_data(run))
    assert verification is not None
    assert {network.name for network in verification.networks} == set(names[:2])
    assert set(verification.missing) == set(names[2:])
    check_words(run, verification, {**dict.fromkeys(WHITE_BOX, 8), "fab-t": 0, "square": 0})
    assert not is_complete(verification)
    assert len(run.read_verified()) == len(names)


def test_an_attack_that_raises_is_named_and_the_others_go_on(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = models_of(run)
    networks = invented(models)
    for network in networks.values():
        network.failing = ("square",)
    weakest, *_, strongest = models
    verify(run, models, networks, monkeypatch)
    verification = read_verification(read_run_data(run))
    assert verification is not None
    assert dict(verification.attacked) == {**dict.fromkeys(STAGES, IMAGES), "square": 0}
    assert is_complete(verification)
    text = verification_text(verification)
    assert "Square and transferred examples not run" in text
    named = re.search(r"Square could not be run on networks ([^:]*): IndexError: images of this size", text)
    assert named is not None
    assert strongest in re.findall(r"\d+", named[1])
    assert weakest not in re.findall(r"\d+", named[1]), "Square had nothing to attack there"
    check_words(run, verification, verification.attacked)
    cells = run.read_verified().set_index("number")["not_run"]
    assert cells[int(strongest)] == "square: IndexError: images of this size are not supported"
    assert cells[int(weakest)] == ""
    for network in networks.values():
        network.failing = ()
    verify(run, models, networks, monkeypatch)
    again = read_verification(read_run_data(run))
    assert again is not None
    assert dict(again.attacked) == dict.fromkeys(STAGES, IMAGES), "the next verification tries again"


def test_an_error_of_an_own_attack_is_not_hidden(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    models = models_of(run)
    networks = invented(models)
    for network in networks.values():
        network.failing = ("pgd",)
    with pytest.raises(IndexError, match="images of this size"):
        verify(run, models, networks, monkeypatch)


SETUP = AttackSetup(weights="a", evaluation={"final_steps": 0}, seed=0, data="b")


def earlier_version(run: RunFolder, name: str, late_rows: int) -> AttackRecord:
    """Write a record as earlier versions did, without SKIPPED, and read it.

    Images 0 to 2 are misclassified, broken by FGSM and broken by FAB-T; the others are robust. FAB-T and
    Square attacked the images before ``late_rows``.
    """
    table = np.full((IMAGES, len(COLUMNS)), UNKNOWN, dtype=np.int8)
    table[:, : len(WHITE_BOX) + 1] = ROBUST
    table[:late_rows, len(WHITE_BOX) + 1 :] = ROBUST
    for image, stage in enumerate(("clean", "fgsm", "fab-t")):
        column = COLUMNS.index(stage)
        if image < late_rows or stage != "fab-t":
            table[image, column:] = UNKNOWN
            table[image, column] = BROKEN
    AttackRecord(name, SETUP, table, HONEST).write(run)
    return read_records(run)[name]


def test_a_complete_record_of_an_earlier_version_counts_on_all_images(tmp_path: Path) -> None:
    record = earlier_version(make_run(tmp_path), "3", IMAGES)
    assert (record.table != UNKNOWN).all()
    assert (record.table[0, 1:] == SKIPPED).all()
    assert record.table[2].tolist() == [ROBUST] * 6 + [BROKEN, SKIPPED]


def test_an_unfinished_record_of_an_earlier_version_counts_on_the_attacked_images(tmp_path: Path) -> None:
    record = earlier_version(make_run(tmp_path), "3", 10)
    assert (record.table[:, : len(WHITE_BOX) + 1] != UNKNOWN).all()
    late = record.table[:, [COLUMNS.index(stage) for stage in LATE]] != UNKNOWN
    assert late[:, 0].nonzero()[0].tolist() == list(range(2, 10)), "not images 0 and 1, broken before"
    assert late[:, 1].nonzero()[0].tolist() == list(range(2, 10))


def test_every_attack_runs_with_l2_on_oblong_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own Square raises an error on these; other shapes: ``test_batched_attacks``."""
    shape = (4, 6)
    pixels = torch.randint(0, 256, (6, 1, *shape), generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(shape[0] * shape[1], 5))
    images = pixels.to(torch.uint8)
    with torch.no_grad():
        labels = network(images / 255).argmax(dim=1)
    monkeypatch.setattr(worker, "test_images", lambda data: ImageSet(images, labels))
    monkeypatch.setattr(worker, "model_for", lambda path, device, consent: network)
    setup = worker.WorkerSetup(
        data=DataSettings(name="digits"),
        evaluation=EvaluationSettings(norm="l2", epsilon=Fraction(1, 100_000), steps=2, final_steps=2),
        compute=FLOAT32,
        device="cpu",
        threads=1,
        seed=0,
        sources=(),
    )
    worker._attack_suite.cache_clear()
    rows, table = np.arange(6), np.full((6, len(COLUMNS)), UNKNOWN, dtype=np.int8)
    result = worker.attack_chunk("a", STAGES, rows, table, 1.0, setup)
    worker._attack_suite.cache_clear()
    assert (result.table == ROBUST).all()
    assert not result.failures


def test_a_verification_without_results_keeps_the_table_of_an_earlier_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The records are lost, and the new verification is stopped before its first chunk."""
    run = make_run(tmp_path, "made")
    (run.front_models / "1").mkdir(parents=True)
    (run.front_models / "1" / "model.pt").touch()
    run.write_text("verified.csv", "number\n1\n")

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("morel_search.verification.runner.verify_networks", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            verify_run(make_space(), run, FLOAT32, runner.VerificationBudget(), quiet=True)
    assert (run.path / "verified.earlier.csv").read_text() == "number\n1\n"
    assert not run.verified.exists()
    assert capsys.readouterr().err.count("that table is verified.earlier.csv now") == 1
    run.write_text("verified.csv", "number\n2\n")
    with pytest.raises(KeyboardInterrupt):
        verify_run(make_space(), run, FLOAT32, runner.VerificationBudget(), quiet=True)
    assert (run.path / "verified.earlier.csv").read_text() == "number\n1\n", "nor is that one lost"
    assert (run.path / "verified.earlier-2.csv").read_text() == "number\n2\n"
