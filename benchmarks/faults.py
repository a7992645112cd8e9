"""Random faults against real searches: processes killed or stopped, files torn, the disk full.

    python benchmarks/faults.py --minutes 20                # appends to faults.jsonl, prints a table
    python benchmarks/faults.py --faults 40 --seed 1 --kinds "driver killed" "disk full"
    python benchmarks/faults.py --faults 0                  # prints the table of the faults so far

A search on the digits has 8 trials of 3 epochs; its settings (selection of the epoch, early stopping,
constraints, controls) change from search to search. Faults come at random instants. After a fault that ends
the search, the next start continues, until the search has finished. Counted after each fault and at the end:

- *lost*: finished trials that are missing, or of which anything stored has changed, in the study or in
  ``trials.csv``; at the end, trials that are not over, and epochs that are missing or there twice;
- *running*: trials in the state RUNNING although the driver has ended by itself;
- *tracebacks*: tracebacks in the output;
- *wrong codes*: other exit codes than those of ``docs/faults.md``;
- *hung*: searches that have not ended within 300 s after a fault that ends them, or altogether.

*seconds* is the median of the time from the fault to the end of the process, or, for a fault after which the
search goes on, to the next finished trial. A full disk needs the right to mount a file system (root).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from _faults_kinds import KINDS, SECONDS
from _faults_search import EPOCHS, Search, Snapshot

RECORDS = Path(__file__).with_name("faults.jsonl")
COUNTS = ("lost", "running", "tracebacks", "wrong codes", "hung")
DISK_MIB = 40
"""Size of that file system in MiB; a report has 5."""
MOST_FAULTS = 5
"""Faults of one search, after which it runs to its end."""


def strike(kind_name: str, rng: random.Random, search: Search) -> dict[str, Any] | None:
    """Start a search, let a fault happen at a random instant, and check what follows; None if it missed."""
    kind, counts = KINDS[kind_name], dict.fromkeys(COUNTS, 0)
    known = search.snapshot()
    if not search.runs:
        search.start()
    running = search.wait_for(lambda: search.processes("ray::ImplicitFunc") or search.snapshot().states)
    time.sleep(rng.uniform(0, 6) if running else 0)
    if "worker" in kind_name:
        search.wait_for(lambda: search.processes("ray::ImplicitFunc"))
    before, rows = search.snapshot(), search.rows()
    assert search.process is not None
    if search.process.poll() is not None:
        search.wait(1)
        return None
    details: list[str] = []
    began = time.monotonic()
    try:
        hit = kind.strike(rng, search)
    except AssertionError as error:
        hit, counts["wrong codes"] = True, 1
        details.append(str(error))
    if not hit and search.runs:
        return None
    finished = len(before.finished)
    if kind.goes_on and search.wait_for(lambda: len(search.snapshot().finished) > finished, SECONDS):
        code = 0  # so far
    else:
        code = search.wait(SECONDS)
    seconds = time.monotonic() - began
    over = "interrupted after" not in search.output() and code == 0
    counts["hung"] = int(code is None)
    allowed = None if kind.codes is None else {*kind.codes, 0} if over else set(kind.codes)
    if allowed and not search.output():
        allowed |= {-signal.SIGINT, -signal.SIGTERM}  # the interpreter was still starting
    if hit and allowed is not None and code is not None and code not in allowed:
        counts["wrong codes"] += 1
        details.append(f"exit code {code}: {search.output().strip()[-500:]}")
    if hit and kind.codes is not None and code not in (0, None) and kind_name != "SIGINT twice":
        states = search.snapshot().states.items()
        # A start that ended before it opened the study leaves what a kill before it has left.
        counts["running"] = sum(state == "RUNNING" != known.states.get(number) for number, state in states)
    if hit and kind.refused:
        _check_refusal(search, counts, details)
    if hit or not kind.refused:
        kind.mend(search)
    _compare(known, before, rows, search, counts, details, torn="tables" in kind_name)
    _tracebacks(search, counts, details)
    return {"hit": hit, "code": code, "seconds": round(seconds, 1), **counts, "details": details}


def _check_refusal(search: Search, counts: dict[str, int], details: list[str]) -> None:
    """Check that a start is refused, and that nothing of the folder changes."""
    files = {path: path.read_bytes() for path in search.run.rglob("*") if path.is_file()}
    search.start()
    code = search.wait(SECONDS)
    after = {path: path.read_bytes() for path in search.run.rglob("*") if path.is_file()}
    changed = [str(path) for path in files if path.name != ".lock" and after.get(path) != files[path]]
    if code != 2:
        counts["wrong codes"] += 1
        details.append(f"not refused, but {code}: {search.output().strip()[-500:]}")
    if changed:
        counts["lost"] += 1
        details.append(f"a refused start has changed {', '.join(changed)}")
    _tracebacks(search, counts, details)


def _compare(
    known: Snapshot,
    before: Snapshot,
    rows: Mapping[int, Mapping[str, Any]],
    search: Search,
    counts: dict[str, int],
    details: list[str],
    *,
    torn: bool,
) -> None:
    """Count finished trials that were lost or changed."""
    after = search.snapshot()
    finished = {**known.finished, **before.finished}
    lost = [number for number, stored in finished.items() if after.finished.get(number) != stored]
    if not torn:
        now = search.rows()
        lost += [number for number, row in rows.items() if now.get(number) != row]
    if lost:
        counts["lost"] += len(lost)
        details.append(f"changed or lost: trials {sorted(set(lost))}")


def _tracebacks(search: Search, counts: dict[str, int], details: list[str]) -> None:
    count = search.output().count("Traceback (most recent call last)")
    if count:
        counts["tracebacks"] += count
        details.append(search.output().strip()[-2000:])


def finish(search: Search) -> dict[str, Any]:
    """Run a search to its end and check that every trial is over exactly once."""
    counts, details = dict.fromkeys(COUNTS, 0), []
    before, rows = search.snapshot(), search.rows()
    if not search.runs:
        search.start()
    code = search.wait(SECONDS)
    counts["hung"] = int(code is None)
    if code not in (0, None):
        counts["wrong codes"] = 1
        details.append(f"exit code {code}: {search.output().strip()[-500:]}")
    _compare(before, before, rows, search, counts, details, torn=True)
    _tracebacks(search, counts, details)
    if code == 0:
        problems = _problems(search)
        counts["lost"] += len(problems)
        details += problems
    return {"kind": "(end)", "code": code, "hit": True, "seconds": 0.0, **counts, "details": details}


def _problems(search: Search) -> list[str]:
    """Return what is wrong with a finished search."""
    states = search.snapshot().states
    problems = [
        f"trial {number} is {state}" for number, state in states.items() if state in ("RUNNING", "WAITING")
    ]
    if sorted(states) != list(range(len(states))):
        problems.append(f"the trials are {sorted(states)}")
    rows = search.rows()
    problems += [f"trial {number} is not in trials.csv" for number in states if number not in rows]
    epochs: dict[int, list[int]] = {}
    for line in (search.run / "epochs.csv").read_text().splitlines()[1:]:
        number, epoch = line.split(",")[:2]
        epochs.setdefault(int(number), []).append(int(epoch))
    for number, row in rows.items():
        listed = epochs.get(number, [])
        whole = row["state"] != "COMPLETE" or len(listed) == EPOCHS
        if listed != list(range(1, len(listed) + 1)) or not whole:
            problems.append(f"the epochs of trial {number} are {listed}")
    if not (search.run / "report.html").exists() or search.status() != "finished":
        problems.append(f"no report, or the status is {search.status()}")
    return problems


@contextmanager
def _folder(*, own_disk: bool) -> Iterator[Path]:
    """Yield a folder for the results; with a small file system of its own for full disks."""
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary) / "results"
        folder.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "none", str(folder)]
        mounted = own_disk and subprocess.run(mount, capture_output=True, check=False).returncode == 0
        try:
            yield folder
        finally:
            if mounted:
                subprocess.run(["umount", "-l", str(folder)], check=False)


def campaign(faults: int, until: float, seed: int, kinds: Collection[str], records: Path) -> None:
    """Let faults happen to searches until there are enough, or the time is over; append each to a file."""
    done = sum(1 for record in read(records) if record["seed"] == seed and record["kind"] != "(end)")
    number = done
    while number < faults and time.monotonic() < until:
        rng = random.Random(f"{seed}/{number}")
        with _folder(own_disk="disk full" in kinds) as results:
            search, count, misses = Search(results, seed * 1000 + number), 0, 0
            while count < MOST_FAULTS and number < faults and time.monotonic() < until:
                kind = rng.choice(list(kinds))
                record = strike(kind, rng, search)
                if record is None:
                    misses += 1
                if misses > MOST_FAULTS or (not search.runs and search.finished):
                    count = MOST_FAULTS
                if record is not None and record["hit"]:
                    append(records, {"seed": seed, "number": number, "kind": kind, **record})
                    number, count = number + 1, count + 1
            record = finish(search)
            append(records, {"seed": seed, "number": number, **record})
            if record["details"]:
                shutil.copy(search.log, records.with_suffix(f".{seed}-{number}.log"))


def append(records: Path, record: Mapping[str, Any]) -> None:
    """Append a record to the file, and print it."""
    line = json.dumps(record)
    with records.open("a") as file:
        file.write(line + "\n")
    print(line[:600], flush=True)


def read(records: Path) -> list[dict[str, Any]]:
    """Read the records of earlier campaigns."""
    return [json.loads(line) for line in records.read_text().splitlines()] if records.exists() else []


def table(records: list[dict[str, Any]]) -> str:
    """Return the counts by kind as a Markdown table."""
    lines = [f"| fault | tried | {' | '.join(COUNTS)} | seconds |", "| --- |" + " ---: |" * (len(COUNTS) + 2)]
    for kind in (*KINDS, "(end)"):
        of_kind = [record for record in records if record["kind"] == kind]
        if of_kind:
            counts = " | ".join(str(sum(record[name] for record in of_kind)) for name in COUNTS)
            seconds = statistics.median(record["seconds"] for record in of_kind)
            name = "(searches that ran to their end)" if kind == "(end)" else kind
            lines.append(
                f"| {name} | {len(of_kind)} | {counts} | {'' if kind == '(end)' else f'{seconds:.1f}'} |"
            )
    return "\n".join(lines)


def main() -> int:
    """Run the campaign; 1 when something was lost, hung or ended wrongly."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--faults", type=int, default=300, metavar="N")
    parser.add_argument("--minutes", type=float, default=float("inf"), metavar="M")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), metavar="KIND")
    parser.add_argument("--records", type=Path, default=RECORDS, metavar="FILE")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores Ctrl-C
    until = time.monotonic() + 60 * arguments.minutes
    campaign(arguments.faults, until, arguments.seed, arguments.kinds, arguments.records)
    records = read(arguments.records)
    print(table(records))
    return int(any(record[name] for record in records for name in COUNTS))


if __name__ == "__main__":
    sys.exit(main())
