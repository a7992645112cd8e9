"""Count the uses of ``Any`` in the package, and fail when there are more than a limit.

Counted are the arguments and return values that are annotated with ``Any`` (ruff's rule ANN401), and the
lines with ``dict[str, Any]``. ``Any`` is for values that a library leaves untyped. The limit is to fall, not
to rise: lower it after a change that removes some.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "morel_search"

LIMIT = 15
"""Largest number of uses."""


def count_any(package: Path) -> Counter[Path]:
    """Count the uses of ``Any`` in each module below a folder."""
    counts = Counter(Path(finding["filename"]) for finding in _findings(package))
    for path in sorted(package.rglob("*.py")):
        lines = path.read_text(encoding="utf-8").splitlines()
        counts[path] += sum("dict[str, Any]" in line for line in lines)
    return +counts


def _findings(package: Path) -> list[dict[str, str]]:
    command = [sys.executable, "-m", "ruff", "check", "--isolated", "--select", "ANN401", "--exit-zero"]
    output = subprocess.run(
        [*command, "--output-format", "json", str(package)], capture_output=True, text=True, check=True
    ).stdout
    findings: list[dict[str, str]] = json.loads(output)
    return findings


def main() -> int:
    """Print the count, and the modules with the most uses when it is above the limit."""
    counts = count_any(PACKAGE)
    print(f"{counts.total()} uses of Any in morel_search; the limit is {LIMIT}")
    if counts.total() <= LIMIT:
        return 0
    for path, count in counts.most_common(10):
        print(f"{count:4d}  {path.relative_to(PACKAGE.parent)}")
    print("use a narrower type in what you changed")
    return 1


if __name__ == "__main__":
    sys.exit(main())
