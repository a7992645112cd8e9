"""What bfloat16 and channels-last gain for networks of small images, and what they change.

    OMP_NUM_THREADS=1 python benchmarks/small_networks.py       # writes small_networks.md; about ten minutes

The network is that of ``search_spaces/digits.yaml`` with other widths. Each round runs every arithmetic once;
a ratio is the median over rounds, and above 1 where the arithmetic is faster than float32 in torch's layout.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import torch
from scipy.stats import t as student

from morel_search.config import load_space
from morel_search.results.provenance import hardware
from morel_search.training.compute import TINY, operations
from morel_search.training.compute_settings import FLOAT32, Compute
from morel_search.training.datasets.loading import load_development
from morel_search.training.settings import NetworkSettings, TrainSettings
from morel_search.training.trainer import Training

HERE = Path(__file__).parent
SPACE = load_space(HERE.parent / "search_spaces" / "digits.yaml")
LAST, BOTH = Compute(channels_last=True), Compute("bfloat16", channels_last=True)
NAMES = {FLOAT32: "float32", LAST: "channels-last", BOTH: "bfloat16, channels-last"}
WIDTHS = (2, 4, 8, 16)
TRAIN = TrainSettings(
    epochs=10,
    batch_size=128,
    optimizer="adamw",
    lr=0.02,
    warmup=0.1,
    k_robust=0.3,
    alpha=0.1,
    epsilon=Fraction(1, 5),
    attack_steps=3,
)

HEAD = """# Networks of small images: bfloat16 and channels-last

Made by `OMP_NUM_THREADS=1 python benchmarks/small_networks.py` on {where}. The network of
`search_spaces/digits.yaml` (images of 8 x 8) with several widths. Ratios above 1 are faster than float32 in
torch's layout. `compute.precision: auto` leaves networks below {tiny:,} operations an image in float32.
"""


def main() -> None:
    """Measure, and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=10, help="trainings of the last table, each made twice")
    arguments = parser.parse_args()
    machine = hardware()
    where = f"{machine['cpu']}, {torch.get_num_threads()} thread(s), torch {torch.__version__}"
    parts = [
        HEAD.format(where=where, tiny=TINY),
        speed(arguments.rounds),
        agreement(),
        accuracy(arguments.pairs),
    ]
    text = "\n".join(parts)
    (HERE / "small_networks.md").write_text(text)
    print(text)


def training_of(width: int, compute: Compute, loss: str = "trades", seed: int = 0) -> Training:
    """Return a training that evaluates only when it is told to."""
    return Training(
        replace(TRAIN, accuracy_loss=loss),
        NetworkSettings(name=SPACE.network.name, options={"width": width}),
        load_development(SPACE.data),
        SPACE.evaluation,
        seed=seed,
        compute=compute,
    )


def speed(rounds: int) -> str:
    """Return the ratios of an epoch of training, of the quick attack and of the final attack."""
    lines = [
        "## Speed\n",
        "| width | operations an image | arithmetic | training | quick attack | final attack |",
        "|---|---|---|---|---|---|",
    ]
    for width in WIDTHS:
        trainings = {compute: training_of(width, compute) for compute in NAMES}
        seconds: dict[Compute, list[tuple[float, ...]]] = {compute: [] for compute in NAMES}
        for count in range(1 + rounds):  # the first round is a warm-up
            for compute, training in trainings.items():
                training.epoch = 1  # the learning rate of the same epoch in each round
                times = tuple(
                    seconds_of(part)
                    for part in (
                        training.train_epoch,
                        training.evaluate,
                        partial(training.evaluate_final, training.model),
                    )
                )
                if count:
                    seconds[compute].append(times)
        size = operations(trainings[FLOAT32].classifier, (1, 8, 8))
        for compute in (LAST, BOTH):
            ratios = [
                statistics.median(
                    before[part] / after[part]
                    for before, after in zip(seconds[FLOAT32], seconds[compute], strict=True)
                )
                for part in range(3)
            ]
            lines.append(
                f"| {width} | {size:,} | {NAMES[compute]} | "
                + " | ".join(f"{ratio:.2f} x" for ratio in ratios)
                + " |"
            )
    return "\n".join(lines) + "\n"


def seconds_of(work: Callable[[], object]) -> float:
    """Return the processor time of some work: other processes on the machine count less than by the clock."""
    began = time.process_time()
    work()
    return time.process_time() - began


def agreement() -> str:
    """Return the number of validation images that the same network withstands in each arithmetic."""
    lines = [
        "## The same networks, attacked in each arithmetic\n",
        f"Robust validation images of {len(load_development(SPACE.data).validation)}, after {TRAIN.epochs} "
        "epochs in float32.\n",
        "| accuracy objective | attack | " + " | ".join(NAMES.values()) + " |",
        "|---|---|" + "---|" * len(NAMES),
    ]
    for loss in ("trades", "mart", "loat", "pgd"):
        source = training_of(16, FLOAT32, loss)
        for _ in range(TRAIN.epochs):
            source.train_epoch()
        counts: dict[str, list[str]] = {"quick": [], "final": []}
        for compute in NAMES:
            attacker = training_of(16, compute, loss)
            attacker.model.load_state_dict(source.model.state_dict())
            images = len(attacker.validation)
            for name, evaluation in (
                ("quick", attacker.evaluate()),
                ("final", attacker.evaluate_final(attacker.model)),
            ):
                counts[name].append(str(round(evaluation.robust_accuracy * images)))
        lines += [f"| {loss} | {name} | " + " | ".join(row) + " |" for name, row in counts.items()]
    return "\n".join(lines) + "\n"


def accuracy(pairs: int) -> str:
    """Return the accuracies of trainings that differ in the arithmetic alone."""
    points = np.array([[figures_of(seed, compute) for compute in (FLOAT32, BOTH)] for seed in range(pairs)])
    lines = [
        "## The same trainings in both arithmetics\n",
        f"Width 16, TRADES, {pairs} seeds; accuracies of the final attack in points, differences with 95% "
        "intervals (Student's t).\n",
        "| accuracy | float32 | bfloat16, channels-last | difference |",
        "|---|---|---|---|",
    ]
    for column, name in enumerate(("clean", "robust")):
        before, after = 100 * points[:, 0, column], 100 * points[:, 1, column]
        gap = after - before
        half = float(student.ppf(0.975, pairs - 1)) * gap.std(ddof=1) / np.sqrt(pairs)
        lines.append(
            f"| {name} | {before.mean():.1f} | {after.mean():.1f} | "
            f"{gap.mean():+.1f} ({gap.mean() - half:+.1f} to {gap.mean() + half:+.1f}) |"
        )
    return "\n".join(lines) + "\n"


def figures_of(seed: int, compute: Compute) -> tuple[float, float]:
    """Train a network and return its clean and robust accuracy under the final attack."""
    training = training_of(16, compute, seed=seed)
    for _ in range(TRAIN.epochs):
        training.train_epoch()
    evaluation = training.evaluate_final(training.model)
    return evaluation.clean_accuracy, evaluation.robust_accuracy


if __name__ == "__main__":
    main()
