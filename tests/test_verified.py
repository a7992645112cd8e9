"""What is read from a verification: counts image by image, ties, flags, words; on records made of numbers."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from run_folders import make_run
from scipy.stats import spearmanr

from morel_search.analysis.report.page import write_report
from morel_search.analysis.report.verification import gain_sentences, verified_words, weakness
from morel_search.analysis.run_data import read_run_data
from morel_search.analysis.verification import Verification, beats, read_verification
from morel_search.results.attack_names import STAGES, WHITE_BOX
from morel_search.results.attack_records import (
    BROKEN,
    COLUMNS,
    ROBUST,
    UNKNOWN,
    AttackRecord,
    open_record,
    read_records,
)
from morel_search.results.folder import RunFolder

IMAGES = 400


def made_table(
    random: np.random.Generator, clean: float, robust: float, seen: int = IMAGES, late: int = IMAGES
) -> NDArray[np.int8]:
    """Images in an order of difficulty that all networks share; each attack breaks a part of what is to be broken."""
    table = np.full((IMAGES, len(COLUMNS)), UNKNOWN, dtype=np.int8)
    table[:, 0] = np.arange(IMAGES) < clean * IMAGES
    for image in range(seen):
        if table[image, 0] == BROKEN:
            continue
        breaker = random.choice(["fgsm", "pgd", "apgd-t"]) if image >= robust * IMAGES else ""
        for stage in STAGES if image < late or breaker else WHITE_BOX:
            table[image, COLUMNS.index(stage)] = BROKEN if stage == breaker else ROBUST
            if stage == breaker:
                break
    table[seen:] = UNKNOWN
    return table


def verified_run(
    folder: Path, *, seen: int = IMAGES, late: int = IMAGES, **diagnostics: dict[str, Any]
) -> tuple[RunFolder, Verification]:
    run = make_run(folder)
    run_data, random = read_run_data(run), np.random.default_rng(0)
    for rows in (run_data.front, run_data.controls):
        for row in rows.to_dict("records"):
            name = str(row["number"])
            table = made_table(
                random, row["clean_accuracy"] - 0.01, row["robust_accuracy"] - 0.06, seen, late
            )
            AttackRecord(
                name,
                {
                    "attacks": list(STAGES),
                    "curve": [0.5] * 8,
                    "images": 100,
                    **diagnostics.get(f"n{name}", {}),
                },
                table,
            ).write(run)
    found = read_verification(run_data)
    assert found is not None
    return run, found


def test_counts_are_those_of_the_tables(tmp_path: Path) -> None:
    run, found = verified_run(tmp_path)
    run_data = read_run_data(run)
    assert [network.name for network in found.members] == [str(number) for number in run_data.front["number"]]
    assert {network.label for network in found.networks} - {""} == set(run_data.controls["name"])
    assert (found.images, found.late_images, found.all_images) == (IMAGES, IMAGES, IMAGES)
    for network in found.networks:
        table = read_records(run)[network.name].table
        worst = np.array([row[0] == ROBUST and BROKEN not in row for row in table])
        assert network.accuracy == (float((table[:, 0] == ROBUST).mean()), float(worst.mean()))
        assert network.after["apgd-t"] == int(worst.sum())
        assert (
            network.after["fgsm"]
            >= network.after["pgd"]
            >= network.after["pgd-50"]
            == network.after["apgd-ce"]
        )
    expected = spearmanr(
        [network.by_search for network in found.networks], [network.accuracy[1] for network in found.networks]
    )
    assert found.rank_correlation == pytest.approx(float(expected.statistic))
    seen, left = found.hypervolumes
    assert seen > left > 0


def test_only_images_that_every_network_has_met_count(tmp_path: Path) -> None:
    run, whole = verified_run(tmp_path, seen=300, late=120)
    assert (whole.images, whole.all_images) == (300, IMAGES)
    assert 120 <= whole.late_images < 300  # what all networks have broken or wrong needs no more attacks
    name = whole.networks[0].name
    record = read_records(run)[name]
    record.table[50:] = UNKNOWN
    record.write(run)
    found = read_verification(read_run_data(run))
    assert found is not None
    assert found.images == 50
    (run.verification / f"{name}.json").write_text("torn")
    without = read_verification(read_run_data(run))
    assert without is not None
    assert name not in {network.name for network in without.networks}


def test_a_gap_within_chance_is_a_tie_and_one_beyond_it_is_not(tmp_path: Path) -> None:
    run, found = verified_run(tmp_path)
    first, second = found.members[0], found.members[1]
    table = read_records(run)[second.name].table.copy()
    for worse, tie in ((3, True), (60, False)):
        changed = table.copy()
        standing = np.flatnonzero((changed[:, 0] == ROBUST) & ~(changed == BROKEN).any(axis=1))[:worse]
        changed[standing, 1:] = UNKNOWN
        changed[standing, COLUMNS.index("fgsm")] = BROKEN
        AttackRecord(first.name, {"attacks": list(STAGES)}, changed).write(
            run
        )  # the second, but for a few images
        again = read_verification(read_run_data(run))
        assert again is not None
        copy = next(network for network in again.networks if network.name == first.name)
        beaten = again.beaten_by(copy)
        assert (beaten is None) == tie
        row = again.table().set_index("number").loc[copy.number]
        assert bool(row["on_front"]) == tie


def test_the_flagged_leave_the_front_and_are_named(tmp_path: Path) -> None:
    _, plain = verified_run(tmp_path / "plain")
    name = plain.front[0].name
    run, found = verified_run(tmp_path / "flagged", **{f"n{name}": {"scale": 1000.0, "gap": 1e4}})
    flagged = next(network for network in found.networks if network.name == name)
    assert "logits are scaled up" in flagged.flags[0]
    assert name not in {network.name for network in found.front}
    row = found.table().set_index("number").loc[flagged.number]
    assert not row["on_front"]
    page = write_report(run).read_text(encoding="utf-8")
    assert f"Network {name} is flagged for gradient masking and removed from the front" in page


def test_words_and_page(tmp_path: Path) -> None:
    run, found = verified_run(tmp_path, seen=300, late=120)
    said = " ".join(verified_words(found))
    assert "300 of the 400 test images" in said
    assert f"FAB-T and Square on {found.late_images} of them" in said
    assert "hypervolume of the front above (0, 0) was" in said
    assert weakness(found), "the made attacks of the search leave several points"
    gains = dict(gain_sentences(found))
    assert set(gains) <= {network.label for network in found.networks}
    assert all("clean" in sentence for sentence in gains.values())
    page = write_report(run).read_text(encoding="utf-8")
    for title in (
        "The front, verified",
        "Attack by attack",
        "Gain over the controls",
        "Robust accuracy against the radius",
    ):
        assert title in page
    run.write_table(run.verified, found.table())
    read = pd.read_csv(run.verified)
    assert list(read["number"]) == [network.number for network in found.networks]
    assert (
        (read["robust_low"] <= read["robust_accuracy"]) & (read["robust_accuracy"] <= read["robust_high"])
    ).all()


def test_a_record_is_continued_only_where_its_facts_are_the_same(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    table = made_table(np.random.default_rng(0), 0.9, 0.5)
    AttackRecord("3", {"weights": "a", "seed": 0, "scale": 1.0}, table).write(run)
    again = open_record(run, "3", {"weights": "a", "seed": 0}, IMAGES)
    assert np.array_equal(again.table, table)
    assert again.diagnostics["scale"] == 1.0
    for diagnostics, images in (
        ({"weights": "b", "seed": 0}, IMAGES),
        ({"weights": "a", "seed": 1}, IMAGES),
        ({"weights": "a", "seed": 0}, 10),
    ):
        fresh = open_record(run, "3", diagnostics, images)
        assert (fresh.table == UNKNOWN).all()
        assert fresh.table.shape == (images, len(COLUMNS))


def test_records_made_in_another_way_are_left_out_and_named(tmp_path: Path) -> None:
    run, found = verified_run(tmp_path)
    name = found.networks[1].name
    record = read_records(run)[name]
    record.diagnostics["seed"] = 7
    record.write(run)
    again = read_verification(read_run_data(run))
    assert again is not None
    assert again.missing == (name,)
    assert name not in {network.name for network in again.networks}
    assert again.images == found.images
    assert f"Not verified yet: {name}." in verified_words(again)
    assert "Not verified yet: trades." in verified_words(again, {name: "trades"})


def test_a_member_without_images_does_not_hide_the_others(tmp_path: Path) -> None:
    run, found = verified_run(tmp_path)
    name = found.networks[0].name
    AttackRecord(
        name, {"attacks": list(STAGES), "scale": 1.0}, np.full((IMAGES, len(COLUMNS)), UNKNOWN, dtype=np.int8)
    ).write(run)
    again = read_verification(read_run_data(run))
    assert again is not None
    assert (again.images, again.missing) == (IMAGES, (name,))


def test_an_attack_counts_only_where_every_network_met_it(tmp_path: Path) -> None:
    run, found = verified_run(tmp_path, seen=300, late=120)
    network = found.members[-1]
    record = read_records(run)[network.name]
    column = COLUMNS.index("fab-t")
    alone = next(
        row
        for row in range(120, 300)
        if record.table[row, column] == UNKNOWN and BROKEN not in record.table[row]
    )
    record.table[alone, column] = BROKEN
    record.write(run)
    again = read_verification(read_run_data(run))
    assert again is not None
    assert next(one for one in again.networks if one.name == network.name).accuracy == network.accuracy


def test_controls_are_not_what_the_search_gained(tmp_path: Path) -> None:
    _, found = verified_run(tmp_path)
    rows = found.table().set_index("number")
    never = [network for network in found.networks if not network.member]
    assert never
    assert not rows.loc[[network.number for network in never], "on_front"].any()
    controls = {network.name for network in found.networks if network.label}
    credited = {word for _, said in gain_sentences(found) for word in re.findall(r"network (\d+),", said)}
    assert credited
    assert not credited & controls


def test_with_many_rivals_one_is_ahead_by_chance(tmp_path: Path) -> None:
    """McNemar's test at 5 % would call one of 40 equal networks better than another one."""
    _, found = verified_run(tmp_path)
    first, second = found.members[0], found.members[1]
    ahead = replace(first, clean=np.arange(IMAGES) < 300, robust=np.arange(IMAGES) < 206)
    behind = replace(second, clean=np.arange(IMAGES) < 300, robust=np.arange(IMAGES) < 200)  # p = 0.03
    assert beats(ahead, behind, tests=1)
    assert not beats(ahead, behind, tests=2)
