"""The pages under axe-core, the accessibility checker, in a real browser and in both colour schemes."""

from __future__ import annotations

import html
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from run_folders import make_run
from test_live import Address, serving
from test_report_browser import BROWSER, OPEN, open_page, with_script
from verified_runs import verified_run

from morel_search.analysis.comparison.runs import read_comparison
from morel_search.analysis.report.comparison_files import write_comparison
from morel_search.analysis.report.live import LivePage
from morel_search.analysis.report.page import write_report
from morel_search.results.new_run import create_run_folder

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium is on PATH")]

RUN_AXE = """<script>%s</script><script>
axe.run(document, { resultTypes: ["violations"] }).then((found) => {
  const place = document.createElement("pre");
  place.id = "axe-found";
  place.textContent = JSON.stringify(found.violations.map(
    (rule) => [rule.impact, rule.id, rule.nodes.map((node) => node.html.slice(0, 200))]));
  document.body.append(place);
});
</script>"""

DARK = "--blink-settings=preferredColorScheme=0"


def check() -> str:
    """Return the script that opens all sections and runs axe-core."""
    return OPEN + RUN_AXE % files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")


def findings(page: Path, profile: Path, *options: str) -> dict[str, Any]:
    """Return the rules of axe-core that a page breaks seriously or critically, with the elements."""
    return findings_of(open_page(with_script(page, check()), profile, *options)[0])


def findings_of(dom: str) -> dict[str, Any]:
    """Return the same from the elements of a page on which :func:`check` has run."""
    found = re.search(r'<pre id="axe-found">(.*?)</pre>', dom, re.DOTALL)
    assert found, "axe-core did not end"
    rules = json.loads(html.unescape(found[1]))
    return {name: nodes for impact, name, nodes in rules if impact in ("serious", "critical")}


@pytest.mark.parametrize("options", [(), (DARK,)], ids=["light", "dark"])
def test_the_report_has_no_serious_finding(tmp_path: Path, options: tuple[str, ...]) -> None:
    run, _ = verified_run(tmp_path)
    assert findings(write_report(run), tmp_path / "profile", *options) == {}


@pytest.mark.parametrize("options", [(), (DARK,)], ids=["light", "dark"])
def test_the_page_of_a_comparison_has_no_serious_finding(tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    folders = [verified_run(tmp_path / name)[0].path for name in "ab"]
    page = write_comparison(read_comparison(folders), folders, tmp_path / "comparison.html")
    assert findings(page, tmp_path / "profile", *options) == {}


@pytest.mark.parametrize("options", [(), (DARK,)], ids=["light", "dark"])
@pytest.mark.parametrize("state", ["running", "verified", "no trial yet", "no settings yet", "damaged"])
def test_the_watch_page_has_no_serious_finding(
    tmp_path: Path, state: str, options: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {
        "running": lambda: make_run(tmp_path, trials=12, pruned=2, rungs=(2, 4), status="running"),
        "verified": lambda: verified_run(tmp_path)[0],
        "no trial yet": lambda: make_run(tmp_path, trials=0, failures=0, controls=False, status="running"),
        "no settings yet": lambda: create_run_folder(tmp_path, "empty"),
        "damaged": lambda: make_run(tmp_path, trials=4, epochs=False, status="running"),
    }[state]()
    if state == "damaged":
        run.trials.write_bytes(b"\xff\xfe damaged")
    draw = LivePage.page
    monkeypatch.setattr(LivePage, "page", lambda live: draw(live).replace("</body>", f"{check()}</body>"))
    with serving(run) as port:
        rules = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        dom, _ = open_page(Address(port), tmp_path / "profile", rules, *options)
    assert 'id="live"' in dom
    assert ("there is no report yet" in dom) == (state in ("no settings yet", "damaged"))
    assert findings_of(dom) == {}


def test_a_finding_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<html lang=en><head><title>x</title></head><body><button></button></body></html>")
    assert "button-name" in findings(page, tmp_path / "profile")
