"""The slider over the attack radius shows the numbers of the run folder, and only measured ones."""

from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest
from test_report import Reader
from test_report_browser import BROWSER, console, open_page, with_script
from verified_runs import HONEST, copied_run, verified_run

from morel_search.analysis.report.page import report_text, write_report
from morel_search.analysis.report.radius_figures import radius_curves, radius_figure
from morel_search.analysis.run_data import read_run_data
from morel_search.analysis.verification import Verification
from morel_search.analysis.verification_reader import read_verification
from morel_search.results.attack_names import MULTIPLES
from morel_search.results.folder import RunFolder
from morel_search.results.image_order import image_order

OTHERS = [multiple for multiple in MULTIPLES if multiple != 1]


def change(run: RunFolder, name: str, **values: object) -> None:
    """Change keys in the attack record of a network."""
    path = run.path / "verification" / f"{name}.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), encoding="utf-8")


def write_curves(run: RunFolder, names: Sequence[str]) -> None:
    """Give each network another curve, in whole images of the 100 of the diagnostics."""
    for index, name in enumerate(names):
        change(run, name, curve=[(60 - index - 7 * step) / 100 for step in range(8)])


def counted(run: RunFolder, name: str) -> tuple[int, list[float], int]:
    """Return the images of the diagnostics, the curve, and the clean accuracy in images, from the files."""
    record = json.loads((run.path / "verification" / f"{name}.json").read_text("utf-8"))
    with (run.path / "verification" / f"{name}.csv").open(encoding="utf-8") as file:
        clean = np.array([row["clean"] for row in csv.DictReader(file)])
    order = np.random.default_rng(record["seed"]).permutation(len(clean))
    return record["images"], record["curve"], int((clean[order[: record["images"]]] == "1").sum())


def verified(run: RunFolder) -> Verification:
    verification = read_verification(read_run_data(run))
    assert verification is not None
    return verification


def group(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.DOTALL)
    assert found
    return found[found.re.groups]


def page_of(run: RunFolder) -> tuple[str, dict[str, Any]]:
    page = report_text(run)
    return page, json.loads(Reader(page).data)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    run, verification = verified_run(tmp_path_factory.mktemp("slider"))
    write_curves(run, [network.name for network in verification.networks])
    write_report(run)
    return run


def test_every_position_has_the_numbers_of_the_run_folder(drawn: RunFolder) -> None:
    page = drawn.report.read_text(encoding="utf-8")
    figures = json.loads(Reader(page).data)
    positions = figures["radii"]["positions"]
    assert [position["figure"] for position in positions] == [
        "verified" if multiple == 1 else f"radius-{multiple:g}" for multiple in MULTIPLES
    ]
    assert f'value="{MULTIPLES.index(1.0)}"' in group(r'<input type="range"[^>]*>', page)
    networks = verified(drawn).networks
    for multiple in OTHERS:
        traces = [trace for trace in figures[f"radius-{multiple:g}"]["data"] if "customdata" in trace]
        shown = {
            number: (x, y, x - below, y + above)
            for trace in traces
            for number, x, y, below, above in zip(
                trace["customdata"], trace["x"], trace["y"], trace["error_x"]["arrayminus"],
                trace["error_y"]["array"], strict=True,
            )
        }  # fmt: skip
        assert set(shown) == {network.number for network in networks}
        for network in networks:
            images, curve, clean = counted(drawn, network.name)
            robust = round(curve[MULTIPLES.index(multiple)] * images)
            low = binomtest(clean, images).proportion_ci(method="wilson").low
            high = binomtest(robust, images).proportion_ci(method="wilson").high
            expected = (100 * clean / images, 100 * robust / images, 100 * low, 100 * high)
            assert shown[network.number] == pytest.approx(expected, abs=3e-3)


def test_the_front_is_drawn_anew_at_every_radius(drawn: RunFolder) -> None:
    _, figures = page_of(drawn)
    members = [network.name for network in verified(drawn).members]
    for index, multiple in enumerate(MULTIPLES):
        if multiple == 1:
            continue
        line = next(trace for trace in figures[f"radius-{multiple:g}"]["data"] if trace["name"] == "front")
        best = max(counted(drawn, name)[1][index] for name in members)
        assert max(line["y"]) == pytest.approx(100 * best, abs=1e-3)


def test_each_position_names_its_attack_and_its_images(drawn: RunFolder) -> None:
    _, figures = page_of(drawn)
    for multiple, position in zip(MULTIPLES, figures["radii"]["positions"], strict=True):
        assert position["radius"].startswith(f"{multiple:g} ε = ")
        if multiple == 1:
            assert position["note"] == "All attacks that ran, on 400 test images."
        else:
            assert position["note"].startswith("PGD with 20 steps alone, on 100 test images;")
            layout = figures[position["figure"]]["layout"]
            assert layout["yaxis"]["title"]["text"] == f"robust accuracy under PGD at {multiple:g} ε (%)"
    verdicts = {"on the front", "undecided", "beaten"}  # they hold at epsilon, under all attacks
    assert not verdicts & {trace["name"] for trace in figures["radius-0.5"]["data"]}


def test_the_data_of_every_radius_are_a_table(drawn: RunFolder) -> None:
    for multiple in OTHERS:
        head = (drawn.figures / f"radius-{multiple:g}.csv").read_text("utf-8").partition("\n")[0]
        assert f"robust accuracy under PGD at {multiple:g} ε (%)" in head


def test_without_curves_there_is_no_slider(tmp_path: Path) -> None:
    run, verification = copied_run(tmp_path)
    for network in verification.networks:
        change(run, network.name, curve=[])
    page, figures = page_of(run)
    assert "radii" not in figures
    assert not [name for name in figures if name.startswith("radius-")]
    assert 'id="attack-radius"' not in page
    assert "so there is no slider over the radius" in page


def test_curves_of_controls_alone_make_no_slider(tmp_path: Path) -> None:
    run, verification = copied_run(tmp_path)
    for network in verification.members:
        change(run, network.name, curve=[])
    assert "radii" not in page_of(run)[1]


@pytest.mark.parametrize(
    "values",
    [
        {"curve": []},
        {"images": 60},  # other images than the others
        {"curve": [1.0] * 8},  # more images robust than correct: these were other images
    ],
    ids=["no curve", "fewer images", "other images"],
)
def test_a_network_without_comparable_figures_is_left_out_and_named(
    tmp_path: Path, values: dict[str, object]
) -> None:
    run, verification = copied_run(tmp_path)
    out = verification.members[0]
    change(run, out.name, **values)
    page, figures = page_of(run)
    numbers = [n for trace in figures["radius-0.5"]["data"] for n in trace.get("customdata", [])]
    assert out.number not in numbers
    assert len(numbers) == len(verification.networks) - 1
    assert f"not measured at these radii on the same images: {out.reference}." in page


def test_the_clean_accuracy_needs_every_image(tmp_path: Path) -> None:
    run, _ = verified_run(tmp_path, attacked=50)  # of the 100 images of the diagnostics, in no order
    assert radius_curves(verified(run)) is None


def test_a_flagged_network_is_marked_and_not_on_the_line(tmp_path: Path) -> None:
    masked = replace(HONEST, zero_gradients=0.9, curve=(0.8,) * 8)
    run, verification = copied_run(tmp_path)
    name = verification.members[0].name
    change(run, name, zero_gradients=masked.zero_gradients, curve=list(masked.curve))
    _, figures = page_of(run)
    traces = {trace["name"]: trace for trace in figures["radius-0.5"]["data"]}
    assert traces["flagged"]["y"] == [80.0]
    assert max(traces["front"]["y"]) == 50.0


def test_of_many_networks_those_on_the_line_are_named(tmp_path: Path) -> None:
    _, verification = copied_run(tmp_path)
    one = verification.members[0]
    many = [
        replace(
            one, name=f"n{index}", number=index, curve_clean=60 + index,
            diagnostics=replace(HONEST, curve=((55 - index) / 100 if index < 3 else 0.1,) * 8),
        )
        for index in range(30)
    ]  # fmt: skip
    controls = [network for network in verification.networks if not network.member]
    crowd = replace(verification, networks=(*many, *controls))
    curves = radius_curves(crowd)
    assert curves is not None
    texts = {note["text"].strip("← ").split(" (")[0] for note in named(radius_figure(crowd, curves, 0))}
    assert texts == {"n0", "n1", "n2", "n29", *(control.label for control in controls)}


def named(figure: dict[str, Any]) -> list[dict[str, Any]]:
    notes: list[dict[str, Any]] = figure["layout"]["annotations"]
    return notes


def test_part_of_an_order_is_its_beginning() -> None:
    assert sorted(image_order(3, 50)) == list(range(50))
    assert list(image_order(3, 50)) == list(image_order(3, 50))
    assert list(image_order(3, 50)) != list(image_order(4, 50))


MOVE = """<script>
const slider = document.getElementById("attack-radius"), place = document.getElementById("figure-verified");
const state = () => [slider.getAttribute("aria-valuetext"),
  document.getElementById("radius-note").textContent,
  place.data.filter((trace) => trace.customdata).flatMap((trace) => trace.y), place.layout.yaxis.title.text];
const seen = [state()];
for (const value of ["0", "7", "3"]) {
  slider.value = value;
  slider.dispatchEvent(new Event("input"));
  seen.push(state());
}
const out = document.createElement("pre");
out.id = "seen";
out.textContent = JSON.stringify([!slider.parentNode.hidden, slider.labels[0].textContent, seen]);
document.body.append(out);
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is on PATH")
def test_the_slider_draws_the_figure_of_its_position_and_comes_back(drawn: RunFolder, tmp_path: Path) -> None:
    _, figures = page_of(drawn)
    copy = tmp_path / "page.html"
    copy.write_bytes(drawn.report.read_bytes())
    dom, said = open_page(with_script(copy, MOVE), tmp_path / "profile")
    assert console(said) == []
    visible, label, seen = json.loads(html.unescape(group(r'<pre id="seen">(.*?)</pre>', dom)))
    assert (visible, label) == (True, "Attack radius")
    order = [figures["radii"]["positions"][index] for index in (3, 0, 7, 3)]
    for (value, note, heights, title), position in zip(seen, order, strict=True):
        figure = figures[position["figure"]]
        assert (value, note) == (position["radius"], position["note"])
        assert heights == [y for trace in figure["data"] if "customdata" in trace for y in trace["y"]]
        assert title == figure["layout"]["yaxis"]["title"]["text"]
