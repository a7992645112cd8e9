"""The report in a real browser without network access: every figure is drawn, the console stays empty."""

from __future__ import annotations

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pytest
from run_folders import make_run
from verified_runs import verified_run

from morel_search.analysis.report.page import write_report
from morel_search.results.folder import RunFolder
from morel_search.results.new_run import create_run_folder

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser: none of {', '.join(BROWSERS)} is on PATH"
)


class Addressed(Protocol):
    """What a browser can open."""

    def as_uri(self) -> str: ...


OPEN = """<script>document.getElementById("fold").click();</script>"""
"""Opens all sections, as the button does."""


def with_script(page: Path, script: str) -> Path:
    """Add a script to the end of a page."""
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{script}</body>"), encoding="utf-8")
    return page


def open_page(page: Path | Addressed, profile: Path, *options: str, fragment: str = "") -> tuple[str, str]:
    """The page's elements after its scripts have run, and what the browser said."""
    assert BROWSER is not None
    command = [
        BROWSER, "--headless", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={profile}",
        "--enable-logging=stderr", "--v=0", "--virtual-time-budget=10000", "--window-size=1400,2000",
        *options, "--dump-dom", f"{page.as_uri()}{fragment}",
    ]  # fmt: skip
    if os.geteuid() == 0:
        command.insert(1, "--no-sandbox")  # Chromium refuses to start as root with it
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def console(said: str) -> list[str]:
    return [line for line in said.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("options", [(), ("--blink-settings=preferredColorScheme=0",)], ids=["light", "dark"])
def test_every_figure_is_drawn_and_the_console_is_silent(tmp_path: Path, options: tuple[str, ...]) -> None:
    page = with_script(write_report(make_run(tmp_path, trials=30)), OPEN)
    dom, said = open_page(page, tmp_path / "profile", *options)
    assert console(said) == []
    places = set(re.findall(r'id="(figure-[\w-]+)"', dom))
    assert {
        "figure-front",
        "figure-history",
        "figure-importance-clean_accuracy",
        "figure-importance-robust_accuracy",
        "figure-importance-front",
        "figure-curve-0",
        "figure-curve-1",
        "figure-slice-0",
    } <= places
    for place in places:
        assert re.search(rf'id="{place}"[^>]*>(?:(?!id="figure-).)*?class="main-svg"', dom, re.DOTALL), place
    assert len(re.findall(r'<path d="M', dom[dom.index('id="parallel"') :])) >= 28
    assert 'data-drawn="yes"' in dom
    ink = "233, 230, 223" if options else "29, 28, 26"
    assert f"rgb({ink})" in dom


def test_an_empty_run_and_hostile_words_make_no_noise(tmp_path: Path) -> None:
    empty = create_run_folder(tmp_path, "empty")
    empty.write_json(
        empty.settings, {"format": 1, "warnings": ["</script><script>console.error('broken out')</script>"]}
    )
    dom, said = open_page(write_report(empty), tmp_path / "profile")
    assert console(said) == []
    assert 'data-drawn="yes"' in dom


def test_the_console_is_heard(tmp_path: Path) -> None:
    page = tmp_path / "loud.html"
    page.write_text("<script>console.error('heard'); fetch('http://example.org/')</script>")
    _, said = open_page(page, tmp_path / "profile")
    assert any("heard" in line for line in console(said))


ACT = """<script>
document.getElementById("fold").click();
document.querySelectorAll("table.sortable thead button")[2].click();
Element.prototype.setPointerCapture = () => {};  // a made-up pointer cannot be captured
const zone = document.querySelectorAll("#parallel rect.zone")[0], box = zone.getBoundingClientRect();
const at = (share) => ({ clientX: box.x, clientY: box.y + box.height * share, pointerId: 1, bubbles: true });
const point = (kind, share) => zone.dispatchEvent(new PointerEvent(kind, at(share)));
point("pointerdown", 0.0);
point("pointermove", 0.5);
point("pointerup", 0.5);
</script>"""


def test_a_click_sorts_the_table_and_a_drag_keeps_a_range(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=30)
    page = with_script(write_report(run), ACT)
    dom, said = open_page(page, tmp_path / "profile")
    assert console(said) == []
    body = dom[dom.index("<tbody>") : dom.index("</tbody>")]
    robust = [float(row.split("data-value=")[3].split('"')[1]) for row in body.split("<tr>")[1:]]
    assert len(robust) == len(run.read_front()) > 3
    assert robust == sorted(robust, reverse=True)
    trials = run.read_trials()
    searched = trials[(trials["state"] == "COMPLETE") & (trials["origin"] == "search")]
    lower = int((searched["param_epsilon"] < (0.01 + 0.3) / 2 - 0.005).sum())
    higher = int((searched["param_epsilon"] < (0.01 + 0.3) / 2 + 0.005).sum())
    assert 0 < lower <= len(re.findall(r'class="(?:front )?off"', dom)) <= higher < len(searched)


def test_a_run_with_one_network(tmp_path: Path) -> None:
    run: RunFolder = make_run(tmp_path, trials=1, failures=0, controls=False, tested=False, epochs=False)
    dom, said = open_page(write_report(run), tmp_path / "profile")
    assert console(said) == []
    assert 'class="main-svg"' in dom


def test_stopped_trainings_constraints_and_epochs_are_drawn(tmp_path: Path) -> None:
    run = make_run(
        tmp_path,
        trials=30,
        pruned=8,
        rungs=(2, 4),
        constraints={"clean_accuracy": ">= 0.9"},
        select_epoch="front",
    )
    dom, said = open_page(with_script(write_report(run), OPEN), tmp_path / "profile")
    assert console(said) == []
    curve = dom[dom.index('id="figure-curve-0"') : dom.index('id="figure-curve-1"')]
    assert len(re.findall(r'<path[^>]*data-index="\d"', curve)) >= 2  # the rungs
    front = dom[dom.index('id="figure-front"') :]
    assert "infeasible" in front[: front.index("</section>")]


PROBE = """<script>
setTimeout(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const parts = all("details.part");
  const state = () => parts.map((part) => part.open);
  const open = parts.filter((part) => part.open).map((part) => part.id);
  const result = { parts: parts.length, openAtFirst: open };
  result.drawnAtFirst = all(".figure[data-drawn]").map((place) => place.id);
  const before = state();
  dispatchEvent(new Event("beforeprint"));
  result.printed = state().every(Boolean) && all(".figure").every((place) => place.dataset.drawn);
  dispatchEvent(new Event("afterprint"));
  result.restored = JSON.stringify(state()) === JSON.stringify(before);
  document.getElementById("fold").click();
  result.opened = state().every(Boolean);
  setTimeout(() => {
    result.wide = all(".cut").filter((frame) => {
      const box = frame.firstElementChild;
      return (box.scrollWidth - box.clientWidth >= 2) !== ("more" in frame.dataset && box.tabIndex === 0);
    }).length;
    result.cut = all(".cut[data-more]").length;
    const overflow = document.documentElement.scrollWidth - innerWidth;
    result.overflow = overflow;
    result.unsorted = [];
    result.buttons = 0;
    for (const table of all("table.sortable")) {
      const label = table.closest(".scroll").getAttribute("aria-label");
      all("thead th", table).forEach((head, column) => {
        head.querySelector("button").click();
        result.buttons += 1;
        const value = (row) => Number(row.cells[column].dataset.value ?? NaN);
        const values = [...table.tBodies[0].rows].map(value).filter((number) => !isNaN(number));
        const sorted = values.every((number, index) => index === 0 || values[index - 1] >= number);
        const marked = head.getAttribute("aria-sort") === "descending";
        if (!sorted || !marked) result.unsorted.push(`${label}: ${column}`);
      });
    }
    result.otherButtons = all("thead button").filter((button) => !button.closest("table.sortable")).length;
    const target = (link) => document.getElementById(link.hash.slice(1));
    result.links = all("nav a").map((link) => [link.hash, target(link) !== null]);
    const ids = all("[id]").filter((node) => !node.closest("svg")).map((node) => node.id);
    result.repeated = ids.filter((id, index) => ids.indexOf(id) !== index);
    document.body.dataset.result = JSON.stringify(result);
  }, 1500);
}, 500);
</script>"""


@pytest.mark.parametrize("width", [500, pytest.param(1600, marks=pytest.mark.slow)])
def test_sections_fold_print_and_sort(tmp_path: Path, width: int) -> None:
    """A verified page: folded sections, the contents bar, paper, cut tables, sortable headings."""
    run, _ = verified_run(tmp_path)
    page = with_script(write_report(run), PROBE)
    dom, said = open_page(page, tmp_path / "profile", f"--window-size={width},2000")
    assert console(said) == []
    result = result_of(dom)
    assert result["openAtFirst"] == []
    assert result["parts"] >= 10
    assert result["drawnAtFirst"] == ["figure-verified"], "a folded figure is drawn when it is opened"
    assert result["printed"], "paper has all sections with their figures"
    assert result["restored"]
    assert result["opened"]
    assert result["wide"] == 0, "the sign is there exactly where a table is cut"
    assert result["cut"] >= (3 if width == 500 else 1)
    assert result["overflow"] <= 0, "the page itself does not scroll sideways"
    assert result["unsorted"] == []
    assert result["buttons"] > 20
    assert result["otherButtons"] == 0
    assert [link for link, _ in result["links"]] == [
        "#tradeoff", "#choose", "#trust", "#gain", "#drivers", "#cost", "#again",
    ]  # fmt: skip
    assert all(there for _, there in result["links"])
    assert result["repeated"] == []


def test_a_link_into_a_folded_section_opens_it(tmp_path: Path) -> None:
    page = write_report(make_run(tmp_path, trials=20))
    dom, said = open_page(page, tmp_path / "profile", fragment="#slices")
    assert console(said) == []
    opened = re.findall(r'<details class="part" id="(\w+)" open', dom)
    assert opened == ["slices"]
    part = dom[dom.index('id="figure-slice-0"') :]
    assert 'class="main-svg"' in part[: part.index("</details>")]


SELECT = """<script>
setTimeout(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];
  const get = (ident) => document.getElementById(ident);
  const result = {};
  get("fold").click();
  const state = () => ({
    rings: Object.fromEntries(all(".figure").filter((place) => place.data).map((place) => [place.id,
      place.data.filter((trace) => trace.name === "selected")
        .flatMap((trace) => trace.x.map((x, i) => [x, trace.y[i]]))])),
    paths: all("#parallel path.chosen").map((path) => Number(path.dataset.number)),
    rows: all("#trials-table tr.chosen").map((row) => Number(row.dataset.number)),
    panel: get("chosen").hidden ? null : get("chosen").innerText,
  });
  setTimeout(() => {
    const rows = () => all("#trials-table tbody tr");
    const numbers = () => rows().map((row) => Number(row.dataset.number));
    result.rows = numbers();
    rows()[NUMBER].click();
    result.byRow = state();
    dispatchEvent(new KeyboardEvent("keydown", { key: "Escape" }));
    result.afterEscape = state();
    const figure = get("figure-front");
    const trace = figure.data.find((one) => one.name === "front" && one.customdata);
    const at = trace.customdata.indexOf(NUMBER);
    figure.emit("plotly_click", { points: [{ data: trace, pointNumber: at }] });
    result.byPoint = state();
    const curve = get("figure-curve-0").data.find((one) => typeof one.meta === "number");
    result.curve = curve.meta;
    get("figure-curve-0").emit("plotly_click", { points: [{ data: curve, pointNumber: 0 }] });
    result.byCurve = state();
    get("parallel").dataset.near = String(NUMBER);
    get("parallel").dispatchEvent(new MouseEvent("click", { bubbles: true }));
    result.byPath = state();
    get("chosen").querySelector("button").click();
    result.afterButton = state();
    const first = rows()[0].querySelector("button");
    result.tabStops = all("#trials-table tbody button").filter((button) => button.tabIndex === 0).length;
    first.focus();
    first.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowDown", bubbles: true }));
    document.activeElement.click();
    result.byKeys = state();
    result.pressed = all("#trials-table button[aria-pressed=true]").map((button) => button.textContent);
    result.filtered = {};
    for (const option of all("#trials-state option")) {
      get("trials-state").value = option.value;
      get("trials-state").dispatchEvent(new Event("change"));
      result.filtered[option.textContent] = numbers();
    }
    get("trials-state").value = "";
    get("trials-state").dispatchEvent(new Event("change"));
    all("#trials-table thead button")[5].click();
    result.sorted = numbers();
    result.markedAfterSorting = state().rows;
    document.body.dataset.result = JSON.stringify(result);
  }, 1500);
}, 500);
</script>"""


def result_of(dom: str) -> Any:
    found = re.search(r'data-result="([^"]*)"', dom)
    assert found is not None
    return json.loads(html.unescape(found[1]))


COLOUR = """<script>
document.getElementById("front").open = true;
setTimeout(() => {
  const choice = document.getElementById("colour-by"), figure = document.getElementById("figure-front");
  const key = document.getElementById("colour-key"), result = {};
  const points = () => figure.data.filter((trace) => trace.customdata && trace.name !== "selected")
    .map((trace) => [trace.name, trace.customdata, trace.marker.color]);
  result.before = points();
  for (const option of choice.options) {
    choice.value = option.value;
    choice.dispatchEvent(new Event("change"));
    const swatches = key.querySelectorAll("i").length;
    result[option.textContent] = { points: points(), key: key.textContent, swatches };
  }
  choice.value = "";
  choice.dispatchEvent(new Event("change"));
  result.after = points();
  result.empty = key.textContent;
  document.body.dataset.result = JSON.stringify(result);
}, 1000);
</script>"""


def test_points_are_coloured_by_any_parameter_objective_or_time(tmp_path: Path) -> None:
    run, _ = verified_run(tmp_path)
    table = run.read_trials().set_index("number")
    page = with_script(write_report(run), COLOUR)
    dom, said = open_page(page, tmp_path / "profile")
    assert console(said) == []
    result = result_of(dom)
    assert result["before"] == result["after"] == result["kind of network"]["points"]
    assert result["empty"] == ""
    for name, column, log in (
        ("epsilon", "param_epsilon", False),
        ("robust accuracy (%)", "robust_accuracy", False),
        ("k_robust", "param_k_robust", True),
    ):
        values = table[column]
        if log:  # controls have 0
            values = np.log(values.clip(lower=values[values > 0].min()))
        assert ("or less" in result[name]["key"]) == log == ("logarithmic scale" in result[name]["key"])
        shares = (values - values.min()) / (values.max() - values.min())
        for _, numbers, colours in result[name]["points"]:
            for number, colour in zip(numbers, colours, strict=True):
                if isinstance(colour, str):
                    assert table[column].isna()[number], "a pale trial has no value"
                else:
                    assert colour == pytest.approx(shares[number], abs=0.02)
    classes: dict[str, set[str]] = {}
    for _, numbers, colours in result["accuracy_loss"]["points"]:
        for number, colour in zip(numbers, colours, strict=True):
            classes.setdefault(table["param_accuracy_loss"][number], set()).add(colour)
    assert all(len(colours) == 1 for colours in classes.values())
    assert len(set.union(*classes.values())) == len(classes)
    assert result["accuracy_loss"]["swatches"] == table["param_accuracy_loss"].nunique()
    beta = [colour for _, _, colours in result["beta"]["points"] for colour in colours]
    assert any(isinstance(colour, str) for colour in beta), "a trial without beta is pale"
    assert "pale: no value" in result["beta"]["key"]
    assert {"clean accuracy (%)", "training time (s)", "alpha"} <= set(result)
    assert "logarithmic scale" in result["alpha"]["key"]


def test_a_selection_in_one_view_is_a_selection_in_all(tmp_path: Path) -> None:
    run, verification = verified_run(tmp_path)
    table, front = run.read_trials(), run.read_front()
    network = next(network for network in verification.front if not network.label)
    page = with_script(write_report(run), SELECT.replace("NUMBER", str(network.number)))
    dom, said = open_page(page, tmp_path / "profile")
    assert console(said) == []
    result = result_of(dom)
    assert result["rows"] == table["number"].tolist()
    row = table[table["number"] == network.number].iloc[0]
    point = [100 * row["clean_accuracy"], 100 * row["robust_accuracy"]]
    for view in ("byRow", "byPoint", "byPath"):
        shown = result[view]
        assert shown["rows"] == shown["paths"] == [network.number]
        assert pytest.approx(point, abs=1e-3) in shown["rings"]["figure-front"]
        assert shown["rings"]["figure-verified"] == [
            pytest.approx([100 * accuracy for accuracy in network.accuracy], abs=1e-3)
        ]
        x = row["param_epsilon"]
        assert shown["rings"]["figure-slice-0"] == [
            [pytest.approx(x), pytest.approx(value, abs=0.01)] for value in point
        ]
        assert shown["rings"]["figure-curve-1"], "the curve of a network on the front is marked"
        assert f"--member {network.name}" in shown["panel"]
        assert f"{100 * network.accuracy[1]:.1f}%" in shown["panel"]
        assert f"attack_steps {row['param_attack_steps']:.0f}" in shown["panel"]
    for view in ("afterEscape", "afterButton"):
        assert result[view]["panel"] is None
        assert not any(result[view]["rings"].values())
        assert result[view]["rows"] == result[view]["paths"] == []
    assert result["byCurve"]["rows"] == [result["curve"]]
    assert result["tabStops"] == 1
    assert result["byKeys"]["rows"] == [table["number"].iloc[1]]
    assert result["pressed"] == [str(table["number"].iloc[1])]
    assert result["filtered"]["on the front"] == sorted(front["number"].unique())
    for words, state in (("finished", "COMPLETE"), ("stopped early", "PRUNED"), ("failed", "FAIL")):
        assert result["filtered"][words] == table["number"][table["state"] == state].tolist()
    robust = dict(zip(table["number"], table["robust_accuracy"], strict=True))
    known = [robust[number] for number in result["sorted"] if robust[number] == robust[number]]
    assert known == sorted(known, reverse=True)
    assert len(known) == (table["state"] == "COMPLETE").sum()
    assert result["sorted"][len(known) :] == sorted(result["sorted"][len(known) :])
    assert result["markedAfterSorting"] == [table["number"].iloc[1]]
