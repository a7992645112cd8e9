"""The lead of the report: verified figures first, with intervals; the search's own values named as such."""

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
from scipy.stats import binomtest, ttest_ind
from verified_runs import HONEST, IMAGES, SETUP, made_table, verified_run

from morel_search._format import area_text, interval_text, with_interval
from morel_search.analysis.differences import difference_words, interval_words, unpaired_difference
from morel_search.analysis.hypervolume import hypervolume, hypervolume_interval
from morel_search.analysis.intervals import Difference
from morel_search.analysis.members import FEWEST_VERIFIED
from morel_search.analysis.replication import read_replication
from morel_search.analysis.report import page
from morel_search.analysis.report.head import data_set_words, key_figures
from morel_search.analysis.report.lead import ends, sentences, title
from morel_search.analysis.report.page import write_report
from morel_search.analysis.report.paper_figure import paper_figure
from morel_search.analysis.report.sections import gradient_shares, learning_curves, slices
from morel_search.analysis.report.sections.attacks import missing_section
from morel_search.analysis.report.sections.controls import search_claims
from morel_search.analysis.report.sections.gains import gain_sentences, verified_claims
from morel_search.analysis.report.sections.networks import networks_section
from morel_search.analysis.report.sections.radius import MOST_CURVES, radius_section
from morel_search.analysis.report.sections.replicates import replicates_section
from morel_search.analysis.report.sections.verified_front import front_words
from morel_search.analysis.report.seeds import MOST_SENTENCES, reversals, seed_difference
from morel_search.analysis.report.verified_figure import verified_figure
from morel_search.analysis.run_data import RunData, read_run_data
from morel_search.analysis.verification import Verification
from morel_search.analysis.verification_reader import leading, read_verification
from morel_search.results.attack_records import AttackRecord
from morel_search.results.folder import RunFolder
from morel_search.results.tables import REPLICATE_COLUMNS


@pytest.fixture(autouse=True)
def without_paper_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests read the page alone; drawing the figures for papers takes most of the time."""
    monkeypatch.setattr(page, "paper_figure", lambda *_: {})


def weaken(run: RunFolder, name: str, clean: float, robust: float) -> Verification:
    """Give a network other results in the verification, and read it again."""
    table = made_table(np.random.default_rng(1), clean, robust)
    AttackRecord(name, SETUP, table, HONEST).write(run)
    verification = read_verification(read_run_data(run))
    assert verification is not None
    return verification


def head_of(run: RunFolder) -> str:
    """The title of the document, the heading and the lead, as text."""
    written = write_report(run).read_text(encoding="utf-8")
    name = written[written.index("<title>") : written.index("</title>")]
    return name + written[written.index("<h1>") : written.index('<dl class="facts">')]


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, RunData, Verification]:
    run, _ = verified_run(tmp_path_factory.mktemp("results"))
    run_data = read_run_data(run)
    verification = weaken(run, str(run_data.front["number"].iloc[-1]), 0.6, 0.1)
    run.write_table(run.verified, verification.table())
    return run, run_data, verification


def test_title_and_lead_are_the_verified_figures(
    verified: tuple[RunFolder, RunData, Verification],
) -> None:
    run, run_data, verification = verified
    table = run.read_verified()
    beaten = table[table["verdict"] == "beaten"]
    most_robust = str(run_data.front["number"].iloc[-1])
    assert most_robust in set(beaten["number"].astype(str)), "the network that the search has as most robust"
    unbeaten = table[table["on_front"].astype(str) == "True"]
    accurate = unbeaten.sort_values(["clean_accuracy", "robust_accuracy"]).iloc[-1]
    robust = unbeaten.sort_values(["robust_accuracy", "clean_accuracy"]).iloc[-1]
    assert accurate["number"] != robust["number"]
    head = title(run_data, verification)
    assert head == (
        f"From {100 * accurate['clean_accuracy']:.1f}% clean and "
        f"{100 * accurate['robust_accuracy']:.1f}% robust to {100 * robust['clean_accuracy']:.1f}% clean and "
        f"{100 * robust['robust_accuracy']:.1f}% robust, verified on {IMAGES} test images"
    )
    lead = " ".join(sentences(run_data, verification))
    for row in (accurate, robust):
        for kind in ("clean", "robust"):
            low, high = 100 * row[f"{kind}_low"], 100 * row[f"{kind}_high"]
            assert f"{100 * row[f'{kind}_accuracy']:.1f}% {kind} accuracy" in lead
            assert f"{low:.1f}% to {high:.1f}%)" in lead
    first = lead.partition("In the search's own view")[0]
    assert f"etwork {most_robust} has" not in first
    assert "validation" not in first
    shown = head_of(run)
    assert shown.count(head) == 2, "in the title of the document and in the heading"
    for value in run_data.front.iloc[-1][["clean_accuracy", "robust_accuracy"]]:
        assert f"{100 * value:.1f}%" not in shown


def test_the_key_figures_begin_with_the_verified_ones(
    verified: tuple[RunFolder, RunData, Verification],
) -> None:
    _, run_data, verification = verified
    labels = [label for label, _ in key_figures(run_data, verification)]
    assert labels[:2] == ["Verified hypervolume above (0, 0)", "Attacks of the verification"]
    words = dict(key_figures(run_data, verification))
    area = hypervolume([network.accuracy for network in verification.unflagged])
    low, high = hypervolume_interval([(network.clean, network.robust) for network in verification.unflagged])
    interval = f"(95% interval {low:.3f} to {high:.3f})"
    assert words[labels[0]].startswith(f"{area:.4f} {interval}")
    assert interval in " ".join(front_words(verification)), "the section states the same interval"
    assert words[labels[0]].endswith(f"on {IMAGES} test images")
    assert "on validation images under the search's attack" in words["Hypervolume above (0, 0)"]


@pytest.mark.parametrize("attacked", [0, FEWEST_VERIFIED - 1])
def test_without_a_verification_the_title_says_that_nothing_is_verified(
    tmp_path: Path, attacked: int
) -> None:
    run = verified_run(tmp_path, attacked=attacked, late=0)[0] if attacked else make_run(tmp_path)
    run_data = read_run_data(run)
    verification = read_verification(run_data)
    assert leading(verification) is None
    assert title(run_data, verification).endswith("robust, on validation images and not verified")
    lead = sentences(run_data, verification)
    assert lead[0].startswith("These are the search's own values: accuracies on 360 validation images")
    words = f"has attacked {attacked} of {IMAGES} test images so far" if attacked else "No network has been"
    assert words in " ".join(lead)
    shown = head_of(run)
    assert shown.count("on validation images and not verified") == 2
    assert "verified on" not in shown


def test_a_control_at_an_end_of_the_front_is_named_in_the_title(
    verified: tuple[RunFolder, RunData, Verification],
) -> None:
    _, run_data, verification = verified
    last = ends(verification)[-1]
    networks = tuple(
        replace(network, label="pgd") if network.name == last.name else network
        for network in verification.networks
    )
    head = title(run_data, replace(verification, networks=networks))
    assert f"{100 * last.accuracy[1]:.1f}% robust (control pgd), verified on" in head


def test_a_verification_without_its_records_is_named(tmp_path: Path) -> None:
    run, verification = verified_run(tmp_path)
    run.write_table(run.verified, verification.table())
    for path in run.verification.iterdir():
        path.unlink()
    run_data = read_run_data(run)
    assert read_verification(run_data) is None
    assert title(run_data, None).endswith(", on validation images")
    lead = " ".join(sentences(run_data))
    assert "The networks were verified (verified.csv), but the records of the attacks are not in" in lead
    assert "No network has been verified" not in lead


def test_a_part_of_the_test_images_is_named_as_a_part(tmp_path: Path) -> None:
    run, verification = verified_run(tmp_path, attacked=300, late=120)
    assert title(read_run_data(run), verification).endswith(f"verified on 300 of {IMAGES} test images")


def test_a_front_that_is_partly_or_not_at_all_verified_is_called_so(tmp_path: Path) -> None:
    """As after a resumed search, whose front has new networks."""
    run, verification = verified_run(tmp_path)
    first, *others = [network.name for network in verification.members]
    forget(run, others)
    head = head_of(run)
    assert "Of the 1 verified network on the search" in head
    assert f"Not verified yet: {', '.join(others)}." in head
    forget(run, [first])
    again = read_verification(read_run_data(run))
    assert again is not None, "the controls are still verified"
    assert leading(again) is None
    head = head_of(run)
    assert "on validation images and not verified" in head
    assert "No network of this front has been verified" in head


def test_attacks_that_ran_on_some_images_are_named_as_elsewhere(tmp_path: Path) -> None:
    run, verification = verified_run(tmp_path, late=120)
    html = missing_section(read_run_data(run), verification).html
    assert f"Square ran on 120 of {IMAGES} test images." in html
    none = replace(verification, attacked={**verification.attacked, "square": 0})
    assert f"Square ran on none of {IMAGES} test images." in missing_section(read_run_data(run), none).html


def forget(run: RunFolder, names: list[str]) -> None:
    for name in names:
        for record in (run.path / "verification").glob(f"{name}.*"):
            record.unlink()


def test_when_every_network_is_beaten_none_is_the_lead_or_recommended(tmp_path: Path) -> None:
    run, verification = verified_run(tmp_path)
    for network in verification.members:
        verification = weaken(run, network.name, 0.5, 0.05)
    assert verification.front == []
    run_data = read_run_data(run)
    assert title(run_data, verification) == (
        f"No network to take: each of the {len(run_data.front)} networks of the search's front was beaten or "
        f"flagged, verified on {IMAGES} test images"
    )
    section = networks_section(run_data, verification)
    assert section is not None
    assert "No network is recommended" in section.html
    assert "--member" not in section.html
    write_report(run)


def test_the_recommended_network_is_not_beaten_and_has_its_command(
    verified: tuple[RunFolder, RunData, Verification], tmp_path: Path
) -> None:
    run, run_data, verification = verified
    section = networks_section(run_data, verification)
    assert section is not None
    (name,) = re.findall(r"--member (\S+)", section.html)
    (network,) = [network for network in verification.networks if network.name == name]
    assert verification.kind(network) in ("on the front", "undecided")
    assert f"python -m morel_search.pick {run.path.parent.name}/{run.name} --member {name}" in section.html
    clean, robust = network.accuracy
    assert f"{100 * clean:.1f}% clean and {100 * robust:.1f}% robust accuracy, verified." in section.html
    assert section.html.count("chosen by these verified accuracies, that is with the test images") == 1
    unverified = networks_section(read_run_data(make_run(tmp_path, trials=10)), None)
    assert unverified is not None
    assert "optimistic" not in unverified.html


def test_each_interval_has_one_text() -> None:
    assert interval_text((0.957, 0.989)) == "95.7% to 98.9%"
    assert interval_text((0.0, 1.0), short=True) == "0.0 to 100.0"
    assert with_interval(0.978, (0.957, 0.989)) == "97.8% (95.7% to 98.9%)"
    assert with_interval(0.978, None) == "97.8%"
    assert with_interval(None, None) == "–"
    assert area_text(0.56734, (0.518, 0.6214)) == "0.5673 (95% interval 0.518 to 0.621)"
    assert area_text(0.56734, (0.518, 0.6214), named=False) == "0.5673 (0.518 to 0.621)"
    own = re.compile(r"\{percent\([^}]*\)\} to \{percent\(")
    package = Path(page.__file__).parents[2]
    assert [path.name for path in package.rglob("*.py") if own.search(path.read_text("utf-8"))] == []


# intervals


def test_the_cost_has_an_interval_or_was_not_measurable(
    verified: tuple[RunFolder, RunData, Verification],
) -> None:
    _, run_data, verification = verified
    accurate, robust = ends(verification)
    (cost,) = [line for line in sentences(run_data, verification) if "ost of" in line or "costs" in line]
    assert cost.startswith("One more point of robust accuracy costs about ")
    assert re.search(r"\(95% interval \d+\.\d\d to \d+\.\d\d\)", cost)
    assert f"than network {accurate.name}, with one training of each" in cost
    # Five images more: the same order, but by chance.
    flags = robust.clean.copy()
    flags[np.flatnonzero(~flags)[:5]] = True
    near = replace(robust, name="near", clean=flags, validation=(1.0, 0.0))
    both = replace(verification, networks=(near, robust))
    assert len(ends(both)) == 1
    slower = replace(near, robust=robust.robust & (np.arange(IMAGES) != 0))
    both = replace(verification, networks=(slower, robust))
    lead = " ".join(sentences(run_data, both))
    assert "No cost of robust accuracy was measurable: " in lead
    assert "costs about" not in lead
    assert "not beyond chance" in lead


def test_an_unmeasurable_cost_of_the_search_is_not_stated_as_a_number(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    front = run.read_front()
    front["clean_accuracy"] = np.linspace(0.9500, 0.9495, len(front))
    front["robust_accuracy"] = np.linspace(0.2, 0.7, len(front))
    run.write_table(run.front, front)
    lead = " ".join(sentences(read_run_data(run)))
    assert "No cost of robust accuracy was measurable" in lead
    assert "which includes 0" in lead
    assert "costs about" not in lead


NUMBER = r"\d+\.\d points? (?:more|less)"


def test_every_difference_on_the_page_has_its_interval(
    verified: tuple[RunFolder, RunData, Verification],
) -> None:
    """A verdict states its bound of another kind: at most so much less, or a number of images."""
    run, _, _ = verified
    shown = write_report(run).read_text(encoding="utf-8").partition("<main>")[2].partition("</main>")[0]
    text = re.sub(r"<[^>]+>", " ", shown)
    stated = re.findall(rf"{NUMBER} (?:\w+ ){{0,3}}accuracy.{{0,50}}", text)
    assert len(stated) > 5
    interval = r"accuracy (\([+-]\d+\.\d to [+-]\d+\.\d|than all attacks)"
    bound = r"accuracy, at most \d+\.\d points? less"
    for sentence in stated:
        assert re.search(f"{interval}|{bound}", sentence) or "at most" in sentence, sentence


@pytest.mark.parametrize(
    ("first", "second", "interval"),
    [(9, 3, (0.1705, 0.8090)), (10, 0, (0.6075, 1.0)), (0, 0, (-0.2775, 0.2775))],
)
def test_newcombe_s_intervals_are_those_of_his_paper(
    first: int, second: int, interval: tuple[float, float]
) -> None:
    """Newcombe (1998), table II, method 10, contrasts b, h and f."""
    difference = unpaired_difference(first / 10, second / 10, 10)
    assert (difference.low, difference.high) == pytest.approx(interval, abs=1e-4)


def test_welch_s_interval_is_scipy_s() -> None:
    first, second = np.array([0.5, 0.53, 0.56, 0.51]), np.array([0.6, 0.48, 0.55])
    expected = ttest_ind(first, second, equal_var=False).confidence_interval(0.95)
    difference = seed_difference(first, second)
    assert (difference.low, difference.high) == pytest.approx((expected.low, expected.high))
    assert np.isnan(seed_difference(first[:1], second).low)


def test_differences_in_words() -> None:
    assert difference_words(Difference(0.031, 0.004, 0.058, 0.01), "robust accuracy") == (
        "3.1 points more robust accuracy (+0.4 to +5.8)"
    )
    assert difference_words(Difference(-0.031, -0.07, 0.008, 0.2)) == (
        "3.1 points less (-7.0 to +0.8, not beyond chance)"
    )
    assert difference_words(Difference(0.0, -0.01, 0.01, 1.0), "clean accuracy") == (
        "equal clean accuracy (-1.0 to +1.0)"
    )
    assert "no interval is known" in difference_words(unpaired_difference(0.5, 0.4, 0), "clean accuracy")


def test_the_interval_of_the_hypervolume_includes_the_true_one() -> None:
    random, images = np.random.default_rng(0), 300
    true = hypervolume([(0.95, 0.3), (0.85, 0.6)])
    included = []
    for _ in range(25):
        draws = random.random((2, images))
        networks = [(draws[0] < 0.95, draws[0] < 0.3), (draws[1] < 0.85, draws[1] < 0.6)]
        low, high = hypervolume_interval(networks)
        included.append(low <= true <= high)
    assert np.mean(included) >= 0.88
    sure = np.ones(10, dtype=bool)
    assert hypervolume_interval([(sure, sure)]) == pytest.approx((1.0, 1.0))


# controls


def add_replicates(run: RunFolder, run_data: RunData, robust: dict[str, list[float]]) -> None:
    """Write replicates with these robust accuracies, by the name of the network."""
    rows: list[dict[str, Any]] = [
        {
            "network": name, "seed": index, "epoch": 12, "seconds": 1.0, "failure": "",
            "test_clean_accuracy": 0.9 + 0.001 * index, "test_robust_accuracy": value,
        }
        for name, values in robust.items()
        for index, value in enumerate(values)
    ]  # fmt: skip
    run.write_table(run.replicates, pd.DataFrame(rows, columns=list(REPLICATE_COLUMNS)))


def test_an_order_that_other_seeds_reverse_is_said(tmp_path: Path) -> None:
    run, verification = verified_run(tmp_path)
    run_data = read_run_data(run)
    claim = next(claim for claim in verified_claims(verification) if claim.axis and claim.difference.low > 0)
    agree = {claim.network: [0.5, 0.51, 0.52], claim.control_network: [0.4, 0.41, 0.42]}
    add_replicates(run, run_data, agree)
    claims = verified_claims(verification)
    assert reversals(claims, read_replication(run_data)) == []
    assert "with other seeds the reverse" not in str(gain_sentences(verification, read_replication(run_data)))
    reverse = {claim.network: [0.4, 0.41, 0.42], claim.control_network: [0.5, 0.51, 0.52]}
    add_replicates(run, run_data, reverse)
    (found,) = [
        reversal
        for reversal in reversals(claims, read_replication(run_data))
        if reversal.claim.network == claim.network
    ]
    assert f"Network {claim.network} against control {claim.control}: in the verification" in found.sentence
    assert "with other seeds it is the reverse, 10.0 points less robust accuracy (-12.3 to -7.7)" in (
        found.sentence
    )
    assert f"all 3 trainings of the control are above all 3 of {claim.network}" in found.sentence
    shown = write_report(run).read_text(encoding="utf-8")
    assert shown.count(found.sentence) == part_of(shown, "replicates").count(found.sentence) == 1
    named = f"network {claim.network} and control {claim.control} in robust accuracy"
    gains = part_of(shown, "gains-verified")
    assert named in gains
    assert 'See <a href="#replicates">' in gains
    assert f"reversed with other seeds: {claim.control}" in shown


def part_of(page: str, ident: str) -> str:
    part = page[page.index(f'id="{ident}"') :]
    return part[: part.index("</details>")]


def test_without_a_verification_each_reversed_order_is_stated_once(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run_data = read_run_data(run)
    claims = search_claims(run_data)
    names = {claim.network for claim in claims}
    low = {name: [0.1, 0.11] for name in names}
    add_replicates(run, run_data, low | {claim.control_network: [0.5, 0.51] for claim in claims})
    found = reversals(claims, read_replication(run_data))
    assert found
    shown = write_report(run).read_text(encoding="utf-8")
    for reversal in found[:MOST_SENTENCES]:
        assert shown.count(reversal.sentence) == 1
        assert f"network {reversal.claim.network} and control {reversal.claim.control} in " in (
            part_of(shown, "controls")
        )
    assert shown.count("This run does not rank such a pair") == 1
    section = networks_section(run_data)
    assert section is not None
    assert "#replicates" not in section.html
    (recommended,) = re.findall(r"--member (\S+)", section.html)
    own = replace(found[0], claim=replace(found[0].claim, network=recommended))
    section = networks_section(run_data, None, [*found, own])
    assert section is not None
    assert section.html.count("the order is the reverse") == 1
    assert f"network {recommended} and control {own.claim.control} in " in section.html


def test_controls_have_their_names_in_every_list(tmp_path: Path) -> None:
    run, _ = verified_run(tmp_path)
    run_data = read_run_data(run)
    control = run_data.controls.iloc[0]
    number, label = str(control["number"]), str(control["name"])
    weakest = str(run_data.front["number"].iloc[0])
    weaken(run, number, 1.0, 0.99)
    verification = weaken(run, weakest, 0.5, 0.1)
    network = next(network for network in verification.networks if network.name == weakest)
    assert verification.beaten_by(network) == number
    assert verification.verdict(network).startswith(f"beaten by {number} ({label}): ")
    shown = write_report(run).read_text(encoding="utf-8")
    assert f"beaten by {number} ({label})" in shown
    assert f"beaten by {number}:" not in shown
    assert f"beaten by {number}<" not in shown


# what the data set is, and why there is no front


def test_the_data_set_has_its_classes_sizes_and_images(tmp_path: Path) -> None:
    run, verification = verified_run(tmp_path)
    settings = json.loads(run.settings.read_text(encoding="utf-8"))
    settings["images"] = {"train": 1078, "validation": 360, "shape": [3, 32, 48], "classes": 7}
    settings["space"]["data"] |= {"name": "image_folder", "train": "images/train"}
    run.write_json(run.settings, settings)
    assert data_set_words(read_run_data(run), verification) == (
        "image folder images/train: 7 classes; 32 × 48 pixels, colour; 1,078 training, 360 validation, "
        f"{IMAGES} test images"
    )


@pytest.mark.parametrize(
    ("constraints", "words"),
    [
        ({"clean_accuracy": ">= 0.9999"}, "comes nearest to clean_accuracy ≥ 0.9999 with {clean}, which is"),
        ({"robust_accuracy": ">= 0.99"}, "comes nearest to robust_accuracy ≥ 0.99 with {robust}, which is"),
        (
            {"clean_accuracy": ">= 0.9", "robust_accuracy": ">= 0.99"},
            "finished networks satisfy clean_accuracy ≥ 0.9.",
        ),
    ],
)
def test_without_a_front_the_page_says_how_near_the_best_came(
    tmp_path: Path, constraints: dict[str, str], words: str
) -> None:
    run = make_run(tmp_path, trials=12, constraints=constraints)
    run_data = read_run_data(run)
    best = {kind: f"{100 * run_data.complete[f'{kind}_accuracy'].max():.1f}%" for kind in ("clean", "robust")}
    lead = " ".join(sentences(run_data))
    assert words.format(**best) in lead
    assert lead in head_of(run).replace("&#x27;", "'")


# figures


def test_the_verified_figure_shows_the_intervals_and_fits_the_front(
    verified: tuple[RunFolder, RunData, Verification],
) -> None:
    _, _, verification = verified
    figure = verified_figure(verification)
    (left, right), (low, high) = (figure["layout"][axis]["range"] for axis in ("xaxis", "yaxis"))
    for network in verification.front:
        (clean_low, clean_high), (robust_low, robust_high) = network.intervals
        assert left <= 100 * clean_low <= 100 * clean_high <= right
        assert low <= 100 * robust_low <= 100 * robust_high <= high
    traces = {trace["name"]: trace for trace in figure["data"] if "error_x" in trace}
    assert sum(len(trace["x"]) for trace in traces.values()) == len(verification.networks)
    beaten = [network for network in verification.unflagged if verification.kind(network) == "beaten"]
    assert sorted(traces["beaten"]["y"]) == pytest.approx(sorted(100 * n.accuracy[1] for n in beaten))
    for trace in traces.values():
        for y, above, below in zip(
            trace["y"], trace["error_y"]["array"], trace["error_y"]["arrayminus"], strict=True
        ):
            ends = binomtest(round(y / 100 * IMAGES), IMAGES).proportion_ci(method="wilson")
            assert (y - below, y + above) == pytest.approx((100 * ends.low, 100 * ends.high), abs=2e-3)
    steps = next(trace for trace in figure["data"] if trace["name"] == "front")
    best = max(network.accuracy[1] for network in verification.front)
    assert max(steps["y"]) == pytest.approx(100 * best, abs=1e-3)


def test_members_differ_in_the_figure_of_the_radius(
    verified: tuple[RunFolder, RunData, Verification],
) -> None:
    _, _, verification = verified
    section = radius_section(verification, "0.2")
    assert section is not None
    traces = section.figures["radius"]["data"]
    looks = [(trace["line"]["color"], trace["marker"]["symbol"], trace["line"]["dash"]) for trace in traces]
    assert len(set(looks)) == len(looks)
    members = [trace for trace in traces if trace["line"]["dash"] == "solid"]
    assert len({trace["line"]["color"] for trace in members}) == len(members) > 3
    assert [trace["name"] for trace in traces] == [
        network.label or network.name for network in verification.networks[: len(traces)]
    ]


def test_the_figure_of_the_radius_of_a_large_front_has_all_controls_and_says_what_it_leaves_out(
    verified: tuple[RunFolder, RunData, Verification],
) -> None:
    _, _, verification = verified
    one, controls = verification.members[0], [n for n in verification.networks if not n.member]
    many = [replace(one, name=str(number), number=number) for number in range(40)]
    section = radius_section(replace(verification, networks=(*many, *controls)), "0.2")
    assert section is not None
    names = [trace["name"] for trace in section.figures["radius"]["data"]]
    assert names[-len(controls) :] == [control.label for control in controls]
    drawn = names[: -len(controls)]
    assert (drawn[0], drawn[-1], len(drawn)) == ("0", "39", MOST_CURVES)
    assert f"{MOST_CURVES} of 40 networks of the front are drawn" in section.html
    whole = radius_section(verification, "0.2")
    assert whole is not None
    assert "are drawn" not in whole.html


def test_curves_that_are_left_out_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run(tmp_path, trials=30, pruned=8, rungs=(4, 8))
    epochs = run.read_epochs()
    run.write_table(run.epochs, epochs.assign(**dict.fromkeys(gradient_shares.TERMS, 0.5)))
    run_data = read_run_data(run)
    count = run_data.front["number"].nunique()
    for module in (learning_curves, gradient_shares):
        monkeypatch.setattr(module, "CURVES", 2)
    monkeypatch.setattr(learning_curves, "STOPPED_CURVES", 3)
    monkeypatch.setattr(slices, "SLICE_POINTS", 5)
    curves = learning_curves.learning_curves_section(run_data)
    shares = gradient_shares.gradient_shares_section(run_data)
    assert curves is not None
    assert shares is not None
    assert set(shares.figures["term-0"]["data"][0]["y"]) == {33.33}, "of three equal gradients"
    for section in (curves, shares):
        assert f"2 of {count} trials on the front are drawn" in section.html
    assert "3 of 8 trials stopped early are drawn" in curves.html
    dots = slices.slices_section(run_data)
    assert dots is not None
    assert f"Of the {len(run_data.searched)} trials, those on the front and an evenly" in dots.html


def test_the_figure_for_papers_changes_with_the_verification(
    verified: tuple[RunFolder, RunData, Verification],
) -> None:
    _, run_data, verification = verified
    worse = replace(verification, networks=verification.networks[1:])
    assert paper_figure(run_data, verification)["svg"] != paper_figure(run_data, worse)["svg"]


def test_labels_of_the_replicates_do_not_collide(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run_data = read_run_data(run)
    names = [entry.name for entry in run_data.networks]
    add_replicates(run, run_data, {name: [0.5, 0.52, 0.51 + 0.001 * k] for k, name in enumerate(names)})
    section = replicates_section(read_replication(run_data), run_data)
    assert section is not None
    notes = section.figures["replicates"]["layout"]["annotations"]
    places = {(note["xanchor"], note["yanchor"], note.get("xshift", note.get("ax"))) for note in notes}
    assert len(notes) == len(names)
    assert len(places) > 3, "labels of a crowd are placed around it"


def test_an_end_of_an_interval_is_never_minus_zero() -> None:
    assert interval_words(-0.0001, 0.02) == "+0.0 to +2.0"
    assert interval_words(-0.02, -0.0004) == "-2.0 to +0.0"
