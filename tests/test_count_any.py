"""The count of ``Any``: what is counted, and where."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
COUNT = """
import sys
from pathlib import Path
import count_any
for path, count in sorted(count_any.count_any(Path(sys.argv[1])).items()):
    print(path.name, count)
"""


def test_annotations_and_dictionaries_are_counted(tmp_path: Path) -> None:
    (tmp_path / "none.py").write_text("def f(x: int) -> object:\n    return x\n")
    (tmp_path / "some.py").write_text(
        "from typing import Any\n\n\n"
        "def f(x: Any, *rest: int, **more: Any) -> Any:\n    return x\n\n\n"
        "Table = dict[str, Any]\n"
    )
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "one.py").write_text(
        "from typing import Any\n\n\ndef f(x: dict[str, Any]) -> None: ...\n"
    )
    counted = subprocess.run(
        [sys.executable, "-c", COUNT, str(tmp_path)],
        cwd=ROOT / "scripts",
        capture_output=True,
        text=True,
        check=True,
    )
    assert counted.stdout.split("\n") == ["one.py 1", "some.py 4", ""]
