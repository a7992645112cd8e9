"""Runs compared: the same kind of accuracies for all, refusals, paired tests, settings, cost, the page."""

from __future__ import annotations

import html
import json
import math
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import make_run
from test_report_browser import BROWSER, console, open_page
from verified_runs import HONEST, IMAGES, SETUP, made_table

from morel_search.__main__ import main
from morel_search.analysis.comparison.runs import Comparison, read_comparison
from morel_search.analysis.comparison.settings import differing_settings
from morel_search.analysis.comparison.words import comparison_sentences, comparison_text
from morel_search.analysis.hypervolume import hypervolume_difference
from morel_search.analysis.report.comparison_page import comparison_page
from morel_search.analysis.run_data import read_run_data
from morel_search.analysis.spent import spent
from morel_search.analysis.verification_reader import read_verification
from morel_search.errors import RunFolderError
from morel_search.results.attack_records import AttackRecord, AttackSetup
from morel_search.results.folder import RunFolder

ROOT = Path(__file__).parents[1]


def run_of(
    folder: Path,
    name: str,
    *,
    change: Mapping[str, Any] | None = None,
    worse: float | None = None,
    attacked: int = IMAGES,
    data: str = "b",
    **options: Any,
) -> RunFolder:
    """Make a run; with ``worse``, its front is verified, and by so much less robust than on validation."""
    run = make_run(folder, name, **{"trials": 15, "epochs": False, **options})
    settings = json.loads(run.settings.read_text(encoding="utf-8"))
    for key, value in (change or {}).items():
        section, _, entry = key.partition(".")
        settings["space"][section][entry] = value
    run.write_json(run.settings, settings)
    if worse is not None:
        run_data, random = read_run_data(run), np.random.default_rng(0)
        setup = AttackSetup("a", SETUP.evaluation, 0, data)
        for row in run_data.front.to_dict("records"):
            clean, robust = row["clean_accuracy"], row["robust_accuracy"] - worse
            table = made_table(random, clean, robust, attacked, attacked)
            AttackRecord(str(row["number"]), setup, table, HONEST).write(run)
    return run


def compared(*runs: RunFolder) -> Comparison:
    return read_comparison([run.path for run in runs])


def test_verified_runs_are_compared_by_verified_accuracies(tmp_path: Path) -> None:
    runs = [run_of(tmp_path, "first", worse=0.05), run_of(tmp_path, "second", worse=0.25)]
    comparison = compared(*runs)
    assert comparison.verified
    assert comparison.paired
    assert comparison.warnings == ()
    for run, shown in zip(runs, comparison.runs, strict=True):
        verification = read_verification(read_run_data(run))
        assert verification is not None
        assert shown.label == run.name
        assert shown.area == verification.hypervolumes[1]
        assert shown.area_interval == verification.hypervolume_interval
        assert {network.name: network.accuracy for network in shown.networks} == {
            network.name: network.accuracy for network in verification.unflagged
        }
    first, second = comparison.runs
    difference = comparison.area_difference(first, second)
    assert difference is not None
    assert difference.value == pytest.approx(first.area - second.area)
    assert difference.low > 0.1, "20 points of robust accuracy are beyond chance"
    assert comparison.beaten(first) == []
    rivals = {own.name: rival.name for own, other, rival in comparison.beaten(second) if other is first}
    assert set(rivals) <= {network.name for network in second.front}
    assert len(rivals) >= len(second.front) / 2
    sentences = comparison_sentences(comparison)
    assert "not beyond chance" not in sentences[0]
    assert " lower (95% interval -0." in sentences[0]
    assert any("None of the" in sentence and "of first is" in sentence for sentence in sentences)


def test_a_run_and_its_copy_are_equal(tmp_path: Path) -> None:
    comparison = compared(run_of(tmp_path, "first", worse=0.1), run_of(tmp_path, "copy", worse=0.1))
    first, copy = comparison.runs
    difference = comparison.area_difference(copy, first)
    assert difference is not None
    assert (difference.value, difference.low, difference.high) == (0, 0, 0)
    assert "of copy is equal (95% interval +0.0000 to +0.0000) to that of first" in comparison_text(
        comparison
    )
    assert "no setting differs" in comparison_text(comparison)
    assert comparison.beaten(first) == comparison.beaten(copy) == []


def test_the_interval_of_a_difference_is_that_of_the_robust_accuracies_when_all_images_are_right() -> None:
    """Then the hypervolume of one network is its robust accuracy, whose standard error is known."""
    rng, count = np.random.default_rng(4), 2_000
    clean = np.ones(count, dtype=bool)
    first = rng.random(count) < 0.6
    second = np.where(rng.random(count) < 0.8, first, rng.random(count) < 0.4)
    own, other = [(clean, first)], [(clean, second)]
    errors = {
        True: np.std(first.astype(float) - second) / math.sqrt(count),
        False: math.hypot(np.std(first), np.std(second)) / math.sqrt(count),
    }
    for paired, error in errors.items():
        difference = hypervolume_difference(own, other, paired=paired)
        assert difference.value == pytest.approx(first.mean() - second.mean())
        assert difference.high - difference.low == pytest.approx(2 * 1.96 * error, rel=0.12)
    assert errors[True] < 0.75 * errors[False]


def test_without_verification_of_all_runs_none_is_used(tmp_path: Path) -> None:
    runs = [run_of(tmp_path, "first", worse=0.3), run_of(tmp_path, "second", seed=1)]
    comparison = compared(*runs)
    assert not comparison.verified
    assert any("Without verified accuracies" in note and ": second." in note for note in comparison.warnings)
    for run, shown in zip(runs, comparison.runs, strict=True):
        assert shown.area == read_run_data(run).hypervolume, "no verified figure beside validation ones"
        assert shown.area_interval is None
    assert comparison.verdicts == {}
    text = comparison_text(comparison)
    assert "no interval is known" in text
    assert "not verified: 360 images" in text


def test_few_verified_images_do_not_count(tmp_path: Path) -> None:
    runs = [run_of(tmp_path, "first", worse=0.1), run_of(tmp_path, "second", worse=0.1, attacked=49)]
    assert not compared(*runs).verified


def test_runs_are_compared_on_the_images_that_both_have(tmp_path: Path) -> None:
    comparison = compared(
        run_of(tmp_path, "first", worse=0.1), run_of(tmp_path, "second", worse=0.1, attacked=120)
    )
    assert [run.images for run in comparison.runs] == [120, 120]
    first, second = comparison.runs
    assert [network.accuracy for network in first.networks] == [
        network.accuracy for network in second.networks
    ]
    assert "the same 120 test images" in comparison_text(comparison)


def test_other_test_images_are_said_and_not_paired(tmp_path: Path) -> None:
    comparison = compared(
        run_of(tmp_path, "first", worse=0.1), run_of(tmp_path, "second", worse=0.1, data="other")
    )
    assert comparison.verified
    assert not comparison.paired
    assert comparison.verdicts == {}
    assert "The test images differ" in comparison.warnings[0]
    difference = comparison.area_difference(*comparison.runs)
    assert difference is not None
    assert difference.low < 0 < difference.high, "other images: chance, although the accuracies are equal"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"evaluation.epsilon": "8/255"}, "evaluation.epsilon is 0.2 in the one and 8/255 in the other"),
        ({"evaluation.norm": "l2"}, "evaluation.norm is linf in the one and l2"),
        ({"data.name": "cifar10"}, "data.name is digits in the one and cifar10"),
    ],
)
@pytest.mark.parametrize("worse", [None, 0.1], ids=["validation", "verified"])
def test_other_images_and_other_attacks_are_refused(
    tmp_path: Path, change: Mapping[str, Any], words: str, worse: float | None
) -> None:
    runs = [
        run_of(tmp_path, "first", worse=worse),
        run_of(tmp_path, "second", worse=worse, change=change, data="other"),
    ]
    with pytest.raises(RunFolderError, match=re.escape(words)) as refusal:
        compared(*runs)
    assert str(refusal.value).startswith("first and second cannot be compared")


def test_the_same_test_images_under_another_name_and_equal_numbers_are_compared(tmp_path: Path) -> None:
    change = {"data.name": "image_folder", "data.train": "/elsewhere", "evaluation.epsilon": "1/5"}
    runs = [
        run_of(tmp_path, "first", worse=0.1),
        run_of(tmp_path, "second", worse=0.1, change=change),
    ]
    assert compared(*runs).paired


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"data.train": "/elsewhere/train"}, ""),
        ({"data.seed": 5}, "data.seed differs (first: 0, second: 5)"),
        ({"data.validation": 100}, "numbers of validation images differ (first: 360, second: 100)"),
        ({"evaluation.final_steps": 50}, "final attacks of the searches differ"),
    ],
)
def test_what_may_differ_is_a_warning(tmp_path: Path, change: Mapping[str, Any], words: str) -> None:
    comparison = compared(run_of(tmp_path, "first"), run_of(tmp_path, "second", change=change))
    assert any(words in note for note in comparison.warnings[1:]) == bool(words)


@pytest.mark.parametrize("key", ["subset", "commit"])
def test_parts_and_versions_of_a_data_set_may_have_other_images(tmp_path: Path, key: str) -> None:
    runs = [run_of(tmp_path, value, change={f"data.{key}": value}) for value in ("balanced", "bymerge")]
    sentence = f"data.{key} differs (balanced: balanced, bymerge: bymerge): the comparison assumes"
    assert any(note.startswith(sentence) for note in compared(*runs).warnings)


def test_what_cannot_be_compared_is_one_sentence(tmp_path: Path) -> None:
    first, empty = run_of(tmp_path, "first"), run_of(tmp_path, "empty", trials=0, controls=False)
    with pytest.raises(RunFolderError, match="empty has no network to compare: No trial finished"):
        compared(first, empty)
    with pytest.raises(RunFolderError, match="given twice"):
        read_comparison([first.path, first.path.parent / "." / "first"])
    with pytest.raises(RunFolderError, match="two to 8"):
        read_comparison([first.path])
    (tmp_path / "link").symlink_to(first.path)
    with pytest.raises(RunFolderError, match="given twice"):
        read_comparison([first.path, tmp_path / "link"])


def test_runs_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [run_of(tmp_path / folder, "made").path for folder in ("a", "b")]
    assert [run.label for run in read_comparison(paths).runs] == ["a/made", "b/made"]


def test_the_settings_that_differ_are_exactly_those_that_were_changed(tmp_path: Path) -> None:
    first = run_of(tmp_path, "first")
    change = {"train.lr": 0.01, "search.seed": 9, "evaluation.epsilon": "1/5"}
    second = run_of(tmp_path, "second", change=change)
    settings = json.loads(second.settings.read_text(encoding="utf-8"))
    settings["space"]["parameters"][0]["high"] = "0.5"
    settings["space"]["controls"].pop()
    settings["versions"]["torch"] = "2.11.0"
    second.write_json(second.settings, settings)
    rows = dict(differing_settings([run.read_settings() for run in (first, second)]))
    assert rows["train.lr"] == ("0.05", "0.01")
    assert rows["search.seed"] == ("3", "9")
    assert rows["parameters.epsilon.high"] == ("0.3", "0.5")
    assert rows["versions.torch"] == ("2.14.1", "2.11.0")
    gone = {key for key in rows if key.startswith("controls.morel_alpha0.")}
    assert all(rows[key][1] == "–" for key in gone)
    assert set(rows) - gone == {"train.lr", "search.seed", "parameters.epsilon.high", "versions.torch"}


def test_the_cost_is_that_of_all_trials(tmp_path: Path) -> None:
    change = {"resources.cpu": 4.0, "resources.gpu": 0.25}
    run = run_of(tmp_path, "first", trials=20, pruned=3, change=change, epochs=True)
    trials, cost = run.read_trials(), spent(read_run_data(run))
    hours = sum(float(seconds) for seconds in trials["seconds"]) / 3600
    assert cost.core_hours == pytest.approx(4 * hours)
    assert cost.gpu_hours == pytest.approx(0.25 * hours)
    assert (cost.trainings, cost.stopped, cost.failed) == (25, 3, 2)
    assert cost.epochs == trials["epochs"].sum() == len(run.read_epochs())


def test_the_command_prints_a_table_and_writes_its_page_and_no_other_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, worse in (("first", 0.1), ("second", 0.2)):
        run_of(tmp_path, name, worse=worse)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # a comparison replaces itself
        assert main(["compare", "first", "second"]) == 0
    output = capsys.readouterr().out
    assert output.endswith("comparison.html\n")
    assert "core-hours" in output
    Path("notes.html").write_text("<p>mine</p>", encoding="utf-8")
    refusals = {"notes.html": "is not a comparison", "first": "cannot write", "no/x.html": "no/"}
    for out, words in refusals.items():
        assert main(["compare", "first", "second", "--out", out]) == 2
        printed = capsys.readouterr()
        assert words in printed.err
        assert printed.err.count("\n") == 1
        assert printed.out == "", "no table before the refusal"
    assert Path("notes.html").read_text(encoding="utf-8") == "<p>mine</p>"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "comparison-fronts.csv", "comparison.html", "first", "notes.html", "second",
    ]  # fmt: skip


def test_comparing_needs_neither_torch_nor_ray(tmp_path: Path) -> None:
    paths = [str(run_of(tmp_path, name).path) for name in ("first", "second")]
    code = (
        "import sys; from morel_search.compare import main; "
        f"code = main([*{paths!r}, '--out', {str(tmp_path / 'page.html')!r}]); "
        "print('loaded:', sorted({'torch', 'ray', 'optuna'} & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded: []\n")


@pytest.mark.skipif(BROWSER is None, reason="no browser")
def test_the_page_is_drawn_without_a_message(tmp_path: Path) -> None:
    first, second = run_of(tmp_path, "first", worse=0.1), run_of(tmp_path, "second", worse=0.2, seed=1)
    hostile = RunFolder(first.path.rename(tmp_path / "<script>loud&"))
    runs = [hostile, second]
    page = tmp_path / "page.html"
    page.write_text(comparison_page(compared(*runs), [run.path for run in runs]), encoding="utf-8")
    dom, said = open_page(page, tmp_path / "profile")
    assert console(said) == []
    figure = dom[dom.index('id="figure-fronts"') :]
    assert 'class="main-svg"' in figure[: figure.index("<table")]
    assert "<script>loud" not in dom
    assert "&lt;script&gt;loud&amp;" in dom
    shown = html.unescape(re.sub(r"<[^>]+>", " ", dom[dom.index("<main>") : dom.index('id="figures"')]))
    for run in compared(*runs).runs:
        assert f"{run.area:.4f}" in shown
        assert all(f"{100 * network.accuracy[1]:.1f}%" in shown for network in run.networks)
