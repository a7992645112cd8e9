"""Whether one network that is distilled from a mixture keeps the mixture's accuracies, on the digits.

    OMP_NUM_THREADS=1 python benchmarks/distillation.py      # writes distillation.md; minutes of one core

Trainings of ``search_spaces/digits.yaml`` as its controls have them, each with several seeds. For each seed,
two trainings are mixed half and half, and taught to new trainings of the same network with other seeds. Each
network is scored on the test images by AutoAttack's APGD-CE and APGD-T, the mixtures through the mixture.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import t as student
from torch import nn

from morel_search.config import load_space
from morel_search.config.controls import BUILT_IN
from morel_search.results.provenance import hardware
from morel_search.training.augment import to_float
from morel_search.training.datasets.loading import load_development, load_test
from morel_search.training.networks.mixture import Mixture
from morel_search.training.trainer import Training
from morel_search.verification.attack_suite import AttackSuite

HERE = Path(__file__).parent
SPACE = load_space(HERE.parent / "search_spaces" / "digits.yaml")
COMMON: dict[str, Any] = {**BUILT_IN["pgd"], "epsilon": SPACE.evaluation.epsilon, "attack_steps": 5}
ATTACKS = ("apgd-ce", "apgd-t")
STUDENTS: dict[str, dict[str, Any]] = {
    "student: pgd, no teacher": {},
    "student: trades, no teacher": {"accuracy_loss": "trades", "beta": 6.0},
    "student: rslad": {"accuracy_loss": "rslad"},
    "student: ard": {"accuracy_loss": "ard"},
    "student: ard, weight 0.5, temperature 4": {
        **{"accuracy_loss": "ard", "teacher_weight": 0.5, "teacher_temperature": 4.0},
    },
}
BASE = "student: pgd, no teacher"
MEMBER, MIXTURE = "a member of the mixture", "the mixture (the teacher)"

HEAD = """# One network from a mixture

Made by `OMP_NUM_THREADS=1 python benchmarks/distillation.py` on {where}. Trainings of
`search_spaces/digits.yaml` (width 16, 5 attack steps), {seeds} seeds. For each seed, two PGD trainings of
{teacher_epochs} epochs are mixed half and half; students of the same network learn from the mixture for
{epochs} epochs with another seed. Accuracies in points on the {images} test images after the last epoch, as
means over seeds; robust under AutoAttack's APGD-CE and APGD-T through the network of the row. Differences are
from the student of the same seed without a teacher ({base}), with 95 % intervals over the seeds (Student's t,
one by one): an interval that includes 0 shows no effect. Seconds of the processor for a training; other
processes ran at the same time, so they are rough.

"""


class Judge:
    """The test images and the attacks."""

    def __init__(self) -> None:
        test = load_test(SPACE.data)
        self.images, self.labels = to_float(test.images), test.labels

    def points(self, model: nn.Module) -> tuple[float, float]:
        """Return clean and robust accuracy in points."""
        suite = AttackSuite(model.eval(), self.images, SPACE.evaluation)
        robust = suite.correct(self.images, self.labels)
        clean = float(robust.float().mean())
        for attack in ATTACKS:
            left = robust.nonzero().squeeze(1)
            robust[left] = suite.robust_mask(attack, self.images[left], self.labels[left])
        return 100 * clean, 100 * float(robust.float().mean())


def main() -> None:
    """Train, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=SPACE.train.epochs, help="epochs of the students")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    judge = Judge()
    found: dict[str, list[tuple[float, float, float]]] = {}
    for seed in range(arguments.seeds):
        for name, figures in one_seed(seed, arguments.epochs, judge).items():
            found.setdefault(name, []).append(figures)
            print(f"{seed} {name}: {figures[0]:.1f} / {figures[1]:.1f} ({figures[2]:.1f} s)", flush=True)
        if seed:
            write(found, seed + 1, arguments.epochs, len(judge.labels))


def write(
    found: Mapping[str, list[tuple[float, float, float]]], seeds: int, epochs: int, images: int
) -> None:
    """Write the table of the seeds so far."""
    machine = hardware()
    head = HEAD.format(
        where=f"{machine['cpu']}, torch {torch.__version__}",
        seeds=seeds,
        teacher_epochs=SPACE.train.epochs,
        epochs=epochs,
        images=images,
        base=BASE.removeprefix("student: "),
    )
    text = head + table({name: np.array(rows) for name, rows in found.items()})
    (HERE / "distillation.md").write_text(text)
    print(text)


def one_seed(seed: int, epochs: int, judge: Judge) -> dict[str, tuple[float, float, float]]:
    """Return clean and robust accuracy and seconds of each network of a seed."""
    first, seconds = trained(seed, SPACE.train.epochs)
    second, more = trained(100 + seed, SPACE.train.epochs)
    mixture = Mixture([first, second], [0.5, 0.5])
    found = {MEMBER: (*judge.points(first), seconds), MIXTURE: (*judge.points(mixture), seconds + more)}
    for name, changes in STUDENTS.items():
        model, seconds = trained(200 + seed, epochs, mixture, **changes)
        found[name] = (*judge.points(model), seconds)
    return found


def trained(
    seed: int, epochs: int, teacher: nn.Module | None = None, **changes: Any
) -> tuple[nn.Module, float]:
    """Train a network; return it and the seconds of the processor."""
    began = time.process_time()
    training = Training(
        replace(SPACE.train, **{**COMMON, **changes, "epochs": epochs}),
        SPACE.network,
        load_development(SPACE.data),
        SPACE.evaluation,
        seed=seed,
        teacher=teacher,
    )
    for _ in range(epochs):
        training.train_epoch()
    return training.model, time.process_time() - began


def table(found: Mapping[str, NDArray[np.float64]]) -> str:
    """Return the table of means and differences."""
    lines = [
        "| network | forward passes | clean | robust | clean: difference | robust: difference | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, rows in found.items():
        clean, robust, seconds = rows.mean(axis=0)
        gaps = ["", ""] if name == BASE else differences(rows, found[BASE])
        passes = 2 if name == MIXTURE else 1
        lines.append(
            f"| {name} | {passes} | {clean:.1f} | {robust:.1f} | {gaps[0]} | {gaps[1]} | {seconds:.1f} |"
        )
    return "\n".join(lines) + "\n"


def differences(rows: NDArray[np.float64], base: NDArray[np.float64]) -> list[str]:
    """Return the mean differences of both accuracies with their intervals."""
    gaps = (rows - base)[:, :2]
    middle = gaps.mean(axis=0)
    half = student.ppf(0.975, len(gaps) - 1) * gaps.std(axis=0, ddof=1) / np.sqrt(len(gaps))
    return [
        f"{gap:+.1f} ({gap - width:+.1f} to {gap + width:+.1f})"
        for gap, width in zip(middle, half, strict=True)
    ]


if __name__ == "__main__":
    main()
