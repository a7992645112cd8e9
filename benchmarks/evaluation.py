"""Measures how far the attacks of a search are from AutoAttack, over networks of every loss.

    python benchmarks/evaluation.py FOLDER
    python benchmarks/evaluation.py FOLDER --train cifar10-train.parquet --test cifar10-test.parquet

Trains small networks (18 on digits; with CIFAR-10 images as Parquet files also small CNNs, ResNets and vision
transformers), attacks each with PGD and AutoAttack for reference, and with every candidate. FOLDER keeps
networks and references, so that a second run continues. Writes ``evaluation.csv`` and ``evaluation.md``
beside this file; with ``--full``, whose reference has FAB-T and Square too, ``evaluation_full.csv`` and
``evaluation_full.md``.
"""

from __future__ import annotations

import argparse
import dataclasses
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from morel_search.models.checkpoint import load_model, save_model
from morel_search.training.attacks import attack_mode
from morel_search.training.augment import to_float
from morel_search.training.datasets.loading import load_development, load_test
from morel_search.training.evaluation import attack_starts, correct, robust_mask
from morel_search.training.evaluation_attacks import (
    EvaluationAttack,
    final_attack,
    plain_attack,
    quick_attack,
)
from morel_search.training.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainSettings
from morel_search.training.trainer import Training
from morel_search.verification.attack_suite import AttackSuite

HERE = Path(__file__).parent

LOSSES: dict[str, dict[str, Any]] = {
    "trades": {"accuracy_loss": "trades"},
    "mart": {"accuracy_loss": "mart"},
    "loat": {"accuracy_loss": "loat"},
    "pgd": {"accuracy_loss": "pgd"},
    "morel": {"accuracy_loss": "trades", "k_robust": 0.4, "alpha": 1.0, "temperature": 0.2},
    "mart-morel": {"accuracy_loss": "mart", "k_robust": 0.3, "alpha": 0.1, "temperature": 0.1},
}
DIGITS_TRAIN: dict[str, Any] = {
    "epochs": 10, "batch_size": 128, "optimizer": "adamw", "lr": 0.02, "weight_decay": 1e-3, "warmup": 0.1,
    "loat_late_from": 8, "attack_steps": 5, "k_robust": 0.0,
}  # fmt: skip
CIFAR_TRAIN = {**DIGITS_TRAIN, "epochs": 8, "lr": 0.005, "loat_late_from": 6, "attack_steps": 4}
CIFAR_NETWORKS: dict[str, tuple[NetworkSettings, dict[str, Any], tuple[str, ...]]] = {
    "cnn": (NetworkSettings(name="small_cnn", options={"width": 16}), {}, ("4/255", "8/255")),
    "resnet": (NetworkSettings(name="resnet18", options={"width": 8}), {}, ("8/255",)),
    "vit": (
        NetworkSettings(name="vit", options={"width": 48, "depth": 3, "heads": 3, "patch": 4}),
        {"lr": 0.002, "epochs": 12},
        ("8/255",),
    ),
}
REFERENCE = ("pgd", "apgd-ce", "apgd-t", "fab-t", "square")
WHITE_BOX = REFERENCE[:3]


@dataclass(frozen=True)
class Subject:
    """A network of the benchmark: how it is trained, and the radius at which it is attacked."""

    name: str
    loss: str
    data: DataSettings
    network: NetworkSettings
    train: dict[str, Any]
    radius: Fraction


def subjects(train: str | None, test: str | None) -> Iterator[Subject]:
    """Yield the networks: every loss, trained at a small, a usual and a large radius."""
    digits = DataSettings(name="digits", validation=0.25)
    small = NetworkSettings(name="small_cnn", options={"width": 16})
    for loss, changes in LOSSES.items():
        for radius in ("1/10", "1/5", "3/10"):
            name = f"digits-cnn-{loss}-{radius.replace('/', '_')}"
            settings = {**DIGITS_TRAIN, **changes, "epsilon": Fraction(radius)}
            yield Subject(name, loss, digits, small, settings, Fraction(1, 5))
    if train is None:
        return
    cifar = DataSettings(name="parquet", train=train, test=test, validation=500, limit=4500, test_limit=300)
    for kind, (network, changes, radii) in CIFAR_NETWORKS.items():
        for loss in ("trades", "mart", "loat", "pgd"):
            for radius in radii:
                settings = {**CIFAR_TRAIN, **changes, **LOSSES[loss], "epsilon": Fraction(radius)}
                name = f"cifar-{kind}-{loss}-{radius.replace('/', '_')}"
                yield Subject(name, loss, cifar, network, settings, Fraction(8, 255))


def candidates(radius: Fraction) -> dict[str, EvaluationAttack]:
    """Return the attacks that are compared, by name."""
    settings = EvaluationSettings(epsilon=radius)
    plain = dataclasses.replace(settings, loss="cross_entropy", steps=20)
    quick, final = quick_attack(settings), final_attack(settings)
    return {
        "PGD-20, cross entropy, constant steps": plain_attack(plain),
        "PGD-20, margin, constant steps": plain_attack(dataclasses.replace(plain, loss="margin")),
        "targeted 3 x 10, uniform start": dataclasses.replace(
            quick, attack=dataclasses.replace(quick.attack, steps=10), targets=3, starts=("uniform",)
        ),
        "targeted 3 x 10": dataclasses.replace(
            quick, attack=dataclasses.replace(quick.attack, steps=10), targets=3
        ),
        "quick evaluation: targeted 4 x 8": quick,
        "targeted 9 x 20": dataclasses.replace(final, starts=("none",)),
        "final evaluation: targeted 9 x 20, two starts": final,
    }


class Counting(nn.Module):
    """A network that counts the images whose gradient it is asked for."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.images = network, 0

    def forward(self, images: Tensor) -> Tensor:
        if images.requires_grad:
            self.images += len(images)
        logits: Tensor = self.network(images)
        return logits


def trained(subject: Subject, folder: Path, seed: int) -> nn.Module:
    """Return the trained network, from the folder if it is there."""
    path = folder / f"{subject.name}.pt"
    if not path.exists():
        development = load_development(subject.data)
        evaluation = EvaluationSettings(epsilon=subject.radius, every=10**6)
        training = Training(
            TrainSettings(**subject.train), subject.network, development, evaluation, seed=seed
        )
        for _ in training:
            pass
        shape = development.train.images.shape[1:]
        save_model(path, training.model, subject.network, shape, development.classes)
    return load_model(path)[0]


def reference(
    subject: Subject, model: nn.Module, images: Tensor, labels: Tensor, folder: Path, attacks: tuple[str, ...]
) -> dict[str, int]:
    """Return the number of images that are robust to each attack and those before it."""
    path = folder / f"{subject.name}.masks.pt"
    masks: dict[str, Tensor] = torch.load(path) if path.exists() else {}
    suite = AttackSuite(
        model, images, EvaluationSettings(epsilon=subject.radius, loss="cross_entropy", final_steps=0)
    )
    robust = suite.correct(images, labels)
    for name in attacks:
        if name not in masks:
            mask = robust.clone()
            for part in torch.split(mask.nonzero().squeeze(1), 128):
                mask[part] = suite.robust_mask(name, images[part], labels[part])
            masks[name] = mask
            torch.save(masks, path)
        robust = masks[name]
    return {name: int(masks[name].sum()) for name in attacks}


def robust_count(
    model: nn.Module, images: Tensor, labels: Tensor, attack: EvaluationAttack
) -> tuple[int, float]:
    """Return the number of robust images, and the gradient passes per image of the test split."""
    counting = Counting(model)
    generator = torch.Generator().manual_seed(0)
    with attack_mode(model):
        remaining = correct(model, images, labels).nonzero().squeeze(1)
        for start in attack_starts(images, attack, generator):
            mask = robust_mask(
                model, counting, images[remaining], labels[remaining], start[remaining], attack
            )
            remaining = remaining[mask]
    return len(remaining), counting.images / len(images)


def measure(folder: Path, train: str | None, test: str | None, match: str, *, full: bool) -> pd.DataFrame:
    """Return one row for each network and candidate."""
    rows, attacks = [], REFERENCE if full else WHITE_BOX
    for seed, subject in enumerate(subjects(train, test)):
        if not re.search(match, subject.name):
            continue
        began = time.perf_counter()
        model = trained(subject, folder, seed)
        split = load_test(subject.data)
        images, labels = to_float(split.images), split.labels
        counts = reference(subject, model, images, labels, folder, attacks)
        for name, attack in candidates(subject.radius).items():
            count, passes = robust_count(model, images, labels, attack)
            rows.append(
                {
                    "network": subject.name, "loss": subject.loss, "candidate": name, "images": len(labels),
                    "robust": count, "passes": passes, "reference": counts[attacks[-1]],
                    **({name: counts[name] for name in ("apgd-t", "fab-t")} if full else {}),
                }
            )  # fmt: skip
        seconds = time.perf_counter() - began
        print(f"{subject.name}: reference {counts}, {seconds:.0f} s", flush=True)
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row for each candidate: gaps in percentage points, rank correlation and passes."""
    table = table.assign(
        accuracy=100 * table["robust"] / table["images"], truth=100 * table["reference"] / table["images"]
    )
    table["gap"] = table["accuracy"] - table["truth"]
    rows = []
    for name, part in table.groupby("candidate", sort=False):
        by_loss = part.groupby("loss")["gap"].mean()
        rows.append(
            {
                "attack": name,
                "mean gap": part["gap"].mean(),
                "largest": part["gap"].max(),
                "smallest": part["gap"].min(),
                "rank correlation": part["accuracy"].corr(part["truth"], method="spearman"),
                "range over losses": by_loss.max() - by_loss.min(),
                "passes": part["passes"].mean(),
            }
        )
    return pd.DataFrame(rows)


def markdown(table: pd.DataFrame, *, full: bool) -> str:
    """Return the page: all networks, then the two halves and each data set."""
    names = list(dict.fromkeys(table["network"]))
    parts = {
        f"All {len(names)} networks": table,
        "Every second network, from the first": table[table["network"].isin(names[::2])],
        "Every second network, from the second": table[table["network"].isin(names[1::2])],
    }
    parts |= {
        f"{data}: {part['network'].nunique()} networks": part
        for data, part in table.groupby(table["network"].str.partition("-")[0])
    }
    attacks = "PGD-20, APGD-CE, APGD-T, FAB-T and Square" if full else "PGD-20, APGD-CE and APGD-T"
    lines = [
        f"# The attacks of a search against {'the whole of ' if full else ''}AutoAttack",
        "",
        "Written by `benchmarks/evaluation.py`. Gap: robust accuracy under the attack minus robust accuracy "
        f"after {attacks}, on the same test images, in percentage points; below 0, the attack breaks images "
        "that the reference leaves. Range over losses: the largest minus the smallest mean gap of a training "
        "loss. Passes: gradient passes per test image.",
    ]
    if full:
        counts = table.drop_duplicates("network")[["apgd-t", "fab-t", "reference"]].sum()
        lines += [
            "",
            f"Of {counts['apgd-t']:,} images that APGD-T leaves, all networks together, FAB-T breaks "
            f"{counts['apgd-t'] - counts['fab-t']} and Square {counts['fab-t'] - counts['reference']} more.",
        ]
    for title, part in parts.items():
        figures = summary(part)
        lines += [
            "",
            f"## {title}",
            "",
            "| " + " | ".join(figures.columns) + " |",
            "|---" * len(figures.columns) + "|",
        ]
        lines += [
            "| " + " | ".join([str(row[0]), *(f"{value:.2f}" for value in row[1:6]), f"{row[6]:.1f}"]) + " |"
            for row in figures.itertuples(index=False)
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder for networks and references")
    parser.add_argument("--train", help="Parquet file of CIFAR-10 training images")
    parser.add_argument("--test", help="Parquet file of CIFAR-10 test images")
    parser.add_argument("--match", default="", help="regular expression; only networks whose name it matches")
    parser.add_argument("--full", action="store_true", help="reference with FAB-T and Square too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    table = measure(options.folder, options.train, options.test, options.match, full=options.full)
    name = "evaluation_full" if options.full else "evaluation"
    table.to_csv(HERE / f"{name}.csv", index=False)
    page = markdown(table, full=options.full)
    (HERE / f"{name}.md").write_text(page, encoding="utf-8")
    print(page)


if __name__ == "__main__":
    main()
