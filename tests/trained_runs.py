"""Test data: a run folder with the network of a real, tiny training and invented accuracies."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd

from morel_search.cluster.placement import with_absolute_paths
from morel_search.cluster.trainable import Job, train_job
from morel_search.models.checkpoint import load_model, save_model
from morel_search.results.folder import RunFolder
from morel_search.results.new_run import create_run_folder
from morel_search.results.tables import FRONT_COLUMNS, TRIAL_COLUMNS
from morel_search.training.compute_settings import FLOAT32
from morel_search.training.selection import EpochResult
from morel_search.training.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainSettings

NETWORK = NetworkSettings(name="small_cnn", options={"width": 4})
DATA = DataSettings(name="digits", validation=60, limit=260, test_limit=80)
EVALUATION = EvaluationSettings(epsilon=Fraction(1, 5), steps=3, every=2)
TRAIN = TrainSettings(
    epochs=3,
    batch_size=64,
    optimizer="adamw",
    lr=0.02,
    k_robust=0.3,
    alpha=0.1,
    epsilon=Fraction(2, 51),
    attack_steps=2,
    ema=0.9,
)
RUNGS = (1,)
FIGURES = ((0.95, 0.30), (0.90, 0.60), (0.80, 0.70))
"""Clean and robust accuracy of trials 0, 1 and 2 on the test split; 0.01 more on the validation split."""


def train_trial(
    folder: Path, *, seed: int = 7, train: TrainSettings = TRAIN, select_epoch: str = "best_sum"
) -> list[EpochResult]:
    """Train to the end as a trial of a search does; the network is written to the folder."""
    job = Job(
        number=0,
        seed=seed,
        train=train,
        network=NETWORK,
        data=with_absolute_paths(DATA),
        evaluation=EVALUATION,
        select_epoch=select_epoch,
        device="cpu",
        threads=1,
        folder=str(folder),
        compute=FLOAT32,
        rungs=RUNGS,
    )
    return train_job(job, lambda report: None)


def make_trained_run(
    results: Path,
    model: Path,
    *,
    name: str = "small",
    train: TrainSettings = TRAIN,
    seed: int = 7,
    select_epoch: str = "best_sum",
    figures: Sequence[tuple[float, float]] = FIGURES,
    epochs: Sequence[int] = (3, 3, 3),
    tested: bool = True,
    **more: Any,
) -> RunFolder:
    """Make a finished run whose members all have the weights of the same training."""
    run = create_run_folder(results, name)
    sections = {
        section: _plain(value)
        for section, value in (("data", DATA), ("network", NETWORK), ("evaluation", EVALUATION))
    }
    space = {
        **sections,
        "search": {"select_epoch": select_epoch},
        "parameters": [],
        "resources": {"cpu": 1.0, "gpu": 0.0},
    }
    settings = {
        "format": 1, "name": name, "status": "finished", "seed": 0, "space": space, "rungs": list(RUNGS),
        "device": "cpu", "images": {"validation": 60}, "compute": dataclasses.asdict(FLOAT32),
        "commit": "0123abc", "versions": {"torch": "2.14.1"},
    }  # fmt: skip
    run.write_json(run.settings, settings | more)
    network, metadata = load_model(model)
    rows = []
    for number, ((clean, robust), epoch) in enumerate(zip(figures, epochs, strict=False)):
        folder = run.front_models / (f"{number}-{epoch}" if select_epoch == "front" else str(number))
        folder.mkdir(parents=True)
        save_model(folder / "model.pt", network, NETWORK, metadata.image_shape, metadata.classes, epoch=epoch)
        member = {
            "format": 1,
            "number": number,
            "epoch": epoch,
            "seed": seed,
            "train": dataclasses.asdict(train),
            **sections,
        }
        run.write_json(folder / "settings.json", {**member, "select_epoch": select_epoch})
        test = {"test_clean_accuracy": clean, "test_robust_accuracy": robust} if tested else {}
        accuracies = {
            "clean_accuracy": round(min(1.0, clean + 0.01), 2),
            "robust_accuracy": round(robust + 0.01, 2),
        }
        rows.append(
            {
                "number": number,
                "state": "COMPLETE",
                "origin": "search",
                "epoch": epoch,
                **accuracies,
                **test,
                "seconds": 1.0,
            }
        )
    run.write_table(run.trials, pd.DataFrame(rows, columns=list(TRIAL_COLUMNS)))
    run.write_table(run.front, pd.DataFrame(rows, columns=list(FRONT_COLUMNS)))
    return run


def write_verified(run: RunFolder, *rows: tuple[int, float, float, str], images: int = 80) -> None:
    """Write ``verified.csv`` from number, clean and robust accuracy and flags of each network.

    The intervals are the accuracies plus and minus 0.02.
    """
    lines = [
        "number,epoch,name,images,late_images,clean_accuracy,clean_low,clean_high,"
        "robust_accuracy,robust_low,robust_high,after_pgd,on_front,beaten_by,flags"
    ]
    lines += [
        f"{number},3,none,{images},{images},{c},{c - 0.02},{c + 0.02},{r},{r - 0.02},{r + 0.02},0.7,"
        f'{not flags},,"{flags}"'
        for number, c, r, flags in rows
    ]
    run.write_text("verified.csv", "\n".join(lines) + "\n")


def _plain(settings: Any) -> dict[str, Any]:
    return {
        name: str(value) if isinstance(value, Fraction) else value
        for name, value in dataclasses.asdict(settings).items()
    }
