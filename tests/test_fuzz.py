"""A short campaign of benchmarks/fuzz.py: damaged files are read or explained, and no other is touched."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run the benchmark, or a program beside it; its audit hook cannot be removed from a process."""
    program = ["-c", f"import sys; sys.path.insert(0, {str(ROOT / 'benchmarks')!r})\n{code}"]
    return subprocess.run(
        [sys.executable, *(program if code else [str(ROOT / "benchmarks" / "fuzz.py")]), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_short_campaign_finds_no_traceback_and_touches_nothing() -> None:
    result = run("--cases", "100", "--commands", "0", "--seed", "11")
    head, _, *rows = (
        [cell.strip() for cell in line.strip("| ").split("|")]
        for line in result.stdout.splitlines()
        if "|" in line
    )
    counts = [dict(zip(head[-9:], map(int, row[-9:]), strict=True)) for row in rows]
    assert len(counts) == 4, result.stderr
    assert sum(row["cases"] for row in counts) > 80
    assert all(row["read"] + row["explained"] == row["cases"] for row in counts), result.stderr
    for column in ("tracebacks", "outside", "network", "programs"):
        assert not any(row[column] for row in counts), result.stderr


@pytest.mark.parametrize(
    ("statement", "column"),
    [
        ("open({outside!r}, 'w').close()", "outside"),
        ("pathlib.Path({outside!r}).mkdir()", "outside"),
        ("os.rename({inside!r}, {outside!r})", "outside"),
        ("socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(('192.0.2.1', 9))", "network"),
        ("subprocess.run(['true'])", "programs"),
        ("open({inside!r}, 'a').close(); socket.socket().connect_ex(('127.0.0.1', 9))", None),
    ],
)
def test_the_watch_sees_what_leaves_the_folder(tmp_path: Path, statement: str, column: str | None) -> None:
    (tmp_path / "case").mkdir()
    inside, outside = tmp_path / "case" / "file", tmp_path / "other"
    inside.touch()
    result = run(
        code="import contextlib, json, os, pathlib, socket, subprocess\n"
        "from _watch import Watch\n"
        "watch = Watch()\n"
        f"with watch.folder(pathlib.Path({str(tmp_path / 'case')!r})), contextlib.suppress(OSError):\n"
        f"    {statement.format(inside=str(inside), outside=str(outside))}\n"
        "seen = {'outside': watch.outside, 'network': watch.network, 'programs': watch.programs}\n"
        "print(json.dumps(seen))\n"
    )
    seen = json.loads(result.stdout)
    assert [name for name, entries in seen.items() if entries] == ([] if column is None else [column])
