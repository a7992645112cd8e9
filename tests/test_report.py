"""The report: its texts and figures, unusual run folders, and the escaping of text from a run."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from PIL import Image
from run_folders import CONTROLS, make_run, settings_of

from morel_search._format import duration, format_number
from morel_search.analysis.headline import headline
from morel_search.analysis.importance import importance
from morel_search.analysis.parameters import nice_values, read_parameters
from morel_search.analysis.report.exchange_rate import exchange_rate, exchange_rate_interval
from morel_search.analysis.report.front_figure import front_figure
from morel_search.analysis.report.front_view import axis_limits, outside_words, step_line
from morel_search.analysis.report.head import key_figures
from morel_search.analysis.report.labels import HEIGHT, WIDTH, place_labels
from morel_search.analysis.report.lead import sentences
from morel_search.analysis.report.page import write_report
from morel_search.analysis.report.parallel_coordinates import parallel_data
from morel_search.analysis.report.sections.controls import compare_controls
from morel_search.analysis.report.sections.hypervolume import history_figure
from morel_search.analysis.report.sections.importance import importance_figure
from morel_search.analysis.report.sections.learning_curves import learning_figures
from morel_search.analysis.report.sections.slices import slice_figure
from morel_search.analysis.report.sections.trials import trials_data
from morel_search.analysis.run_data import POINT, RunData, read_run_data
from morel_search.errors import RunFolderError
from morel_search.report import main
from morel_search.results.folder import RunFolder
from morel_search.results.new_run import create_run_folder
from morel_search.results.tables import FRONT_COLUMNS, STATES, TRIAL_COLUMNS


class Reader(HTMLParser):
    """Visible text, tags and figure data of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.data = ""
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag if tag in ("script", "style") else ""
        if tag == "script" and dict(attrs).get("id") == "figures":
            self._inside = "figures"

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "figures":
            self.data += data
        elif not self._inside:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def read(run: RunFolder) -> Reader:
    return Reader(write_report(run).read_text(encoding="utf-8"))


def rewrite(run: RunFolder, **columns: Any) -> None:
    """Replace columns of trials.csv, and forget the front."""
    run.write_table(run.trials, run.read_trials().assign(**columns))
    run.front.unlink(missing_ok=True)


def bare_run(results: Path, rows: list[dict[str, Any]], **settings: Any) -> RunFolder:
    """A run of hand-written trials without a space."""
    run = create_run_folder(results, "bare")
    run.write_json(run.settings, {"format": 1, "space": {}, **settings})
    full = [
        dict.fromkeys(TRIAL_COLUMNS)
        | {"number": i, "state": "COMPLETE", "origin": "search", "seconds": 1.0}
        | row
        for i, row in enumerate(rows)
    ]
    run.write_table(run.trials, pd.DataFrame(full, columns=list(TRIAL_COLUMNS)))
    return run


def points(*pairs: tuple[float, float], **more: Any) -> list[dict[str, Any]]:
    return [{"clean_accuracy": clean, "robust_accuracy": robust, **more} for clean, robust in pairs]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run = make_run(tmp_path_factory.mktemp("results"), "made")
    write_report(run)
    return run


@pytest.fixture(scope="module")
def run_data(made: RunFolder) -> RunData:
    return read_run_data(made)


# words


def test_the_page_says_what_matters(made: RunFolder, run_data: RunData) -> None:
    page = Reader(made.report.read_text(encoding="utf-8"))
    best, robust = run_data.front.iloc[0], run_data.front.iloc[-1]
    assert (
        f"{len(run_data.front)} networks, from {100 * best[POINT[0]]:.1f}% clean and "
        f"{100 * best[POINT[1]]:.1f}% robust" in page.text
    )
    assert f"to {100 * robust[POINT[0]]:.1f}% clean and {100 * robust[POINT[1]]:.1f}% robust" in page.text
    for words in (
        "targeted PGD-20 (9 classes), L∞, ε = 0.2, 2 starts; after epochs targeted PGD-10 (4 classes)",
        "43 finished, 2 failed",
        "2 min 11 s",
        "small_cnn",
        "8 parameters, NSGA-II, seed 3",
    ):
        assert words in page.text
    assert "The test images were used only after the search" in page.text
    assert "With 360 validation images, the standard error of an accuracy is at most 2.6 points" in page.text
    assert "OutOfMemoryError" in page.text
    assert "python -m morel_search.run --space search_spaces/digits.yaml --name made" in page.text
    for name in CONTROLS:
        assert name in page.text


def test_a_slope_known_in_closed_form_is_found() -> None:
    robust = np.linspace(0.1, 0.7, 13)
    assert exchange_rate(np.column_stack([0.99 - 0.4 * (robust - 0.1), robust])) == pytest.approx(0.4)
    assert exchange_rate(np.array([[0.9, 0.2], [0.8, 0.7]])) == pytest.approx(0.2)
    assert exchange_rate(np.array([[0.9, 0.2]])) is None
    assert exchange_rate(np.array([[0.9, 0.2], [0.9, 0.2]])) is None


def test_the_interval_of_the_slope_includes_the_true_slope() -> None:
    random, images = np.random.default_rng(0), 500
    true = np.array([[0.95, 0.3], [0.85, 0.5], [0.75, 0.7]])
    included = []
    for _ in range(100):
        robust = random.binomial(images, true[:, 1])
        clean = robust + random.binomial(images - robust, (true[:, 0] - true[:, 1]) / (1 - true[:, 1]))
        interval = exchange_rate_interval(np.column_stack([clean, robust]) / images, images)
        assert interval is not None
        included.append(interval[0] <= 0.5 <= interval[1])
    assert np.mean(included) >= 0.9
    assert exchange_rate_interval(np.array([[0.9, 0.5], [0.8, 0.52]]), 500) is None


def test_the_cost_in_the_head_has_an_interval_or_was_not_measurable(tmp_path: Path) -> None:
    images = {"train": 1500, "validation": 500, "classes": 10}
    clear = bare_run(tmp_path / "clear", points((0.95, 0.3), (0.85, 0.5), (0.75, 0.7)), images=images)
    assert "costs about 0.5 points of clean accuracy (95% interval 0." in sentences(read_run_data(clear))[1]
    close = bare_run(tmp_path / "close", points((0.90, 0.50), (0.80, 0.51)), images=images)
    assert sentences(read_run_data(close))[1].startswith("No cost of robust accuracy was measurable: ")
    unknown = bare_run(tmp_path / "unknown", points((0.95, 0.3), (0.75, 0.7)))
    assert sentences(read_run_data(unknown))[1].startswith("The cost of robust accuracy is not known: ")


def test_controls_are_compared_with_the_right_member(tmp_path: Path) -> None:
    rows = points((0.95, 0.40), (0.90, 0.60), (0.80, 0.65))
    rows += points(
        (0.89, 0.55), (0.90, 0.50), (0.99, 0.05), (0.80, 0.65), (0.70, 0.65), origin="control", name=""
    )
    for row, name in zip(rows[3:], ("worse", "equal_clean", "best", "copy", "equal_robust"), strict=True):
        row["name"] = name
    compared = compare_controls(read_run_data(bare_run(tmp_path, rows)))
    sentences_by_name = {name: sentence for name, _, sentence in compared}
    assert sentences_by_name == {
        "worse": "Dominated by network 1: 5.0 points more robust accuracy, 1.0 point more clean accuracy.",
        "equal_clean": "Dominated by network 1: 10.0 points more robust accuracy, the same clean accuracy.",
        "best": "Not dominated by any searched network; it is on the front.",
        "copy": "Not dominated by any searched network; it is on the front.",
        "equal_robust": "Dominated by network 2: 10.0 points more clean accuracy, the same robust accuracy.",
    }


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59.6, "1 min 00 s"), (192, "3 min 12 s"), (7500, "2 h 05 min"), (-1, "0 s")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (8 / 255, "8/255"),
        (0.2, "0.2"),
        (1e-5, "1e-05"),
        (0.123456, "0.123"),
        (6.0, "6"),
        (1 / 255, "1/255"),
        (0.5 / 255, "0.00196"),
    ],
)
def test_numbers(value: float, words: str) -> None:
    assert format_number(value) == words


def test_parameters_are_read_placed_and_written() -> None:
    described = [
        {"name": "epsilon", "type": "float", "low": "2/255", "high": "16/255", "log": False, "when": {}},
        {"name": "alpha", "type": "float", "low": 0.001, "high": 10.0, "log": True},
        {"name": "batch_size", "type": "categorical", "choices": [32, 64, None, True], "when": {"a": ["b"]}},
        {"name": "steps", "type": "int", "low": 1, "high": 1},
    ]
    epsilon, alpha, batch, steps = read_parameters(described)
    assert epsilon.position(9 / 255) == pytest.approx(0.5)
    assert epsilon.text(9 / 255) == "9/255"
    assert epsilon.position(0.2) is None
    assert alpha.position(0.1) == pytest.approx(0.5)
    assert alpha.position(0) is None
    assert (batch.value(32.0), batch.value("64"), batch.value("True"), batch.value(math.nan)) == (
        "32",
        "64",
        "True",
        None,
    )
    assert batch.position(64) == pytest.approx(1 / 3)
    assert batch.position("unknown") is None
    assert steps.ticks() == [(0.5, "1")]
    assert [text for _, text in epsilon.ticks()][0::100] == ["2/255"]
    for parameter in (epsilon, alpha, batch):
        places = [place for place, _ in parameter.ticks()]
        assert places == sorted(places)
        assert places[0] == 0
        assert places[-1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("low", "high"), [(0.01, 0.3), (1, 12), (0, 1), (-5, 5), (1e-9, 2e-9), (100, 1e6), (86.9, 98.3)]
)
def test_axis_values_are_few_and_in_order(low: float, high: float) -> None:
    values = nice_values(low, high)
    assert 3 <= len(values) <= 8
    assert values == sorted(values)
    assert (values[0], values[-1]) == (low, high)


# figures


def themed(value: Any) -> Any:
    """A figure with plain colours in place of the page's names, so that Plotly can check it."""
    if isinstance(value, str) and value.startswith("@"):
        return "serif" if value == "@sans" else "#123456"
    if isinstance(value, dict):
        return {key: themed(entry) for key, entry in value.items()}
    return [themed(entry) for entry in value] if isinstance(value, list) else value


def test_plotly_knows_every_attribute_of_every_figure(run_data: RunData) -> None:
    table = importance(run_data.searched, run_data.parameters)
    bars = [
        importance_figure(rows, {"beta"}, 50)
        for _, rows in table.groupby("target", sort=False, as_index=False)
    ]
    assert all(len(figure["data"][0]["y"]) >= 6 for figure in bars)
    curves = [figure for _, figure in learning_figures(run_data)]
    assert len(curves) == 2
    slices = [slice_figure(run_data, parameter) for parameter in run_data.parameters]
    for figure in (front_figure(run_data), history_figure(run_data), *bars, *curves, *slices):
        go.Figure(themed(figure))


def test_the_front_figure_shows_every_trial_once(run_data: RunData) -> None:
    traces = {trace["name"]: trace for trace in front_figure(run_data)["data"] if "hovertext" in trace}
    assert {name: len(trace["x"]) for name, trace in traces.items()} == {
        "trials": len(run_data.searched) - len(run_data.front), "front": len(run_data.front),
        "controls": len(CONTROLS), "front, test split": len(run_data.front),
    }  # fmt: skip
    member = run_data.front.iloc[0]
    hover = traces["front"]["hovertext"][0]
    assert f"network {member['number']}" in hover
    assert f"epsilon  {format_number(member['param_epsilon'])}" in hover


def test_the_steps_are_the_border_of_what_the_front_dominates(run_data: RunData) -> None:
    limits = ((80.0, 100.0), (0.0, 80.0))
    xs, ys = step_line(run_data.front, limits)
    area = sum((x1 - x0) * y for x0, x1, y in zip(xs, xs[1:], ys, strict=False)) / 1e4
    assert area + 0.8 * max(ys) / 100 == pytest.approx(run_data.hypervolume, abs=1e-5)
    assert (xs[0], ys[-1]) == (80.0, 0.0)


def test_parallel_coordinates_hold_every_searched_trial(run_data: RunData) -> None:
    data = parallel_data(run_data)
    assert len(data["rows"]) == len(run_data.searched)
    assert sum(row["front"] for row in data["rows"]) == len(run_data.front)
    assert all(
        len(row["places"]) == len(data["axes"]) == len(run_data.parameters) + 2 for row in data["rows"]
    )
    assert all(place is None or 0 <= place <= 1 for row in data["rows"] for place in row["places"])
    beta = [parameter.name for parameter in run_data.parameters].index("beta")
    without = {row["number"] for row in data["rows"] if row["places"][beta] is None}
    assert without == set(run_data.searched.loc[run_data.searched["param_accuracy_loss"] == "pgd", "number"])


def test_the_table_of_all_trials_has_the_numbers_of_the_run(run_data: RunData) -> None:
    data, table = trials_data(run_data, None), run_data.trials
    assert [row[0] for row in data["rows"]] == table["number"].tolist()
    assert data["heads"][data["parameters"] :] == [parameter.name for parameter in run_data.parameters]
    for shown, row in zip(data["rows"], table.to_dict("records"), strict=True):
        assert len(shown) == len(data["heads"])
        values = dict(zip(data["heads"], shown, strict=True))
        assert STATES[values["state"]] == row["state"]
        assert values["origin"] == (f"control {row['name']}" if row["origin"] == "control" else "search")
        for head, column in (
            ("clean", "clean_accuracy"),
            ("robust", "robust_accuracy"),
            ("last clean", "last_clean_accuracy"),
            ("last robust", "last_robust_accuracy"),
        ):
            expected = None if np.isnan(row[column]) else pytest.approx(100 * row[column], abs=0.01)
            assert values[head] == expected
        assert values["time (s)"] == pytest.approx(row["seconds"], abs=0.051)
        assert values["beta"] == ("" if np.isnan(row["param_beta"]) else f"{row['param_beta']:.3g}")
    assert set(data["members"]) == set(run_data.front["number"])
    failed = run_data.failed["number"].tolist()
    assert all(any("failed: " in line for line in data["notes"][number]) for number in failed)
    # A row of some hundred bytes: 1,000 trials with ten parameters stay below half a megabyte.
    assert len(json.dumps(data["rows"], separators=(",", ":"))) / len(table) < 250


def test_labels_of_a_crowd_lie_apart() -> None:
    crowd = [(50 + 0.1 * k, 50 + 0.1 * k, f"control {k}") for k in range(6)]
    placed = place_labels(crowd, ((0, 100), (0, 100)), [(x, y) for x, y, _ in crowd])
    boxes = []
    for (x, y, text), place in zip(crowd, placed, strict=True):
        width = 6.0 * len(text)
        left = (
            x / 100 * WIDTH + place.xshift - {"left": 0, "center": width / 2, "right": width}[place.xanchor]
        )
        low = y / 100 * HEIGHT + place.yshift - {"bottom": 0, "middle": 6, "top": 12}[place.yanchor]
        boxes.append((left, low, left + width, low + 12))
    for index, one in enumerate(boxes):
        for other in boxes[:index]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def test_figures_for_papers_are_whole_and_alike_each_time(made: RunFolder) -> None:
    before = {path.name: path.read_bytes() for path in made.figures.iterdir()}
    assert {name for name in before if not name.endswith(".csv")} == {"front.png", "front.svg", "front.pdf"}
    write_report(made)
    assert {path.name: path.read_bytes() for path in made.figures.iterdir()} == before
    with Image.open(made.figures / "front.png") as image:
        assert min(image.size) >= 900
        colours = image.convert("RGB").getcolors(1 << 24) or []
    assert {(11, 90, 138), (196, 80, 27)} <= {colour for _, colour in colours}
    assert b"/FontFile2" in before["front.pdf"]  # TrueType, embedded
    assert b"/Type3" not in before["front.pdf"]
    assert before["front.svg"].startswith(b"<?xml")
    assert b"<text" not in before["front.svg"]  # outlines: looks alike without the font


def boxes_of(figure: dict[str, Any]) -> list[tuple[str, tuple[float, float, float, float]]]:
    """The boxes of the labels of a figure, in pixels of the inner size for which they were placed."""
    (left, right), (low, high) = (figure["layout"][axis]["range"] for axis in ("xaxis", "yaxis"))
    boxes = []
    for note in figure["layout"]["annotations"]:
        x = (note["x"] - left) / (right - left) * WIDTH + note.get("xshift", note.get("ax", 0))
        y = (note["y"] - low) / (high - low) * HEIGHT + note.get("yshift", -note.get("ay", 0))
        width = 5.5 * len(note["text"])
        x -= {"left": 0, "center": width / 2, "right": width}[note["xanchor"]]
        y -= {"bottom": 0, "middle": 6, "top": 12}[note["yanchor"]]
        boxes.append((note["text"], (x, y, x + width, y + 12)))
    return boxes


def overlaps(boxes: list[tuple[str, tuple[float, float, float, float]]]) -> list[tuple[str, str]]:
    return [
        (name, rival)
        for index, (name, one) in enumerate(boxes)
        for rival, other in boxes[:index]
        if min(one[2], other[2]) - max(one[0], other[0]) > 1
        and min(one[3], other[3]) - max(one[1], other[1]) > 1
    ]


def test_the_axes_follow_the_front_and_controls_outside_are_named(tmp_path: Path) -> None:
    rows = points((0.95, 0.40), (0.90, 0.60), (0.20, 0.10))
    rows += points((0.93, 0.45), (0.50, 0.55), (0.96, 0.0), (0.30, 0.1), origin="control", name="")
    for row, name in zip(rows[3:], ("near", "left", "below", "corner"), strict=True):
        row["name"] = name
    rows[5]["clean_accuracy"] = 0.94
    run_data = read_run_data(bare_run(tmp_path, rows))
    (left, right), (low, high) = axis_limits(run_data)
    assert 85 < left < 90
    assert 95 < right < 98
    assert 33 < low < 40
    assert 60 < high < 66
    figure = front_figure(run_data)
    assert figure["layout"]["xaxis"]["range"] == [left, right]
    texts = [note["text"] for note in figure["layout"]["annotations"]]
    assert texts[:4] == ["near", "← left (50.0, 55.0)", "↓ below (94.0, 0.0)", "← corner (30.0, 10.0)"]
    assert overlaps(boxes_of(figure)) == []
    for _, box in boxes_of(figure):
        assert min(box) >= -1
        assert box[2] <= WIDTH + 1
        assert box[3] <= HEIGHT + 1
    assert "4 of 7 networks lie outside" in outside_words(run_data)


def test_stopped_trials_are_drawn_faintly_at_their_last_epoch(tmp_path: Path) -> None:
    run_data = read_run_data(make_run(tmp_path, trials=30, pruned=8))
    (trace,) = [trace for trace in front_figure(run_data)["data"] if trace.get("name") == "stopped early"]
    assert sorted(trace["x"]) == pytest.approx(
        sorted(run_data.stopped["last_clean_accuracy"] * 100), abs=1e-3
    )
    assert trace["marker"]["opacity"] < 0.5
    assert "Faint crosses are trials that were stopped early" in read(run_data.run).text


def test_clean_and_robust_accuracy_have_their_own_scale_in_the_slices(run_data: RunData) -> None:
    figure = slice_figure(run_data, run_data.parameters[0])
    assert [trace["yaxis"] for trace in figure["data"]] == ["y2", "y"]
    assert figure["layout"]["yaxis"]["domain"][1] < figure["layout"]["yaxis2"]["domain"][0]
    assert "range" not in figure["layout"]["yaxis"]


# runs of all kinds


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ("running", "No trial has finished yet"),
        ("stopped", "No trial finished with a result"),
        (None, "No trial finished with a result"),
    ],
)
def test_a_run_without_any_trial(tmp_path: Path, status: str | None, sentence: str) -> None:
    page = read(bare_run(tmp_path, [], status=status))
    assert sentence in page.text
    assert "There is no front" in page.text


def test_a_run_whose_files_are_not_there_yet(tmp_path: Path) -> None:
    run = create_run_folder(tmp_path, "new")
    run.write_json(run.settings, {"format": 1})
    assert "No trial finished" in read(run).text
    assert not run.figures.exists()


def test_a_run_in_which_everything_failed(tmp_path: Path) -> None:
    page = read(bare_run(tmp_path, [{"state": "FAIL", "failure": "boom"}] * 3))
    assert "3 of 3 trials failed" in page.text
    assert "boom" in page.text


def test_a_front_of_one(tmp_path: Path) -> None:
    run = bare_run(tmp_path, points((0.9, 0.5), (0.8, 0.4)))
    assert "One network on the front: 90.0% clean, 50.0% robust" in read(run).text
    assert "costs about" not in " ".join(sentences(read_run_data(run)))


def test_equal_accuracies_everywhere(tmp_path: Path) -> None:
    run = bare_run(tmp_path, points(*[(0.5, 0.5)] * 20))
    assert headline(read_run_data(run)).startswith("20 networks")
    read(run)


def test_nan_and_halves_do_not_count_as_results(tmp_path: Path) -> None:
    run = bare_run(tmp_path, points((0.9, 0.5), (math.nan, 0.9), (0.95, math.nan)))
    assert read_run_data(run).front["number"].tolist() == [0]
    json.loads(read(run).data)


def test_a_search_that_still_runs_and_was_never_tested(tmp_path: Path) -> None:
    page = read(make_run(tmp_path, trials=4, failures=1, tested=False, epochs=False, status="running"))
    assert "still running" in page.text
    assert "The front has not been measured on the test split" in page.text
    assert "Too few trials: 3 searched trials finished, and the importance needs at least 10" in page.text
    assert "test clean" not in page.text
    assert "Learning curves" not in page.text


def test_trials_that_were_stopped_early(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=30, pruned=8)
    assert dict(key_figures(read_run_data(run)))["Trials"] == "25 finished, 8 stopped early, 2 failed"
    before = read_run_data(run)
    rewrite(run, clean_accuracy=run.read_trials()["clean_accuracy"].fillna(0.999))
    rewrite(run, robust_accuracy=run.read_trials()["robust_accuracy"].fillna(0.999))
    run_data = read_run_data(run)
    assert set(run_data.front["state"]) == {"COMPLETE"}
    for draw in (front_figure, history_figure):  # the accuracies of a stopped trial are no result
        assert draw(run_data)["data"] == draw(before)["data"]


def test_the_written_front_is_believed_and_gives_the_test_accuracies(tmp_path: Path) -> None:
    run = bare_run(tmp_path, points((0.9, 0.5), (0.8, 0.6)))
    row = dict.fromkeys(FRONT_COLUMNS) | {
        "number": 1,
        "test_clean_accuracy": 0.7,
        "test_robust_accuracy": 0.123,
    }
    run.write_table(run.front, pd.DataFrame([row]))
    run_data = read_run_data(run)
    assert run_data.front["number"].tolist() == [1]
    assert run_data.tested
    assert "12.3%" in read(run).text


def test_a_thousand_trials_are_quick_and_the_page_stays_small(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=1000, failures=30)
    start = time.perf_counter()
    page = write_report(run)
    assert time.perf_counter() - start < 60  # 7 s on two cores of 2024
    assert page.stat().st_size < 8_000_000


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"'&<b> $title ${x} @ink"


def test_nothing_in_a_run_can_break_out_of_its_place(tmp_path: Path) -> None:
    run = make_run(tmp_path, "hostile", trials=20, failures=2)
    settings = json.loads(run.settings.read_text(encoding="utf-8"))
    settings |= {
        "name": HOSTILE,
        "warnings": [HOSTILE],
        "device": HOSTILE,
        "command": [HOSTILE],
        "commit": HOSTILE,
        "status": HOSTILE,
    }
    settings["versions"][HOSTILE] = HOSTILE
    settings["space"]["network"]["name"] = HOSTILE
    settings["space"]["data"]["name"] = HOSTILE
    settings["space"]["parameters"][1]["choices"].append(HOSTILE)
    settings["space"]["parameters"].append(
        {"name": HOSTILE, "type": "categorical", "choices": [HOSTILE], "when": {}}
    )
    run.write_json(run.settings, settings)
    run.write_text(run.space, HOSTILE)
    trials = run.read_trials()
    trials[f"param_{HOSTILE}"] = HOSTILE
    rewrite(
        run,
        name=trials["name"].where(trials["origin"] != "control", HOSTILE),
        failure=trials["failure"].where(trials["state"] != "FAIL", HOSTILE),
    )
    run.write_table(
        run.trials, run.read_trials().assign(param_accuracy_loss=HOSTILE, **{f"param_{HOSTILE}": HOSTILE})
    )
    page = read(run)
    assert sum(tag == "script" for tag, _ in page.tags) == 3
    assert not [tag for tag, _ in page.tags if tag in ("img", "b")]
    assert "alert(1)" in page.text
    figures = json.loads(page.data)
    hovers = [text for trace in figures["front"]["data"] for text in trace.get("hovertext", [])]
    assert hovers
    assert all(set(re.findall(r"<[^>]*>", text)) <= {"<br>", "<b>", "</b>"} for text in hovers)
    assert all("<" not in note["text"] for note in figures["front"]["layout"]["annotations"])


def test_the_overrides_of_a_control_are_listed_once(made: RunFolder) -> None:
    page = made.report.read_text(encoding="utf-8")
    settings = page.partition('id="settings"')[2]
    row = re.search(r"<th scope=row>morel_alpha0</th><td>(.*?)</td>", settings)
    assert row is not None
    [overrides] = (
        control["overrides"]
        for control in made.read_settings().controls
        if control["name"] == "morel_alpha0" and isinstance(control["overrides"], dict)
    )
    assert overrides["alpha"] == 0
    assert row[1] == ", ".join(f"{key} {value}" for key, value in overrides.items())


def test_a_lower_bound_of_zero_is_listed(tmp_path: Path) -> None:
    parameter = {"name": "k_robust", "type": "float", "low": 0.0, "high": 1.0, "log": False, "when": {}}
    run = bare_run(tmp_path, points((0.9, 0.5)), space={"parameters": [parameter]})
    assert "<td>type float, low 0.0, high 1.0</td>" in write_report(run).read_text(encoding="utf-8")


def test_very_long_names_and_reasons_are_cut(tmp_path: Path) -> None:
    rows = [
        *points((0.9, 0.5), origin="control", name="n" * 5000),
        {"state": "FAIL", "failure": f"{'x' * 9000} end"},
    ]
    page = read(bare_run(tmp_path, rows))
    assert "x" * 601 not in page.text
    assert "end" in page.text
    assert all(len(note["text"]) <= 30 for note in json.loads(page.data)["front"]["layout"]["annotations"])


def test_the_page_asks_nothing_of_the_network(made: RunFolder) -> None:
    page = Reader(made.report.read_text(encoding="utf-8"))
    for tag, attributes in page.tags:
        assert not attributes.get("src")
        if tag in ("link", "a"):
            assert not re.match(r"\w+:(?!,)|//", (attributes["href"] or "").removeprefix("data:"))
    policy = next(attributes["content"] for _, attributes in page.tags if "http-equiv" in attributes)
    assert "default-src 'none'" in str(policy)


def test_links_lead_to_files(made: RunFolder) -> None:
    page = Reader(made.report.read_text(encoding="utf-8"))
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    links = [link for link in links if not str(link).startswith("#")]
    assert len(links) == 6
    assert all((made.path / str(link)).is_file() for link in links)


# the command


def test_the_command_draws_the_page_again(made: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    made.report.unlink()
    assert main([str(made.path)]) == 0
    assert capsys.readouterr().out.strip() == str(made.report)
    assert made.report.is_file()


def test_a_mistake_is_one_sentence_and_exit_code_2(
    made: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(made.path.parent / "absent")]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert "does not exist; runs in" in output.err


def test_a_damaged_table_is_one_sentence(made: RunFolder, tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=3, failures=0)
    run.trials.write_text("number\n")
    with pytest.raises(RunFolderError, match=r"trials\.csv is damaged"):
        write_report(run)


def test_help_is_quick_and_reading_needs_neither_torch_nor_ray(made: RunFolder) -> None:
    heavy = "{'pandas', 'numpy', 'matplotlib', 'plotly', 'optuna', 'torch', 'ray'}"
    code = (
        "import sys; from morel_search.report import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    )
    code += f"print(sorted(set(sys.modules) & {heavy}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"
    assert "results/digits" in out
    code = f"import sys; from morel_search.report import main; main([{str(made.path)!r}]); "
    code += "print(sorted(set(sys.modules) & {'torch', 'ray'}))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.splitlines()[-1] == "[]"


def test_the_made_settings_are_those_of_a_real_space(made: RunFolder) -> None:
    from run_folders import make_space

    assert made.read_settings().space == json.loads(
        json.dumps(settings_of(make_space(), "x", "finished")["space"])
    )
