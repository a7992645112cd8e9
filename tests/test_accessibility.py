"""The pages under axe-core, the accessibility checker, in a real browser and in both colour schemes."""

from __future__ import annotations

import html
import json
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from test_report_browser import BROWSER, OPEN, open_page, with_script
from verified_runs import verified_run

from morel_search.analysis.comparison.runs import read_comparison
from morel_search.analysis.report.comparison_page import write_comparison
from morel_search.analysis.report.page import write_report

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


def findings(page: Path, profile: Path, *options: str) -> dict[str, Any]:
    """Return the rules of axe-core that a page breaks seriously or critically, with the elements."""
    axe = files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    dom, _ = open_page(with_script(page, OPEN + RUN_AXE % axe), profile, *options)
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


def test_a_finding_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<html lang=en><head><title>x</title></head><body><button></button></body></html>")
    assert "button-name" in findings(page, tmp_path / "profile")
