"""FAB-T and Square of a verification against ``pyautoattack``'s own: passes, seconds and verdicts.

    python benchmarks/attacks.py

The network is the one of the tests, trained for robustness on digits (8 x 8 grey pixels). As in a
verification, the attacks get the images that are robust to PGD and APGD. Both sides attack in turn, on one
thread, and the medians of their seconds are compared. Writes ``attacks.md`` beside this file.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from morel_search import load_model
from morel_search.training.augment import to_float
from morel_search.training.compute_settings import FLOAT32
from morel_search.training.datasets.loading import ImageSet, load_development
from morel_search.training.frozen import FrozenNetwork
from morel_search.training.settings import DataSettings, EvaluationSettings, Norm
from morel_search.verification.attack_suite import AttackSuite
from morel_search.verification.batched_attacks import AllTargetsFab, SparingSquare

HERE = Path(__file__).parent
NETWORK = HERE.parent / "tests" / "robust_network"
EPSILON: dict[Norm, str] = {"linf": "1/5", "l2": "1"}
NORMS: dict[Norm, str] = {"linf": "Linf", "l2": "L2"}
BATCH = 256


class Counted:
    """A network that counts the images of its forward passes."""

    def __init__(self, network: Callable[[Tensor], Tensor]) -> None:
        self._network, self.images = network, 0

    def __call__(self, images: Tensor) -> Tensor:
        self.images += len(images)
        return self._network(images)


def survivors(model: nn.Module, images: ImageSet, evaluation: EvaluationSettings) -> tuple[Tensor, Tensor]:
    """Return the images and labels that are robust to PGD and APGD."""
    x, y = to_float(images.images), images.labels
    suite = AttackSuite(model, x[:2], evaluation)
    for name in ("pgd", "apgd-ce", "apgd-t"):
        robust = suite.robust_mask(name, x, y)
        x, y = x[robust], y[robust]
    return x, y


def compare(norm: Norm, count: int, images: ImageSet, model: nn.Module, repeats: int) -> list[list[str]]:
    """Return the table's rows for one norm and number of images: FAB-T and Square."""
    from pyautoattack import AutoAttack

    settings = EvaluationSettings(norm=norm, epsilon=Fraction(EPSILON[norm]))
    x, y = survivors(model, ImageSet(images.images[:count], images.labels[:count]), settings)
    network = Counted(FrozenNetwork(model, x[:2], FLOAT32))
    suite = AutoAttack(
        network, norm=NORMS[norm], eps=float(settings.epsilon), seed=0, device=torch.device("cpu")
    )
    suite.fab.targeted = True
    sides: dict[str, tuple[Any, Any]] = {
        "FAB-T": (suite.fab, AllTargetsFab(suite.fab, BATCH)),
        "Square": (suite.square, SparingSquare(suite.square)),
    }
    rows = []
    for name, pair in sides.items():
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(repeats):
            passes, verdicts = [], []
            for attack, times in zip(pair, seconds, strict=True):
                network.images, began = 0, time.process_time()
                points = attack.perturb(x, y)
                times.append(time.process_time() - began)
                passes.append(network.images)
                with torch.no_grad():
                    verdicts.append(model(points).argmax(dim=1) == y)
        rows.append(
            [
                name,
                NORMS[norm],
                str(len(x)),
                f"{passes[0]:,}",
                f"{passes[1]:,}",
                f"{median(seconds[0]):.2f}",
                f"{median(seconds[1]):.2f}",
                f"{median(seconds[0]) / median(seconds[1]):.2f}",
                f"{int((verdicts[0] != verdicts[1]).sum())}",
            ]
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, nargs="+", default=[20, 200], help="digits to begin with")
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = load_model(NETWORK).eval()
    images = load_development(DataSettings(name="digits", validation=0.25)).train
    head = [
        "attack", "norm", "images attacked", "passes, pyautoattack", "passes, here", "s, pyautoattack",
        "s, here", "ratio", "other verdicts",
    ]  # fmt: skip
    rows = [head, ["---"] * len(head)]
    for count in arguments.images:
        for norm in NORMS:
            rows += compare(norm, count, images, model, arguments.repeats)
    text = "\n".join("| " + " | ".join(row) + " |" for row in rows)
    print(text)
    (HERE / "attacks.md").write_text(
        "# FAB-T and Square on small images\n\nMade by `python benchmarks/attacks.py`: seconds of processor "
        f"time, the median of {arguments.repeats} on each side, which attacked in turn.\n\n" + text + "\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
