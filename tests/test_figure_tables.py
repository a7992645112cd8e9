"""The data of the figures as CSV: the numbers of the run, one file a figure, read back with pandas."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from run_folders import POINT, make_run
from test_report import Reader
from verified_runs import verified_run

from morel_search.analysis.report.figure_tables import figure_tables
from morel_search.analysis.report.page import write_report
from morel_search.analysis.run_data import read_run_data
from morel_search.analysis.spent import spent
from morel_search.results.folder import RunFolder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = make_run(tmp_path_factory.mktemp("drawn"), trials=24, pruned=4, rungs=(2, 4))
    write_report(run)
    return run


def table(run: RunFolder, name: str) -> pd.DataFrame:
    return pd.read_csv(run.figures / f"{name}.csv")


def test_every_figure_of_the_page_has_a_table_of_all_its_points(drawn: RunFolder) -> None:
    figures = json.loads(Reader(drawn.report.read_text(encoding="utf-8")).data)
    shown = {name: figure for name, figure in figures.items() if "data" in figure}
    assert {path.stem for path in drawn.figures.glob("*.csv")} == set(shown)
    for name, figure in shown.items():
        rows = table(drawn, name)
        pairs = [pair for trace in figure["data"] for pair in zip(trace["x"], trace["y"], strict=True)]
        assert len(rows) == sum(None not in pair for pair in pairs) > 0
        assert not {"x", "y"} & set(rows.columns), f"{name}: an axis without a title"


def test_the_points_of_the_front_are_those_of_the_run(drawn: RunFolder) -> None:
    rows, trials = table(drawn, "front"), drawn.read_trials().set_index("number")
    dots = rows[(rows["kind"] == "markers") & ~rows["series"].str.contains("test|stopped")]
    assert set(dots["trial"]) == set(trials.index[trials["state"] == "COMPLETE"])
    columns = ["clean accuracy (%)", "robust accuracy (%)"]
    expected = 100 * trials.loc[dots["trial"], POINT].to_numpy()
    assert dots[columns].to_numpy() == pytest.approx(expected, abs=1e-3)


def test_a_verified_run_s_front_is_the_verified_one(tmp_path: Path) -> None:
    run, verification = verified_run(tmp_path)
    write_report(run)
    rows = table(run, "front")
    dots = rows[rows["kind"] == "markers"].set_index("trial")
    for network in verification.networks:
        row, ((clean_low, _), (_, robust_high)) = dots.loc[network.number], network.intervals
        assert row["robust accuracy (%)"] == pytest.approx(100 * network.accuracy[1], abs=1e-3)
        assert row["clean accuracy (%), lower end"] == pytest.approx(100 * clean_low, abs=2e-3)
        assert row["robust accuracy (%), upper end"] == pytest.approx(100 * robust_high, abs=2e-3)
    assert (run.figures / "search-front.csv").is_file()
    assert not (run.figures / "verified.csv").exists()


def test_tables_that_the_page_no_longer_has_are_removed_and_no_other_file(tmp_path: Path) -> None:
    run, _ = verified_run(tmp_path)
    write_report(run)
    shown = {path.name for path in run.figures.glob("*.csv")}
    (run.figures / "verified.csv").write_bytes((run.figures / "front.csv").read_bytes())
    mine = {"mine.csv": "x,y\n1,2\n", "series.csv": "series\n", "notes.txt": "series,kind,x\n"}
    for name, content in mine.items():
        (run.figures / name).write_text(content, encoding="utf-8")
    os.mkfifo(run.figures / "pipe.csv")  # reading it would wait for ever
    write_report(run)
    assert {path.name for path in run.figures.glob("*.csv")} == {*shown, "mine.csv", "series.csv", "pipe.csv"}
    assert {name: (run.figures / name).read_text(encoding="utf-8") for name in mine} == mine


@pytest.mark.parametrize(("gpus", "unit"), [(0.0, "core-hours"), (0.5, "GPU-hours")])
def test_the_hypervolume_over_the_cost(tmp_path: Path, gpus: float, unit: str) -> None:
    run = make_run(tmp_path, trials=12, pruned=3, epochs=False)
    settings = json.loads(run.settings.read_text(encoding="utf-8"))
    settings["space"]["resources"] |= {"cpu": 2.0, "gpu": gpus}
    run.write_json(run.settings, settings)
    write_report(run)
    over_trials, over_cost = (
        rows[rows["series"] == "all trials"] for rows in (table(run, "history"), table(run, "history-cost"))
    )
    seconds = run.read_trials()["seconds"].to_numpy()
    assert over_cost[unit].to_numpy() == pytest.approx(np.cumsum(seconds) * (gpus or 2) / 3600, rel=1e-4)
    cost = spent(read_run_data(run))
    assert over_cost[unit].iloc[-1] == pytest.approx(cost.gpu_hours if gpus else cost.core_hours, rel=1e-4)
    area = "hypervolume above (0, 0)"
    assert over_cost[area].tolist() == over_trials[area].tolist()
    assert (
        over_trials["trial"].tolist() == over_cost["trial"].tolist() == run.read_trials()["number"].tolist()
    )


def test_names_are_plain_text_and_gaps_no_points() -> None:
    layout = {"xaxis": {"title": {"text": "a &lt; b"}}, "yaxis": {"title": {"text": "c"}}}
    line = {
        "name": "x &amp; y", "mode": "lines", "x": [1, None, 2], "y": [3, None, 4],
        "hovertext": ["<b>one</b><br>of &lt;them&gt;", None, "two"],
    }  # fmt: skip
    assert figure_tables({"made": {"data": [line], "layout": layout}, "parallel": {"rows": []}}) == {
        "made": "series,kind,a < b,c,text\nx & y,lines,1,3,one  of <them>\nx & y,lines,2,4,two\n"
    }
