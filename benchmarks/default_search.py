"""Does a default search choose by a robust accuracy that holds? Several seeds of the digits search.

    for seed in 0 1 2 3 4; do
        python -m morel_search.run --space search_spaces/digits.yaml --results results/$seed --seed $seed
    done
    python benchmarks/default_search.py results/*/digits      # writes default_search.md

The front that a search found has three readings: on validation images under the final attack, which chose it;
on test images under the final attack; and on test images under all attacks of the verification. Between the
first and the second the images change, between the second and the third the attacks.
"""

from __future__ import annotations

import argparse
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pandas as pd

HERE = Path(__file__).parent
HEAD = """# Default searches with several seeds

Made by `python benchmarks/default_search.py` from the digits search with {runs} seeds, on {hardware}.

- *Members*: networks of the search on its front, which validation images and the final attack chose.
- *By attacks*: kept by the attacks. Of the members that no other member dominates under the final attack on
  the test images, those that none dominates under all attacks of the verification either.
- *By images*: kept by the change of images: members that no other one dominates under all attacks on the test
  images.
- *Gap*: robust accuracy under the final attack minus that under all attacks, same test images, in points.
- *Spans*: ranges of the members' verified clean and robust accuracies, in points.
- *Stopped*: trainings that early stopping ended, of all. *Search*: its duration, without the verification.
- *Verified*: the smallest number of test images on which FAB-T and Square ran, of all networks and controls.

| seed | members | by attacks | by images | gap: mean, most | spans | stopped | search | verified |
|---|---|---|---|---|---|---|---|---|
"""


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    rows = [reading(run) for run in parser.parse_args().runs]
    settings = json.loads((rows[0]["run"] / "settings.json").read_text())
    page = HEAD.format(runs=len(rows), hardware=hardware(settings))
    page += "".join(map(line, rows))
    kept, attacked, on_test, members = (
        sum(row[name] for row in rows) for name in ("kept", "attacked", "on_test", "members")
    )
    page += f"""
The attacks keep {kept} of {attacked} members ({kept / attacked:.0%}).
The change of images keeps {on_test} of {members} ({on_test / members:.0%}): neighbours on the
front differ by a few images, so it depends on the images which of them is ahead.
The verification calls these networks undecided.
"""
    (HERE / "default_search.md").write_text(page, encoding="utf-8")
    print(page)


def line(row: dict[str, Any]) -> str:
    """Return a line of the table."""
    cells = [
        f"{row['seed']}",
        f"{row['members']}",
        f"{row['kept']} of {row['attacked']}",
        f"{row['on_test']} of {row['members']}",
        f"{row['gap']:.1f}, {row['largest']:.1f}",
        f"{row['clean']:.1f}, {row['robust']:.1f}",
        f"{row['stopped']} of {row['trials']}",
        f"{row['seconds'] // 60} min {row['seconds'] % 60} s",
        f"{row['images']} of {row['of']}",
    ]
    return f"| {' | '.join(cells)} |\n"


def reading(run: Path) -> dict[str, Any]:
    """Return the figures of a run."""
    front = pd.read_csv(run / "front.csv").query("origin == 'search'").set_index("number")
    everything = pd.read_csv(run / "verified.csv").set_index("number")
    verified = everything.loc[front.index]
    chosen = front[["test_clean_accuracy", "test_robust_accuracy"]].to_numpy()
    held = verified[["clean_accuracy", "robust_accuracy"]].to_numpy()
    before, after = (
        moocore.is_nondominated(points, maximise=True, keep_weakly=True) for points in (chosen, held)
    )
    gaps = 100 * (chosen[:, 1] - held[:, 1])
    spans = 100 * np.ptp(held, axis=0)
    settings = json.loads((run / "settings.json").read_text())
    began, ended = (datetime.fromisoformat(settings[name]) for name in ("created", "finished"))
    states = pd.read_csv(run / "trials.csv")["state"]
    return {
        "run": run,
        "seed": settings["space"]["search"]["seed"],
        "trials": len(states),
        "stopped": int((states == "PRUNED").sum()),
        "seconds": round((ended - began).total_seconds()),
        "members": len(front),
        "attacked": int(before.sum()),
        "kept": int((before & after).sum()),
        "on_test": int(after.sum()),
        "gap": gaps.mean(),
        "largest": gaps.max(),
        "clean": spans[0],
        "robust": spans[1],
        "images": int(everything[["images_fab_t", "images_square"]].to_numpy().min()),
        "of": int(everything["images"].max()),
    }


def hardware(settings: dict[str, Any]) -> str:
    """Return the processor of a run, from its settings."""
    return str(settings["hardware"]["cpu"])


if __name__ == "__main__":
    main()
