"""The verification that is read from attack records: counts, ties, flags and texts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from run_folders import make_run
from scipy.stats import spearmanr
from verified_runs import HONEST, IMAGES, SETUP, made_table, verified_run

from morel_search.analysis.attacks_run import search_attack_words, weakness
from morel_search.analysis.intervals import wilson
from morel_search.analysis.report.page import write_report
from morel_search.analysis.report.sections.gains import gain_sentences
from morel_search.analysis.report.sections.verified_front import attack_words, front_words
from morel_search.analysis.run_data import read_run_data
from morel_search.analysis.verification_reader import read_verification
from morel_search.results.attack_names import STAGES, WHITE_BOX
from morel_search.results.attack_records import (
    BROKEN,
    COLUMNS,
    ROBUST,
    SKIPPED,
    UNKNOWN,
    AttackRecord,
    open_record,
    read_records,
)
from morel_search.results.earlier import EARLIER
from morel_search.results.folder import RunFolder
from morel_search.results.tables import VERIFIED_COLUMNS
from morel_search.verification.begin import begin_records


def test_counts_are_those_of_the_tables(tmp_path: Path) -> None:
    run, verification = verified_run(tmp_path)
    run_data = read_run_data(run)
    assert [network.name for network in verification.members] == [
        str(number) for number in run_data.front["number"]
    ]
    assert {network.label for network in verification.networks} - {""} == set(run_data.controls["name"])
    assert (verification.images, verification.late_images, verification.all_images) == (
        IMAGES,
        IMAGES,
        IMAGES,
    )
    for network in verification.networks:
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
        [network.by_search for network in verification.networks],
        [network.accuracy[1] for network in verification.networks],
    )
    assert verification.rank_correlation == pytest.approx(float(expected.statistic))
    on_validation, under_all_attacks = verification.hypervolumes
    assert on_validation > under_all_attacks > 0


def test_only_images_that_every_network_has_met_count(tmp_path: Path) -> None:
    run, before = verified_run(tmp_path, attacked=300, late=120)
    assert (before.images, before.all_images) == (300, IMAGES)
    assert before.late_images == 120
    assert before.attacked == {**dict.fromkeys(WHITE_BOX, 300), "fab-t": 120, "square": 120}
    name = before.networks[0].name
    record = read_records(run)[name]
    record.table[50:] = UNKNOWN
    record.write(run)
    verification = read_verification(read_run_data(run))
    assert verification is not None
    assert verification.images == 50
    (run.verification / f"{name}.json").write_text("torn")
    without = read_verification(read_run_data(run))
    assert without is not None
    assert name not in {network.name for network in without.networks}


def test_a_gap_within_chance_is_a_tie_and_one_beyond_it_is_not(tmp_path: Path) -> None:
    run, verification = verified_run(tmp_path)
    first, second = verification.members[0], verification.members[1]
    table = read_records(run)[second.name].table.copy()
    for worse, tie in ((3, True), (60, False)):
        changed = table.copy()
        standing = np.flatnonzero((changed[:, 0] == ROBUST) & ~(changed == BROKEN).any(axis=1))[:worse]
        changed[standing, 1:] = SKIPPED
        changed[standing, COLUMNS.index("fgsm")] = BROKEN
        # the record of the second network, except for a few images
        AttackRecord(first.name, SETUP, changed, HONEST).write(run)
        again = read_verification(read_run_data(run))
        assert again is not None
        copy = next(network for network in again.networks if network.name == first.name)
        rival = next(network for network in again.networks if network.name == second.name)
        both = replace(again, networks=(copy, rival))
        assert both.beaten_by(copy) == ("" if tie else second.name)
        row = both.table().set_index("number").loc[copy.number]
        assert (bool(row["on_front"]), row["verdict"]) == (tie, "undecided" if tie else "beaten")


def test_the_flagged_leave_the_front_and_are_named(tmp_path: Path) -> None:
    _, plain = verified_run(tmp_path / "plain")
    name = plain.front[0].name
    run, verification = verified_run(
        tmp_path / "flagged", **{f"n{name}": replace(HONEST, scale=1000.0, gap=1e4)}
    )
    flagged = next(network for network in verification.networks if network.name == name)
    assert "logits are scaled up" in flagged.flags[0]
    assert name not in {network.name for network in verification.front}
    row = verification.table().set_index("number").loc[flagged.number]
    assert not row["on_front"]
    page = write_report(run).read_text(encoding="utf-8")
    assert f"Network {name} is flagged for gradient masking and removed from the front" in page


def test_words_and_page(tmp_path: Path) -> None:
    run, verification = verified_run(tmp_path, attacked=300, late=120)
    sentences = " ".join([*front_words(verification), *attack_words(verification)])
    assert (
        "attacked on 300 of 400 test images: FGSM, PGD, PGD-50, APGD-CE and APGD-T on 300 images; FAB-T and "
        "Square on 120 images; transferred examples not run. "
    ) in sentences
    assert "The hypervolume of these networks above (0, 0), without flagged ones, is" in sentences
    assert weakness(verification), "the made attacks of the search leave several points"
    assert "raise evaluation.final_steps or evaluation.final_restarts" in weakness(verification)[0]
    assert search_attack_words(verification) in sentences
    gains = dict(gain_sentences(verification))
    assert set(gains) <= {network.label for network in verification.networks}
    assert all("clean" in sentences[0] for sentences in gains.values())
    page = write_report(run).read_text(encoding="utf-8")
    for title in (
        "Verified front",
        "Attack by attack",
        "Gain over the controls",
        "Robust accuracy against the radius",
    ):
        assert title in page
    run.write_table(run.verified, verification.table())
    read = pd.read_csv(run.verified)
    assert tuple(read.columns) == VERIFIED_COLUMNS
    assert list(read["number"]) == [network.number for network in verification.networks]
    assert (
        (read["robust_low"] <= read["robust_accuracy"]) & (read["robust_accuracy"] <= read["robust_high"])
    ).all()


def test_a_record_is_continued_only_with_the_same_setup(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    table = made_table(np.random.default_rng(0), 0.9, 0.5)
    compute = {"precision": "float32"}
    AttackRecord("3", SETUP, table, HONEST, STAGES[:4], compute).write(run)
    again = open_record(run, "3", SETUP, IMAGES)
    assert np.array_equal(again.table, table)
    assert (again.diagnostics, again.attacks, again.compute) == (HONEST, STAGES[:4], compute)
    for setup, images in (
        (replace(SETUP, weights="b"), IMAGES),
        (replace(SETUP, seed=1), IMAGES),
        (replace(SETUP, data="c"), IMAGES),
        (replace(SETUP, evaluation={"norm": "linf", "epsilon": "0.3"}), IMAGES),
        (SETUP, 10),
    ):
        fresh = open_record(run, "3", setup, images)
        assert (fresh.table == UNKNOWN).all()
        assert fresh.diagnostics is None
        assert fresh.table.shape == (images, len(COLUMNS))


@pytest.mark.parametrize(
    ("name", "change", "kept", "table_kept"),
    [
        ("3", {}, False, False),
        ("3", {"seed": 1}, True, True),
        ("3", {"data": "other images"}, True, True),
        ("3", {"weights": "of a later training"}, True, True),
        ("3+4@20", {"weights": "of another mix"}, True, False),
    ],
)
def test_what_a_verification_has_found_is_kept_by_one_with_another_setup(
    tmp_path: Path, name: str, change: dict[str, Any], kept: bool, table_kept: bool
) -> None:
    run = make_run(tmp_path)
    table = made_table(np.random.default_rng(0), 0.9, 0.5)
    AttackRecord(name, SETUP, table).write(run)
    run.write_text(run.verified, "the table")
    setup = replace(SETUP, **change)
    for _ in range(2):
        record = begin_records(run, {name: setup}, IMAGES, {name: {}})[name]
        assert (record.table == UNKNOWN).all() == kept
    folder = run.verification / EARLIER
    assert (folder / f"{name}.csv").exists() == (folder / f"{name}.json").exists() == kept
    assert (run.path / "verified.earlier.csv").exists() == table_kept
    assert list(read_records(run)) == ([] if kept else [name]), "the earlier one is no record of the run"
    if kept:
        for ending in (".csv", ".json"):
            (folder / f"{name}{ending}").rename(run.verification / f"{name}{ending}")
        assert np.array_equal(open_record(run, name, SETUP, IMAGES).table, table), "it can be put back"


@pytest.mark.parametrize("killed_at", range(3))
def test_a_kill_while_results_are_moved_loses_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    run = make_run(tmp_path)
    AttackRecord("3", SETUP, made_table(np.random.default_rng(0), 0.9, 0.5)).write(run)
    run.write_text(run.verified, "the table")
    files = [run.verified, run.verification / "3.csv", run.verification / "3.json"]
    before = {file.read_bytes() for file in files}
    rename, calls = Path.rename, iter(range(100))

    def killed(path: Path, target: Path) -> Path:
        if next(calls) == killed_at:
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        begin_records(run, {"3": replace(SETUP, seed=1)}, IMAGES, {"3": {}})
    begin_records(run, {"3": replace(SETUP, seed=1)}, IMAGES, {"3": {}})["3"].write(run)
    run.write_text(run.verified, "the new table")
    assert before <= {file.read_bytes() for file in run.path.rglob("*") if file.is_file()}


def test_records_made_in_another_way_are_left_out_and_named(tmp_path: Path) -> None:
    run, verification = verified_run(tmp_path)
    name = verification.networks[1].name
    record = read_records(run)[name]
    record.setup = replace(record.setup, seed=7)
    record.write(run)
    again = read_verification(read_run_data(run))
    assert again is not None
    assert again.missing == (name,)
    assert name not in {network.name for network in again.networks}
    assert again.images == verification.images
    assert f"Not verified yet: {name}." in front_words(again)
    named = replace(again, absent=(replace(again.absent[0], label="trades"),))
    assert f"Not verified yet: {name} (trades)." in front_words(named)


def test_a_member_without_images_does_not_hide_the_others(tmp_path: Path) -> None:
    run, verification = verified_run(tmp_path)
    name = verification.networks[0].name
    unknown = np.full((IMAGES, len(COLUMNS)), UNKNOWN, dtype=np.int8)
    AttackRecord(name, SETUP, unknown, HONEST).write(run)
    again = read_verification(read_run_data(run))
    assert again is not None
    assert (again.images, again.missing) == (IMAGES, (name,))


def test_an_attack_counts_only_where_every_network_met_it(tmp_path: Path) -> None:
    run, verification = verified_run(tmp_path, attacked=300, late=120)
    network = verification.members[-1]
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
    assert next(other for other in again.networks if other.name == network.name).accuracy == network.accuracy


def test_controls_are_not_what_the_search_gained(tmp_path: Path) -> None:
    _, verification = verified_run(tmp_path)
    rows = verification.table().set_index("number")
    never = [network for network in verification.networks if not network.member]
    assert never
    assert not rows.loc[[network.number for network in never], "on_front"].any()
    controls = {network.name for network in verification.networks if network.label}
    credited = {
        word
        for _, sentences in gain_sentences(verification)
        for sentence in sentences
        for word in re.findall(r"network (\d+)", sentence)
    }
    assert credited
    assert not credited & controls


def test_with_many_networks_one_is_ahead_by_chance(tmp_path: Path) -> None:
    """McNemar's test at 5 % would call one of 40 equal networks better than another one."""
    _, verification = verified_run(tmp_path)
    first, second = verification.members[0], verification.members[1]
    ahead = replace(first, clean=np.arange(IMAGES) < 300, robust=np.arange(IMAGES) < 207)
    behind = replace(second, clean=np.arange(IMAGES) < 300, robust=np.arange(IMAGES) < 200)  # p = 0.016
    third = replace(second, name="third", clean=behind.clean, robust=behind.robust)
    for networks, beaten_by in (((ahead, behind), ahead.name), ((ahead, behind, third), "")):
        assert replace(verification, networks=networks).beaten_by(behind) == beaten_by


def test_the_search_s_attack_is_compared_with_all_attacks(tmp_path: Path) -> None:
    _, verification = verified_run(tmp_path)
    made = []
    for index, (by_search, robust) in enumerate([(200, 196), (160, 148), (120, 119)]):
        flags = np.arange(IMAGES) < robust
        network = verification.networks[index]
        made.append(replace(network, label="", robust=flags, after={**network.after, "pgd": by_search}))
    three = replace(verification, networks=tuple(made))
    assert search_attack_words(three) == (
        "The search's final attack gives a higher robust accuracy than all attacks that ran, on the same "
        f"test images: on average by 1.4 points (95% interval 0.6 to 3.1), at most by 3.0 points "
        f"({made[1].name}). Spearman's rank correlation of both is 1.00 (1 is the same order)."
    )
    assert not weakness(three)
    two = replace(verification, networks=tuple(made[:2]))
    assert "The rank correlation is not defined (fewer than three networks" in search_attack_words(two)


def edit(run: RunFolder, name: str, *remove: str, **values: object) -> None:
    """Change the JSON file of a record by hand."""
    path = run.verification / f"{name}.json"
    content = json.loads(path.read_text(encoding="utf-8")) | values
    path.write_text(json.dumps({key: value for key, value in content.items() if key not in remove}))


def test_the_file_of_a_record_has_one_level_of_keys(tmp_path: Path) -> None:
    """These are the keys of every earlier version; folders of other versions are read through them."""
    run, verification = verified_run(tmp_path)
    content = json.loads(
        (run.verification / f"{verification.networks[0].name}.json").read_text(encoding="utf-8")
    )
    assert list(content) == [
        *("weights", "evaluation", "seed", "data"),
        *("images", "zero_gradients", "unfit", "gap", "same_class", "chance", "scale", "curve", "everywhere"),
        *("transfer", "attacks"),
    ]
    assert content["curve"] == [0.5] * 8


@pytest.mark.parametrize("key", ["zero_gradients", "scale", "curve", "images", "everywhere", "same_class"])
def test_a_missing_diagnostic_does_not_mean_that_nothing_is_wrong(tmp_path: Path, key: str) -> None:
    run, verification = verified_run(tmp_path)
    name = verification.networks[1].name
    edit(run, name, key)
    assert read_records(run)[name].diagnostics is None
    again = read_verification(read_run_data(run))
    assert again is not None
    assert again.missing == (name,)
    assert name not in {network.name for network in again.networks}


@pytest.mark.parametrize(
    ("key", "value"), [("scale", "1.0"), ("gap", None), ("curve", 0.5), ("curve", ["x"]), ("transfer", [0.5])]
)
def test_a_diagnostic_of_the_wrong_type_is_measured_again(tmp_path: Path, key: str, value: object) -> None:
    run, verification = verified_run(tmp_path)
    name = verification.networks[0].name
    edit(run, name, **{key: value})
    record = open_record(run, name, SETUP, IMAGES)
    assert record.diagnostics is None
    assert (record.table != UNKNOWN).any(), "the results of the attacks are kept"


def test_a_record_without_later_keys_is_read(tmp_path: Path) -> None:
    run, verification = verified_run(tmp_path)
    name = verification.networks[0].name
    edit(run, name, "transfer", "attacks", "compute")
    record = read_records(run)[name]
    assert record.diagnostics == HONEST
    assert (record.attacks, record.compute) == (STAGES, None)


@pytest.mark.parametrize("key", ["weights", "evaluation", "seed", "data"])
def test_a_record_without_its_setup_is_not_used(tmp_path: Path, key: str) -> None:
    run, verification = verified_run(tmp_path)
    name = verification.networks[0].name
    edit(run, name, key)
    assert name not in read_records(run)


def test_each_interval_is_that_of_its_own_accuracy(tmp_path: Path) -> None:
    _, verification = verified_run(tmp_path)
    for network, row in zip(verification.networks, verification.table().to_dict("records"), strict=True):
        assert (row["clean_low"], row["clean_high"]) == wilson(int(network.clean.sum()), IMAGES)
        assert (row["robust_low"], row["robust_high"]) == wilson(int(network.robust.sum()), IMAGES)
