"""What MOREL's robust objective adds to a search: the same search with it and without it, over several seeds.

    python benchmarks/morel_terms.py FOLDER          # 20 searches of about 3 minutes; writes morel_terms.md

Each seed of ``search_spaces/digits.yaml`` is searched twice, with the same number of trainings: with the
space as it is, and with ``k_robust`` fixed at 0, without its weights and its temperature. FOLDER keeps the
run folders, so that a second call continues. The networks that validation images chose are compared on test
images, under the final attack.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import moocore
import numpy as np
import pandas as pd
from ruamel.yaml import YAML
from scipy.stats import t as student

HERE = Path(__file__).parent
SPACE = HERE.parent / "search_spaces" / "digits.yaml"
TERMS = ("k_robust", "alpha", "temperature")
REFERENCES = {"hypervolume": (0.0, 0.0), "near the front": (0.9, 0.1)}
CLEAN = 0.97
"""Clean accuracy on validation images that a network must have in the column of the same name."""

HEAD = """# What MOREL's terms add to a search

Made by `python benchmarks/morel_terms.py` on {hardware}: `search_spaces/digits.yaml` with {trials} trainings
and {seeds} seeds, once as it is and once with `k_robust` fixed at 0 and without `alpha` and `temperature`.
Without them, a search has TRADES, MART, LOAT and PGD training, and six settings instead of nine.

All figures are of the networks that validation images chose, on the {images} test images under the final
attack.
*Hypervolume*: from (0, 0), in percent; *near the front*: from {near} of clean and robust accuracy, in percent
of what lies beyond. *Most robust*: robust accuracy of the most robust network; *robust at {clean:.0%} clean*:
of the most robust network with this clean accuracy on validation images.
Differences are with MOREL's terms minus without them, paired by seed, with 95 % intervals (Student's t over
the seeds, one by one): an interval that includes 0 shows no effect.

| | {columns} |
|---|{rules}|
"""


def main() -> None:
    """Search, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder for the run folders")
    parser.add_argument("--seeds", type=int, default=10, help="number of seeds")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    without = options.folder / "without.yaml"
    without.write_text(json.dumps(without_terms(YAML(typ="safe").load(SPACE))), encoding="utf-8")
    runs = {
        (arm, seed): search(space, options.folder / f"{arm}-{seed}", seed)
        for seed in range(options.seeds)
        for arm, space in (("with", SPACE), ("without", without))
    }
    page = table(runs, options.seeds)
    (HERE / "morel_terms.md").write_text(page, encoding="utf-8")
    print(page)


def without_terms(space: dict[str, Any]) -> dict[str, Any]:
    """Return the space with ``k_robust`` 0 and without the parameters that need it."""
    parameters = {name: value for name, value in space["parameters"].items() if name not in TERMS}
    controls = [name for name in space["controls"] if not name.startswith("morel")]
    return {
        **space,
        "parameters": parameters,
        "train": {**space["train"], "k_robust": 0.0},
        "controls": controls,
    }


def search(space: Path, results: Path, seed: int) -> Path:
    """Search a space, or continue; return the run folder."""
    command = f"-m morel_search.run --name digits --continue --set verify.enabled=false --seed {seed}".split()
    subprocess.run(
        [sys.executable, *command, "--space", str(space), "--results", str(results), "--quiet"], check=True
    )
    return results / "digits"


def table(runs: dict[tuple[str, int], Path], seeds: int) -> str:
    """Return the page."""
    rows = {
        arm: pd.DataFrame([reading(runs[arm, seed]) for seed in range(seeds)]) for arm in ("with", "without")
    }
    settings = json.loads((runs["with", 0] / "settings.json").read_text())
    near = " and ".join(f"{100 * value:.0f} %" for value in REFERENCES["near the front"])
    columns = rows["with"].columns
    page = HEAD.format(
        hardware=settings["hardware"]["cpu"],
        trials=settings["space"]["search"]["trials"],
        seeds=seeds,
        images=359,
        near=near,
        clean=CLEAN,
        columns=" | ".join(columns),
        rules="|".join("---" for _ in columns),
    )
    for arm, frame in rows.items():
        page += f"| {arm} | {' | '.join(f'{frame[name].mean():.1f}' for name in columns)} |\n"
    differences = rows["with"] - rows["without"]
    return page + f"| difference | {' | '.join(interval(differences[name]) for name in columns)} |\n"


def interval(values: pd.Series) -> str:
    """Return a mean with its 95 % interval."""
    half = student.ppf(0.975, len(values) - 1) * values.std() / np.sqrt(len(values))
    return f"{values.mean():+.1f} ({values.mean() - half:+.1f} to {values.mean() + half:+.1f})"


def reading(run: Path) -> dict[str, float]:
    """Return the figures of a run, in percent."""
    front = pd.read_csv(run / "front.csv").query("origin == 'search'")
    test = front[["test_clean_accuracy", "test_robust_accuracy"]].to_numpy()
    volumes = {
        name: 100
        * moocore.hypervolume(test[(test > reference).all(axis=1)], ref=reference, maximise=True)
        / np.prod(1 - np.array(reference))
        for name, reference in REFERENCES.items()
    }
    clean = front[front["clean_accuracy"] >= CLEAN]
    return {
        **volumes,
        "most robust": 100 * front["test_robust_accuracy"].max(),
        f"robust at {CLEAN:.0%} clean": 100
        * clean.nlargest(1, "robust_accuracy")["test_robust_accuracy"].iloc[0],
        "cleanest": 100 * front["test_clean_accuracy"].max(),
        "members": float(len(front)),
    }


if __name__ == "__main__":
    main()
