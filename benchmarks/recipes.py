"""What each training recipe of ``docs/recipes.md`` changes on the digits, under the final attack.

    OMP_NUM_THREADS=1 python benchmarks/recipes.py       # writes recipes.md; about 13 minutes on one core

Trainings of ``search_spaces/digits.yaml`` with PGD training and TRADES, as the controls have them, with and
without each recipe and over the same seeds. The network after the last epoch is attacked on the test images;
nothing is selected, so these images choose nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student

from morel_search.config import load_space
from morel_search.config.controls import BUILT_IN
from morel_search.results.provenance import hardware
from morel_search.training.datasets.loading import load_development, load_test
from morel_search.training.evaluation import TEST_SEED, evaluate
from morel_search.training.settings import NetworkSettings
from morel_search.training.trainer import Training

HERE = Path(__file__).parent
SPACE = load_space(
    HERE.parent / "search_spaces" / "digits.yaml",
    ["controls=[pgd, trades, pgd_recipe, trades_recipe]", "evaluation.every=1000"],
)
CONTROLS = {control.name: dict(control.overrides) for control in SPACE.controls}
COMMON: dict[str, Any] = {"attack_steps": 5}  # the most that the space searches
PGD, TRADES = CONTROLS["pgd"], CONTROLS["trades"]
ROWS: dict[str, tuple[dict[str, Any], str]] = {
    "pgd": (PGD, ""),
    "+ label_smoothing 0.1": ({**PGD, "label_smoothing": 0.1}, "pgd"),
    "+ ema 0.995": ({**PGD, "ema": 0.995}, "pgd"),
    "+ one_cycle": ({**PGD, "schedule": "one_cycle", "warmup": 0.3}, "pgd"),
    "+ awp 0.005": ({**PGD, "awp": 0.005}, "pgd"),
    "+ awp 0.01": ({**PGD, "awp": 0.01}, "pgd"),
    "+ width 32": (PGD, "pgd"),
    "pgd_recipe": (CONTROLS["pgd_recipe"], "pgd"),
    "trades": (TRADES, ""),
    "trades_recipe": (CONTROLS["trades_recipe"], "trades"),
}
LONG = ("pgd", "pgd_recipe", "trades", "trades_recipe")

HEAD = """# Training recipes on the digits

Made by `OMP_NUM_THREADS=1 python benchmarks/recipes.py` on {where}. Trainings of
`search_spaces/digits.yaml` (width 16, {steps} attack steps) as the controls have them. Accuracies in points
on the {images} test images after the last epoch, robust ones under the final attack, as means over seeds.
Differences are from the training of the same seeds without the recipe, with 95 % intervals over the seeds
(Student's t, one by one): an interval that includes 0 shows no effect. `pgd_recipe` has label smoothing,
averaging, one_cycle and AWP 0.01 together, `trades_recipe` the same with AWP 0.005 after 5 % of the epochs.
Times are processor seconds of a training; other processes ran at the same time, so they are rough.
"""


def main() -> None:
    """Train, and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--long-seeds", type=int, default=3, help="seeds of the trainings with more epochs")
    arguments = parser.parse_args()
    assert all(CONTROLS[name].items() >= BUILT_IN[name].items() for name in LONG)
    machine, images = hardware(), len(load_test(SPACE.data))
    where = f"{machine['cpu']}, torch {torch.__version__}"
    epochs = SPACE.train.epochs
    text = "\n".join(
        [
            HEAD.format(where=where, images=images, steps=COMMON["attack_steps"]),
            table(epochs, tuple(ROWS), arguments.seeds),
            table(4 * epochs, LONG, arguments.long_seeds),
        ]
    )
    (HERE / "recipes.md").write_text(text)
    print(text)


def table(epochs: int, names: Sequence[str], seeds: int) -> str:
    """Return the table of some rows for a number of epochs."""
    found: dict[str, NDArray[np.float64]] = {
        name: np.array([figures_of(name, epochs, seed) for seed in range(seeds)]) for name in names
    }
    lines = [
        f"## {epochs} epochs, {seeds} seeds\n",
        "| training | clean | robust | clean: difference | robust: difference | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for name in names:
        clean, robust, seconds = found[name].mean(axis=0)
        gaps = differences(found, name)
        lines.append(f"| {name} | {clean:.1f} | {robust:.1f} | {gaps[0]} | {gaps[1]} | {seconds:.1f} |")
    return "\n".join(lines) + "\n"


def differences(found: Mapping[str, NDArray[np.float64]], name: str) -> tuple[str, str]:
    """Return the changes of both accuracies by a recipe, with intervals; empty for a training without."""
    base = ROWS[name][1]
    if not base:
        return "", ""
    gaps = (found[name] - found[base])[:, :2]
    middle = gaps.mean(axis=0)
    half = student.ppf(0.975, len(gaps) - 1) * gaps.std(axis=0, ddof=1) / np.sqrt(len(gaps))
    texts = [
        f"{gap:+.1f} ({gap - width:+.1f} to {gap + width:+.1f})"
        for gap, width in zip(middle, half, strict=True)
    ]
    return texts[0], texts[1]


def figures_of(name: str, epochs: int, seed: int) -> tuple[float, float, float]:
    """Train a network; return its clean and robust accuracy in points, and the processor time."""
    width = 32 if "width 32" in name else 16
    began = time.process_time()
    training = Training(
        replace(SPACE.train, **{**ROWS[name][0], **COMMON, "epochs": epochs}),
        NetworkSettings(name=SPACE.network.name, options={"width": width}),
        load_development(SPACE.data),
        SPACE.evaluation,
        seed=seed,
    )
    for _ in range(epochs):
        training.train_epoch()
    seconds = time.process_time() - began
    scores = evaluate(training.model, load_test(SPACE.data), SPACE.evaluation, final=True, seed=TEST_SEED)
    return 100 * scores.clean_accuracy, 100 * scores.robust_accuracy, seconds


if __name__ == "__main__":
    main()
