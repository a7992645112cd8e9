"""The data of the figures of a comparison as CSV: the numbers of the runs, and no other file is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest
from test_attainment import seeds
from test_compare import compared, run_of

from morel_search.__main__ import main
from morel_search.analysis.report.comparison_files import write_comparison
from morel_search.analysis.run_data import read_run_data
from morel_search.analysis.verification_reader import read_verification
from morel_search.errors import RunFolderError
from morel_search.results.folder import RunFolder


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> list[RunFolder]:
    """Two runs without a verification."""
    folder = tmp_path_factory.mktemp("pair")
    return [run_of(folder, name, seed=seed) for seed, name in enumerate(("first", "second"))]


CLEAN, ROBUST = "clean accuracy (%)", "robust accuracy (%)"


def test_the_networks_of_each_front_are_those_of_the_runs(tmp_path: Path) -> None:
    runs = [run_of(tmp_path, name, worse=worse) for name, worse in (("first", 0.1), ("second", 0.2))]
    write_comparison(compared(*runs), [run.path for run in runs], tmp_path / "comparison.html")
    rows = pd.read_csv(tmp_path / "comparison-fronts.csv")
    assert set(rows["series"]) == {"first", "second"}
    for run in runs:
        verification = read_verification(read_run_data(run))
        assert verification is not None
        dots = rows[(rows["series"] == run.name) & (rows["kind"] == "markers")]
        expected = {
            f"{run.name}: network {network.name}": [
                100 * network.accuracy[0], 100 * network.accuracy[1],
                *(100 * end for ends in network.intervals for end in ends),
            ]
            for network in verification.unflagged
        }  # fmt: skip
        assert len(dots) == len(expected) > 1
        ends = [f"{title}, {end} end" for title in (CLEAN, ROBUST) for end in ("lower", "upper")]
        for text, figures in zip(dots["text"], dots[[CLEAN, ROBUST, *ends]].to_numpy(), strict=True):
            name = next(name for name in expected if text.startswith(f"{name} "))
            assert figures == pytest.approx(expected.pop(name), abs=3e-3)
        line = rows[(rows["series"] == run.name) & (rows["kind"] == "lines")]
        assert line[ROBUST].max() == pytest.approx(dots[ROBUST].max(), abs=2e-3)


def test_without_a_verification_they_are_the_validation_accuracies(
    tmp_path: Path, pair: list[RunFolder]
) -> None:
    write_comparison(compared(*pair), [run.path for run in pair], tmp_path / "comparison.html")
    rows = pd.read_csv(tmp_path / "comparison-fronts.csv")
    dots = rows[rows["kind"] == "markers"]
    expected = pd.concat([run.read_front() for run in pair])
    assert sorted(dots[CLEAN]) == pytest.approx(sorted(100 * expected["clean_accuracy"]), abs=2e-3)


def test_tables_follow_the_page_and_other_files_stay(tmp_path: Path) -> None:
    runs = seeds(tmp_path, 3)
    page = tmp_path / "three.html"
    write_comparison(compared(*runs), [run.path for run in runs], page)
    attained = pd.read_csv(tmp_path / "three-attainment-0.csv")
    assert list(dict.fromkeys(attained["series"])) == [
        "at least one run", "at least half of the runs", "every run"
    ]  # fmt: skip
    mine = {
        "three-notes.csv": "series,kind,x\n",
        "three-attainment-1.csv": "a,b\n",
        "three-attainment-x.csv": "",
    }
    for name, content in mine.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    other = tmp_path / "four-attainment-0.csv"
    other.write_bytes((tmp_path / "three-attainment-0.csv").read_bytes())
    write_comparison(compared(*runs[:2]), [run.path for run in runs[:2]], page)
    assert not (tmp_path / "three-attainment-0.csv").exists(), "the page has no such figure any more"
    assert (tmp_path / "three-fronts.csv").is_file()
    assert {name: (tmp_path / name).read_text(encoding="utf-8") for name in mine} == mine
    assert other.is_file(), "a table of another comparison"


@pytest.mark.parametrize("kind", ["file", "folder", "pipe", "broken link"])
def test_what_is_in_the_way_of_a_table_is_refused_before_anything_is_written(
    tmp_path: Path, kind: str, pair: list[RunFolder], capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [str(run.path) for run in pair]
    place = tmp_path / "page-fronts.csv"
    {
        "file": lambda: place.write_text("x,y\n1,2\n", encoding="utf-8"),
        "folder": place.mkdir,
        "pipe": lambda: os.mkfifo(place),
        "broken link": lambda: place.symlink_to("nowhere"),
    }[kind]()
    assert main(["compare", *paths, "--out", str(tmp_path / "page.html")]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "page-fronts.csv exists already and is not a table of a comparison" in printed.err
    assert printed.err.count("\n") == 1
    assert not (tmp_path / "page.html").exists()


def test_a_refused_page_leaves_the_tables(tmp_path: Path, pair: list[RunFolder]) -> None:
    (tmp_path / "page.html").write_text("mine", encoding="utf-8")
    with pytest.raises(RunFolderError, match="is not a comparison"):
        write_comparison(compared(*pair), [run.path for run in pair], tmp_path / "page.html")
    assert not list(tmp_path.glob("*.csv"))
