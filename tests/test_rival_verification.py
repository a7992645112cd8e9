"""The verification of rivals, read from made attack records: figures, flags, comparisons and words."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest
from verified_runs import HONEST, SETUP, copied_run, made_table

from morel_search.analysis.attacks_run import is_complete, unverified
from morel_search.analysis.comparison.runs import read_comparison
from morel_search.analysis.intervals import paired_difference
from morel_search.analysis.members import read_members
from morel_search.analysis.report.lead import sentences, title
from morel_search.analysis.report.page import write_report
from morel_search.analysis.report.paper_figure import paper_figure
from morel_search.analysis.report.sections.networks import networks_section
from morel_search.analysis.report.sections.rivals import rivals_section
from morel_search.analysis.report.verified_figure import verified_figure
from morel_search.analysis.rivals import contests, cost_words, rival_sentence
from morel_search.analysis.run_data import read_run_data
from morel_search.analysis.verdicts import contest
from morel_search.analysis.verification import Network, Verification
from morel_search.analysis.verification_reader import read_verification
from morel_search.results.attack_records import BROKEN, AttackRecord, read_records
from morel_search.results.folder import RunFolder
from morel_search.results.rivals import RivalEntry, write_rivals
from morel_search.workflows.terminal import verification_text

ENTRY = RivalEntry(
    name="theirs",
    title="my_rivals:network",
    given="my_rivals:network",
    by_command=False,
    fingerprint="r",
    parameters=36_479_194,
    operations=10_500_000_000,
    own_operations=1_050_000_000,
    own_network="3",
)


def read(run: RunFolder) -> Verification:
    verification = read_verification(read_run_data(run))
    assert verification is not None
    return verification


def rival_run(
    folder: Path, clean: float, robust: float, *, weights: str = "r", honest: bool = True, **more: int
) -> tuple[RunFolder, Verification, Network]:
    run, _ = copied_run(folder)
    write_rivals(run, [ENTRY])
    table = made_table(np.random.default_rng(1), clean, robust, **more)
    signs = HONEST if honest else replace(HONEST, zero_gradients=0.9)
    AttackRecord("rival-theirs", replace(SETUP, weights=weights), table, signs).write(run)
    verification = read(run)
    return run, verification, next(iter(verification.rivals), verification.networks[0])


def robust_rows(table: NDArray[np.int8]) -> NDArray[np.bool_]:
    return np.array([row[0] == 1 and BROKEN not in row for row in table])


def test_its_figures_are_those_of_its_record(tmp_path: Path) -> None:
    run, verification, rival = rival_run(tmp_path, 0.93, 0.71)
    table = read_records(run)["rival-theirs"].table
    assert rival.accuracy == (float((table[:, 0] == 1).mean()), float(np.mean(robust_rows(table))))
    assert (rival.reference, rival.labelled_name, rival.passes) == ("rival theirs", "theirs (rival)", 1)
    assert verification.kind(rival) == "rival"
    assert verification.absent_rivals == ()


@pytest.mark.parametrize("accuracies", [(1.0, 0.99), (0.5, 0.01)])
def test_the_networks_of_the_run_are_judged_as_without_it(
    tmp_path: Path, accuracies: tuple[float, float]
) -> None:
    """Neither a rival that beats all of them nor one that all of them beat changes the front."""
    run, alone = copied_run(tmp_path / "alone")
    other, verification, _ = rival_run(tmp_path / "beside", *accuracies)
    assert verification.verdicts == alone.verdicts
    assert verification.hypervolumes == alone.hypervolumes
    assert verification.rank_correlation == alone.rank_correlation
    assert verification.images == alone.images
    assert [network.name for network in verification.front] == [network.name for network in alone.front]
    rows = len(alone.networks)
    pd.testing.assert_frame_equal(verification.table().iloc[:rows], alone.table(), check_dtype=False)
    first, second = read_run_data(run), read_run_data(other)
    assert title(second, verification) == title(first, alone)
    assert read_members(second) == read_members(first)
    advice = [networks_section(data, found) for data, found in ((first, alone), (second, verification))]
    assert advice[0] is not None
    assert advice[1] is not None
    assert advice[0].html == advice[1].html.replace("beside/", "alone/")
    compared = read_comparison([run.path, other.path])
    names = [[network.name for network in own.networks] for own in compared.runs]
    assert names[0] == names[1], "a rival is no network of its run"


def test_a_rival_that_is_better_than_all_beats_all(tmp_path: Path) -> None:
    _, verification, rival = rival_run(tmp_path, 1.0, 0.99)
    found = contests(verification, rival)
    assert [one.network.name for one in found] == [network.name for network in verification.front]
    assert {one.result for one in found} == {"rival"}
    text = rival_sentence(verification, rival)
    names = [network.labelled_name for network in verification.front]
    assert f"It beats {len(names)} ({', '.join(names[:-1])} and {names[-1]}) of the {len(names)}" in text
    assert text.endswith("and none of them beats it.")
    row = verification.table().iloc[-1]
    assert (row["name"], row["verdict"], row["on_front"]) == ("theirs", "rival", False)
    assert pd.isna(row["number"])


def test_a_rival_that_is_worse_than_all_is_beaten(tmp_path: Path) -> None:
    _, verification, rival = rival_run(tmp_path, 0.5, 0.01)
    assert {one.result for one in contests(verification, rival)} == {"network"}
    assert "It beats none of the" in rival_sentence(verification, rival)
    assert verification.kind(rival) == "beaten"
    assert verification.beaten_by(rival) in {network.name for network in verification.networks}
    assert not verification.table().iloc[-1]["on_front"]


def test_differences_are_those_of_both_networks_on_the_same_images(tmp_path: Path) -> None:
    _, verification, rival = rival_run(tmp_path, 0.9, 0.3)
    for one in contests(verification, rival):
        assert one.clean == paired_difference(rival.clean, one.network.clean)
        assert one.robust == paired_difference(rival.robust, one.network.robust)
        assert one.robust.value == pytest.approx(rival.accuracy[1] - one.network.accuracy[1])


def test_contests_agree_with_mcnemar_and_are_symmetric() -> None:
    """Better in one accuracy, equal in the other: decided exactly by the p of McNemar's test."""
    images, names = 200, {"first": "second", "second": "first", "each": "each", "": ""}
    equal = np.arange(images) < 150
    for lost, won, tests in product((0, 3), (5, 8, 12, 20), (1, 6)):
        own, other = np.zeros(images, dtype=bool), np.zeros(images, dtype=bool)
        own[:won], other[won : won + lost] = True, True
        p = binomtest(won, won + lost).pvalue
        result = contest((equal, own), (equal, other), tests)
        assert result == ("first" if p < 0.05 / tests else ""), (won, lost, tests)
        assert contest((equal, other), (equal, own), tests) == names[result]


def test_each_is_better_in_one_accuracy() -> None:
    few, many = np.arange(400) < 150, np.arange(400) < 300
    assert contest((few, many), (many, few), 4) == "each"
    assert contest((few, few), (few, few), 4) == ""


def test_a_flagged_rival_is_not_compared(tmp_path: Path) -> None:
    run, verification, rival = rival_run(tmp_path, 0.95, 0.9, honest=False)
    assert rival.flags
    assert contests(verification, rival) == []
    assert "is flagged for gradient masking, so it is not compared" in rival_sentence(verification, rival)
    assert verification.table().iloc[-1]["verdict"] == "flagged"
    text = verification_text(verification)
    assert f"theirs: {rival.flags[0]}" in text
    page = write_report(run).read_text(encoding="utf-8")
    assert "Rival theirs is flagged for gradient masking." in page


def test_one_that_was_attacked_on_fewer_images_or_with_other_weights_is_not_verified(tmp_path: Path) -> None:
    """Changed weights have another fingerprint: the old record is not shown as that of the new ones."""
    for run, verification, _ in (
        rival_run(tmp_path / "fewer", 0.9, 0.5, attacked=300),
        rival_run(tmp_path / "late", 0.9, 0.5, late=20),
        rival_run(tmp_path / "weights", 0.9, 0.5, weights="old"),
    ):
        assert verification.rivals == ()
        assert verification.absent_rivals == (ENTRY,)
        assert unverified(verification) == ["Not verified yet: theirs (rival)."]
        assert not is_complete(verification)
        row = verification.table().iloc[-1]
        assert (row["name"], row["images"], row["verdict"]) == ("theirs", 0, "")
        section = rivals_section(read_run_data(run), verification)
        assert section is not None
        assert "not verified" in section.html
        assert "morel_search.verify" in section.html


def test_the_page_shows_it_beside_the_front(tmp_path: Path) -> None:
    run, verification, rival = rival_run(tmp_path, 0.9, 0.62)
    figure = verified_figure(verification)
    (trace,) = [trace for trace in figure["data"] if trace.get("name") == "rivals"]
    assert trace["x"] == [pytest.approx(100 * rival.accuracy[0], abs=1e-3)]
    assert trace["y"] == [pytest.approx(100 * rival.accuracy[1], abs=1e-3)]
    assert trace["marker"]["symbol"] == "star"
    assert "36,479,194 parameters" in trace["hovertext"][0]
    axes = figure["layout"]["xaxis"]["range"], figure["layout"]["yaxis"]["range"]
    assert all(low < 100 * value < high for (low, high), value in zip(axes, rival.accuracy, strict=True))
    assert "theirs" in {note["text"] for note in figure["layout"]["annotations"]}
    run_data = read_run_data(run)
    assert rival_sentence(verification, rival) in sentences(run_data, verification)
    page = write_report(run).read_text(encoding="utf-8")
    for words in (
        'id="rivals"',
        "Rivals and the networks of the front",
        "my_rivals:network",
        "theirs (rival)",
    ):
        assert words in page
    assert re.search(r"rivals,markers,[\d.]+,[\d.]+", (run.figures / "front.csv").read_text())
    assert paper_figure(run_data, verification) != paper_figure(run_data, replace(verification, rivals=()))


def test_its_cost_is_compared_with_that_of_a_network_of_the_run() -> None:
    assert cost_words(ENTRY) == (
        "1 forward pass for each prediction, 36,479,194 parameters, 10.5 billion operations for each image, "
        "10 times those of network 3"
    )


def test_the_terminal_names_it(tmp_path: Path) -> None:
    _, verification, rival = rival_run(tmp_path, 0.9, 0.62)
    text = verification_text(verification)
    (line,) = [line for line in text.splitlines() if line.strip().startswith("theirs ")]
    assert "rival" in line
    assert rival_sentence(verification, rival) in text


def test_a_run_without_rivals_has_no_section(tmp_path: Path) -> None:
    run, verification = copied_run(tmp_path)
    assert rivals_section(read_run_data(run), verification) is None
    assert 'id="rivals"' not in write_report(run).read_text(encoding="utf-8")
