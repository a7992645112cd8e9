"""Damaged space files, run folders, model folders and studies, read by the functions of the commands.

    python benchmarks/fuzz.py                              # 10,000 cases in this process, 500 commands
    python benchmarks/fuzz.py --cases 1000 --commands 20 --seed 7
    python benchmarks/fuzz.py --kinds studies --commands 0

Each case damages valid content at random (a seed and a number give the same case again), and has one of two
results: it is read, or an error of the project explains it in one sentence. Counted are all other exceptions
(*tracebacks*), cases that take more than two seconds of processor time (*slow*), files that were written or
deleted outside the folder of the case (*outside*), connections beyond this machine (*network*), and programs
that were started (*programs*). An audit hook of the interpreter watches the last three.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from _fuzz_cases import KINDS, Base, Kind, command_of, make_base, remove
from _watch import Watch

HERE = Path(__file__).parent
SLOW_SECONDS = 2.0
LONGEST_MESSAGE = 5_000
COMMAND_SECONDS = 300
COLUMNS = (
    *("cases", "read", "explained"),
    *("tracebacks", "slow", "long messages", "outside", "network", "programs"),
)


@dataclass
class Figures:
    """What was counted, and the sentence of each fault with the number of its first case."""

    counts: Counter[str] = field(default_factory=Counter)
    faults: dict[str, int] = field(default_factory=dict)

    def fault(self, column: str, text: str, number: int) -> None:
        """Count a fault."""
        self.counts[column] += 1
        if f"{column}: {text}" not in self.faults:
            print(f"case {number}: {column}: {text}", file=sys.stderr, flush=True)
        self.faults.setdefault(f"{column}: {text}", number)


def run_cases(kind: Kind, numbers: range, seed: int, base: Base, folder: Path, watch: Watch) -> Figures:
    """Run the cases with these numbers in this process."""
    figures = Figures()
    for number in numbers:
        rng, case = random.Random(f"{seed}/{number}"), folder / f"case-{number}"
        kind.prepare(rng, base, case)
        _run_case(kind.read, rng, case, number, figures, watch)
        remove(case)
    return figures


def _run_case(
    read: Callable[[random.Random, Path], object],
    rng: random.Random,
    case: Path,
    number: int,
    figures: Figures,
    watch: Watch,
) -> None:
    from morel_search.errors import MorelSearchError

    figures.counts["cases"] += 1
    watch.clear()
    began = time.process_time()
    try:
        with watch.folder(case):
            read(rng, case)
    except MorelSearchError as error:
        figures.counts["explained"] += 1
        if len(str(error)) > LONGEST_MESSAGE:
            figures.fault("long messages", str(error)[:100], number)
    except Exception as error:
        figures.fault("tracebacks", place_of(error), number)
    else:
        figures.counts["read"] += 1
    seconds = time.process_time() - began
    if seconds > SLOW_SECONDS:
        figures.fault("slow", f"{seconds:.1f} s", number)
    _add_seen(_seen(watch), number, figures)


def _seen(watch: Watch) -> dict[str, list[str]]:
    return {"outside": watch.outside, "network": watch.network, "programs": watch.programs}


def _add_seen(seen: dict[str, list[str]], number: int, figures: Figures) -> None:
    for column, entries in seen.items():
        for entry in entries:
            figures.fault(column, entry, number)


def place_of(error: BaseException) -> str:
    """Return the type of an exception, its text, and the innermost line of the project that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if "morel_search" in frame.filename] or frames
    text = " ".join(str(error).split())[:100]
    return f"{type(error).__name__} in {Path(own[-1].filename).name}:{own[-1].lineno}: {text}"


def run_commands(count: int, seed: int, base: Base, folder: Path) -> Figures:
    """Run commands, each in a process of its own that watches itself."""
    figures = Figures()
    for number in range(count):
        rng, case = random.Random(f"{seed}/command/{number}"), folder / f"command-{number}"
        words = command_of(rng, base, case)
        _run_command(words, case, number, figures)
        remove(case)
    return figures


def _run_command(words: list[str], case: Path, number: int, figures: Figures) -> None:
    figures.counts["cases"] += 1
    result = subprocess.run(
        [sys.executable, str(HERE / "fuzz.py"), "--child", str(case), *words],
        capture_output=True,
        text=True,
        errors="replace",
        timeout=COMMAND_SECONDS,
        check=False,
        cwd=case,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(HERE.parent), **_caches(case)},
    )
    text, _, seen = result.stderr.rpartition("seen: ")
    if result.returncode not in (0, 2) or not seen:
        ending = f"{words[0]} exits with {result.returncode}: {text.strip()[-200:]}"
        figures.fault("tracebacks", ending, number)
        return
    figures.counts["read" if result.returncode == 0 else "explained"] += 1
    if len(text) > LONGEST_MESSAGE:
        figures.fault("long messages", text[:100], number)
    _add_seen(json.loads(seen), number, figures)


def _caches(case: Path) -> dict[str, str]:
    """Return the variables with which libraries put their caches into the folder of the case."""
    variables = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR")
    return dict.fromkeys(variables, str(case / ".caches"))


def child(case: Path, words: list[str]) -> int:
    """Run a command in this process, and print what it did outside a folder."""
    watch = Watch()
    from morel_search.__main__ import main

    code = 1
    try:
        with watch.folder(case):
            code = main(words)
    finally:
        print("seen: " + json.dumps(_seen(watch)), file=sys.stderr)
    return code


def table(figures: dict[str, Figures]) -> str:
    """Return the counts as a Markdown table."""
    lines = [f"| | {' | '.join(COLUMNS)} |", "| --- |" + " ---: |" * len(COLUMNS)]
    for name, of_kind in figures.items():
        lines.append(f"| {name} | {' | '.join(f'{of_kind.counts[column]:,}' for column in COLUMNS)} |")
    return "\n".join(lines)


def campaign(cases: int, commands: int, seed: int, kinds: Collection[str]) -> dict[str, Figures]:
    """Run all cases of some kinds, and all commands."""
    sys.dont_write_bytecode = True
    figures: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory(prefix="fuzz-") as temporary:
        folder = Path(temporary)
        base = make_base(folder)
        _warm_up(base, folder)
        watch, first = Watch(), 0
        for name, kind in KINDS.items():
            count = round(kind.share * cases)
            if name in kinds:
                figures[name] = run_cases(kind, range(first, first + count), seed, base, folder, watch)
            first += count
        if commands:
            figures["commands"] = run_commands(commands, seed, base, folder)
    return figures


def _warm_up(base: Base, folder: Path) -> None:
    """Read valid content once, so that the time of imports and the caches of libraries belong to no case."""
    import shutil

    from morel_search.analysis.report.page import write_report
    from morel_search.results.folder import open_run_folder

    case = folder / "warm-up"
    (folder / "space").mkdir()
    shutil.copy(HERE.parent / "search_spaces" / "digits.yaml", folder / "space" / "space.yaml")
    sources = {"space files": folder / "space", "run folders": base.run, "model folders": base.model}
    for name, source in {**sources, "studies": base.study}.items():
        shutil.copytree(source, case)
        KINDS[name].read(random.Random(1), case)
        if name == "run folders":
            write_report(open_run_folder(case))
        remove(case)


def main() -> int:
    """Run the campaign; 1 when a case has a fault."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS), metavar="KIND")
    parser.add_argument("--cases", type=int, default=10_000, metavar="N")
    parser.add_argument("--commands", type=int, default=500, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    arguments = parser.parse_args()
    figures = campaign(arguments.cases, arguments.commands, arguments.seed, arguments.kinds)
    print(table(figures))
    faults = {text: number for of_kind in figures.values() for text, number in of_kind.faults.items()}
    for text, number in sorted(faults.items()):
        print(f"case {number}: {text}")
    return 1 if faults else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        sys.exit(child(Path(sys.argv[2]), sys.argv[3:]))
    sys.exit(main())
