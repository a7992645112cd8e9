"""The rules that pick a network, against their definitions by brute force; the source of the accuracies."""

from __future__ import annotations

import random
import re
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_folders import make_run

from morel_search.analysis.cost import cost_sentences
from morel_search.analysis.members import Figures, Member, find_member, read_members
from morel_search.analysis.picking import (
    Candidate,
    best_weighted_sum,
    choose,
    knee_distances,
    knee_point,
    most_accurate,
    most_robust,
)
from morel_search.analysis.report.sections.networks import networks_section
from morel_search.analysis.run_data import read_run_data
from morel_search.errors import RunFolderError
from morel_search.results.folder import RunFolder

STEPS = 30
accuracies = st.integers(0, STEPS)
fronts = st.lists(st.tuples(accuracies, accuracies), min_size=1, max_size=12).map(
    lambda pairs: [
        Candidate(str(i), clean / STEPS, robust / STEPS) for i, (clean, robust) in enumerate(pairs)
    ]
)
RULES: dict[str, Callable[[list[Candidate]], tuple[Candidate, str]]] = {
    "knee": knee_point,
    "weights": lambda among: best_weighted_sum(among, 2, 3),
    "robust": lambda among: most_accurate(among, min(network.robust for network in among)),
    "clean": lambda among: most_robust(among, min(network.clean for network in among)),
}


def dominates(network: Candidate, other: Candidate) -> bool:
    return (
        network.clean >= other.clean
        and network.robust >= other.robust
        and value_of(network) != value_of(other)
    )


def exact(value: float) -> Fraction:
    return Fraction(round(value * STEPS), STEPS)


def value_of(network: Candidate) -> tuple[float, float]:
    return network.clean, network.robust


@given(fronts, accuracies)
def test_the_most_accurate_that_is_robust_enough(among: list[Candidate], steps: int) -> None:
    bound = steps / STEPS
    able = [network for network in among if network.robust >= bound]
    if not able:
        with pytest.raises(RunFolderError, match="comes nearest"):
            most_accurate(among, bound)
        return
    chosen, why = most_accurate(among, bound)
    assert chosen in able
    assert all((network.clean, network.robust) <= (chosen.clean, chosen.robust) for network in able)
    assert f"of the {len(able)} network" in why


@given(fronts, accuracies)
def test_the_most_robust_that_is_accurate_enough_is_the_same_rule_mirrored(
    among: list[Candidate], steps: int
) -> None:
    mirrored = [Candidate(network.name, network.robust, network.clean) for network in among]
    if not any(network.clean >= steps / STEPS for network in among):
        with pytest.raises(RunFolderError):
            most_robust(among, steps / STEPS)
        return
    assert (
        value_of(most_robust(among, steps / STEPS)[0])
        == value_of(most_accurate(mirrored, steps / STEPS)[0])[::-1]
    )


@given(fronts)
def test_the_knee_is_the_farthest_above_the_line_between_the_ends(among: list[Candidate]) -> None:
    """The distance is that of analytic geometry, by the cross product of two vectors, in exact fractions."""
    front = [network for network in among if not any(dominates(other, network) for other in among)]
    chosen, why = knee_point(among)
    assert chosen in front
    cleans, robusts = (
        [exact(network.clean) for network in front],
        [exact(network.robust) for network in front],
    )
    if len(set(cleans)) == 1:
        assert why == "Of the networks to choose from, no other one is better in either accuracy."
        return

    def above(network: Candidate) -> Fraction:
        x = (exact(network.clean) - min(cleans)) / (max(cleans) - min(cleans))
        y = (exact(network.robust) - min(robusts)) / (max(robusts) - min(robusts))
        (ax, ay), (bx, by) = (1, 0), (0, 1)  # the most accurate and the most robust end
        return (by - ay) * (x - ax) - (bx - ax) * (y - ay)

    assert above(chosen) == max(above(network) for network in front)
    assert ("no knee" in why) == (above(chosen) == 0)


@given(fronts, st.integers(0, 9), st.integers(0, 9))
def test_the_heaviest_has_the_highest_weighted_mean(among: list[Candidate], clean: int, robust: int) -> None:
    if clean + robust == 0:
        return
    chosen, _ = best_weighted_sum(among, clean, robust)
    weighted = {
        network.name: exact(network.clean) * clean + exact(network.robust) * robust for network in among
    }
    assert weighted[chosen.name] == max(weighted.values())
    again = best_weighted_sum(among, 10 * clean, 10 * robust)[0]
    assert weighted[again.name] == weighted[chosen.name]


@pytest.mark.parametrize("rule", RULES)
@given(among=fronts, seed=st.integers(0, 99))
def test_no_rule_picks_what_another_network_dominates_nor_heeds_the_order(
    rule: str, among: list[Candidate], seed: int
) -> None:
    chosen, _ = RULES[rule](among)
    assert not any(dominates(other, chosen) for other in among)
    shuffled = random.Random(seed).sample(among, len(among))
    assert value_of(RULES[rule](shuffled)[0]) == value_of(chosen)


@given(fronts, st.integers(0, 11))
def test_a_dominated_network_moves_neither_the_knee_nor_its_neighbours(
    among: list[Candidate], index: int
) -> None:
    above = among[index % len(among)]
    beaten = Candidate("beaten", above.clean - 0.01, above.robust - 0.01)
    assert knee_point([*among, beaten]) == knee_point(among)
    chosen = knee_point(among)[0]
    assert cost_sentences(chosen, [*among, beaten]) == cost_sentences(chosen, among)


@given(fronts, st.floats(0.1, 3), st.floats(-1, 1))
def test_the_knee_does_not_depend_on_the_units_of_an_axis(
    among: list[Candidate], scale: float, shift: float
) -> None:
    front = np.array(
        [value_of(network) for network in among if not any(dominates(other, network) for other in among)]
    )
    moved = front * [scale, 1] + [shift, 0]
    np.testing.assert_allclose(knee_distances(moved), knee_distances(front), atol=1e-9)


def test_what_the_neighbours_cost_in_words() -> None:
    among = [
        Candidate("4", 0.95, 0.30, 10_000),
        Candidate("7", 0.90, 0.60, 10_000),
        Candidate("9", 0.81, 0.65, 10_000),
        Candidate("11", 0.85, 0.60, 10_000),
    ]
    assert cost_sentences(among[1], among) == [
        "One point of robustness costs 1.8 points of clean accuracy here (95% interval 1.3 to 2.6): network "
        "9, the next one, has 5.0 points more of it and 9.0 points less clean accuracy.",
        "One point of clean accuracy costs 6.0 points of robustness here (95% interval 5.1 to 7.1): network "
        "4, the next one, has 5.0 points more of it and 30.0 points less robustness.",
    ]
    assert cost_sentences(among[0], among)[1] == "It is the most accurate network of the front."
    assert cost_sentences(among[2], among)[0] == "It is the most robust network of the front."
    assert cost_sentences(among[3], among) == [
        "It is not on the front of these figures: network 7 has 90.0% and 60.0%."
    ]
    assert cost_sentences(among[1], among[1:2]) == [
        "It has no neighbour: no other network of the front is better in either accuracy."
    ]


def test_a_gain_within_chance_has_no_cost() -> None:
    """One image of 359 more clean accuracy was said to cost 128 points of robustness for each point."""
    among = [Candidate("7", 340 / 359, 200 / 359, 359), Candidate("9", 341 / 359, 72 / 359, 359)]
    (robust, clean) = cost_sentences(among[0], among)
    assert clean == (
        "No cost of clean accuracy was measurable here, because the gain is within chance: network 9, the "
        "next one, has 0.3 points more of it and 35.7 points less robustness."
    )
    assert robust == "It is the most robust network of the front."
    unknown = [Candidate("7", 0.9, 0.6), Candidate("9", 0.8, 0.7)]
    assert cost_sentences(unknown[0], unknown)[0] == (
        "The number of images is not known, so the cost of robustness is not: network 9, the next one, has "
        "10.0 points more of it and 10.0 points less clean accuracy."
    )


def test_a_cost_within_chance_is_not_measurable_as_in_the_report() -> None:
    among = [Candidate("7", 0.900, 0.5, 1000), Candidate("9", 0.895, 0.6, 1000)]
    first = cost_sentences(among[0], among)[0]
    assert re.fullmatch(
        r"No cost of robustness was measurable here \(95% interval -0\.\d+ to 0\.\d+, which includes 0\): "
        r"network 9, the next one, has 10\.0 points more of it and 0\.5 points less clean accuracy\.",
        first,
    )


def test_the_same_images_make_the_interval_of_a_cost_narrower_and_it_includes_the_true_cost() -> None:
    """Two networks that disagree on few images: 2 points of clean accuracy for 10 of robustness, 0.2 each."""
    draws, images, included, widths = np.random.default_rng(0), 2000, [], []
    for _ in range(300):
        clean = [draws.random(images) < 0.9]
        clean.append(clean[0] ^ (draws.random(images) < np.where(clean[0], 0.04, 0.16)))
        robust = [clean[0] & (draws.random(images) < 0.5 / 0.9)]
        # clean: 0.9 - 0.036 + 0.016 = 0.88; robust: 0.5 - 0.025 + 0.125 = 0.6
        robust.append(robust[0] ^ (draws.random(images) < np.where(robust[0], 0.05, 0.25)))
        results = {str(i): (clean[i], robust[i]) for i in range(2)}
        among = [Candidate(str(i), clean[i].mean(), robust[i].mean(), images) for i in range(2)]
        if among[1].clean >= among[0].clean:
            continue
        intervals = []
        for known in (results, None):
            found = re.search(r"interval (\S+) to ([^,)]+)[,)]", cost_sentences(among[0], among, known)[0])
            assert found
            intervals.append((float(found[1]), float(found[2])))
        included.append(intervals[0][0] <= 0.2 <= intervals[0][1])
        widths.append([high - low for low, high in intervals])
    assert 0.91 <= np.mean(included) <= 0.99
    narrow, wide = np.mean(widths, axis=0)
    assert narrow < 0.8 * wide


def member(number: int, flags: str = "", **figures: tuple[float, float]) -> Member:
    known = {kind: Figures(clean, robust) for kind, (clean, robust) in figures.items()}
    return Member(number, 5, str(number), known, flags)


def test_verified_figures_come_first_and_flagged_networks_are_left_out() -> None:
    members = [
        member(1, verified=(0.9, 0.3), test=(0.9, 0.5)),
        member(2, verified=(0.8, 0.4), test=(0.8, 0.6)),
        member(3, "one step breaks what twenty do not", verified=(0.85, 0.6), test=(0.85, 0.6)),
        member(4, test=(0.7, 0.9), validation=(0.7, 0.8)),
    ]
    picked, kind, _ = choose(members, lambda among: most_accurate(among, 0.35))
    assert (picked.number, kind) == (2, "verified")
    with pytest.raises(
        RunFolderError, match=r"at least 50%: network 2 comes nearest with 40%, which is 10 points less"
    ):
        choose(members, lambda among: most_accurate(among, 0.5))
    with pytest.raises(
        RunFolderError, match=r"was flagged or beaten by another network \(3 is flagged\); .* --member"
    ):
        choose(members[2:], knee_point)
    assert choose(members[3:], knee_point)[:2] == (members[3], "validation")


def test_a_network_that_another_one_beats_is_left_out() -> None:
    """It may still be named with --member."""
    beaten = Member(1, 5, "1", {"verified": Figures(0.95, 0.6, 400, beaten_by="7 (pgd)")})
    other = member(2, verified=(0.9, 0.5))
    for rule in (knee_point, lambda among: most_accurate(among, 0.4), lambda among: most_robust(among, 0.5)):
        assert choose([beaten, other], rule)[0] is other
    with pytest.raises(RunFolderError, match=r"beaten by another network \(1 is beaten by 7 \(pgd\)\)"):
        choose([beaten], knee_point)


def test_the_network_that_beats_is_read_from_the_table(tmp_path: Path) -> None:
    run = make_run(tmp_path, "made")
    first, second = read_run_data(run).front[["number", "epoch"]].astype(int).to_numpy()[:2].tolist()
    head = "number,epoch,clean_accuracy,robust_accuracy,clean_low,clean_high,robust_low,robust_high"
    rows = [
        f"{head},images,flags,on_front,verdict,beaten_by",
        f"{first[0]},{first[1]},0.9,0.2,,,,,400,,false,beaten,{second[0]}",
        f"{second[0]},{second[1]},0.9,0.4,,,,,400,,true,on the front,",
    ]
    run.write_text("verified.csv", "\n".join(rows) + "\n")
    members = {network.number: network for network in read_members(read_run_data(run))}
    assert members[first[0]].left_out == f"beaten by {second[0]}"
    assert members[second[0]].left_out == ""
    assert choose(tuple(members.values()), knee_point)[0].number == second[0]


def verify(run: RunFolder, *rows: str) -> None:
    head = "number,epoch,clean_accuracy,robust_accuracy,clean_low,clean_high,robust_low,robust_high"
    head += ",images,flags,on_front"
    run.write_text("verified.csv", "\n".join([head, *rows]) + "\n")


def test_figures_are_read_by_trial_and_epoch(tmp_path: Path) -> None:
    run = make_run(tmp_path, "made")
    front = read_run_data(run).front
    number, epoch = int(front.iloc[0]["number"]), int(front.iloc[0]["epoch"])
    others = (f"{number},{epoch + 1},0.1,0.1,,,,,400,,false", "9999,1,1,1,,,,,400,,true")
    verify(run, f"{number},{epoch},0.9,0.2,0.88,0.92,0.18,0.22,400,,true", *others)
    members = read_members(read_run_data(run))
    assert [network.number for network in members] == list(front["number"])
    assert members[0].figures["verified"] == Figures(0.9, 0.2, 400, (0.88, 0.92), (0.18, 0.22))
    assert members[0].figures["test"].clean == front.iloc[0]["test_clean_accuracy"]
    assert [network.kind for network in members[1:]] == ["validation"] * (len(members) - 1)
    run.write_text("verified.csv", "number,epoch\n1,2\n")
    with pytest.raises(RunFolderError, match=r"verified.csv is damaged: it has no column images"):
        read_members(read_run_data(run))


def test_a_sign_of_gradient_masking_counts_however_few_images_were_attacked(tmp_path: Path) -> None:
    """For ``pick`` and for the page, which then both choose by the validation accuracies."""
    run = make_run(tmp_path, "made")
    favourite = choose(read_members(read_run_data(run)), knee_point)[0]
    verify(run, f"{favourite.number},{favourite.epoch},0.9,0.2,,,,,20,the gradients are 0 on 9 images,false")
    members = read_members(read_run_data(run))
    assert [network.number for network in members if network.left_out == "flagged"] == [favourite.number]
    chosen, kind, _ = choose(members, knee_point)
    assert (chosen.number != favourite.number, kind) == (True, "validation")
    shown = networks_section(read_run_data(run))
    assert shown is not None
    assert f"take network {chosen.name}:" in shown.html
    rest = (network for network in members if network is not favourite)
    verify(run, *(f"{network.number},{network.epoch},0.9,0.2,,,,,20,a sign,false" for network in rest))
    shown = networks_section(read_run_data(run))
    assert shown is not None
    assert "No network is recommended" in shown.html
    with pytest.raises(RunFolderError, match="each network was flagged or beaten"):
        choose(read_members(read_run_data(run)), knee_point)


def test_the_page_recommends_what_pick_takes_where_the_records_of_the_attacks_are_missing(
    tmp_path: Path,
) -> None:
    run = make_run(tmp_path, "made")
    first, second = read_members(read_run_data(run))[:2]
    verify(
        run,
        f"{first.number},{first.epoch},0.9,0.1,,,,,400,,true",
        f"{second.number},{second.epoch},0.9,0.5,,,,,400,,true",
    )
    chosen, kind, _ = choose(read_members(read_run_data(run)), knee_point)
    assert (chosen.number, kind) == (second.number, "verified")
    shown = networks_section(read_run_data(run))
    assert shown is not None
    assert f"take network {chosen.name}: 90.0% clean and 50.0% robust accuracy, verified." in shown.html


def test_a_run_without_a_front_has_nothing_to_pick(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="has no network to pick: No trial finished with a result"):
        read_members(read_run_data(make_run(tmp_path, "dead", trials=2, failures=2, controls=False)))
    constrained = make_run(tmp_path, "strict", constraints={"clean_accuracy": ">= 1"})
    with pytest.raises(RunFolderError, match="No network satisfies the constraints"):
        read_members(read_run_data(constrained))


def test_members_are_found_by_number_and_epoch(tmp_path: Path) -> None:
    members = read_members(read_run_data(make_run(tmp_path, "epochs", select_epoch="front")))
    names = [network.name for network in members]
    twice = next(
        network.number for network in members if [other.number for other in members].count(network.number) > 1
    )
    assert find_member(members, names[0]).name == names[0]
    with pytest.raises(RunFolderError, match="with several epochs: choose one of "):
        find_member(members, str(twice))
    with pytest.raises(RunFolderError, match=f"77777 is not on the front; its networks are {names[0]}, "):
        find_member(members, "77777")


def test_picking_needs_no_torch() -> None:
    modules = (
        "morel_search.analysis.picking, morel_search.analysis.members, morel_search.pick, morel_search.train"
    )
    program = f"import sys, {modules}; assert not {{'torch', 'ray'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=Path(__file__).parents[1])
