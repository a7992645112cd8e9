"""The report in a real browser without network access: every figure is drawn, the console stays empty."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from run_folders import make_run

from morel_search.analysis.report.page import write_report
from morel_search.results.folder import RunFolder
from morel_search.results.new_run import create_run_folder

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)

pytestmark = pytest.mark.skipif(
    BROWSER is None, reason=f"no browser: none of {', '.join(BROWSERS)} is on PATH"
)


def open_page(page: Path, profile: Path, *options: str) -> tuple[str, str]:
    """The page's elements after its scripts have run, and what the browser said."""
    assert BROWSER is not None
    command = [
        BROWSER, "--headless", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update", "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={profile}",
        "--enable-logging=stderr", "--v=0", "--virtual-time-budget=10000", "--window-size=1400,2000",
        *options, "--dump-dom", page.as_uri(),
    ]  # fmt: skip
    if os.geteuid() == 0:
        command.insert(1, "--no-sandbox")  # Chromium refuses to start as root with it
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


def console(said: str) -> list[str]:
    return [line for line in said.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("options", [(), ("--blink-settings=preferredColorScheme=0",)], ids=["light", "dark"])
def test_every_figure_is_drawn_and_the_console_is_silent(tmp_path: Path, options: tuple[str, ...]) -> None:
    page = write_report(make_run(tmp_path, trials=30))
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
    page = write_report(run)
    page.write_text(page.read_text(encoding="utf-8").replace("</body>", f"{ACT}</body>"), encoding="utf-8")
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
    dom, said = open_page(write_report(run), tmp_path / "profile")
    assert console(said) == []
    curve = dom[dom.index('id="figure-curve-0"') : dom.index('id="figure-curve-1"')]
    assert len(re.findall(r'<path[^>]*data-index="\d"', curve)) >= 2  # the rungs
    front = dom[dom.index('id="figure-front"') :]
    assert "infeasible" in front[: front.index("</section>")]
