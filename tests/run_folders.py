"""Run folders that are made by formulas, not by trainings: test data for reading and reporting."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from morel_search.config import Space, load_space
from morel_search.results.folder import RunFolder
from morel_search.results.new_run import create_run_folder
from morel_search.results.tables import EPOCH_COLUMNS, front_columns, trial_columns

SPACE = """\
# test data: no training ever ran from this
data: {name: digits, validation: 360}
network: {name: small_cnn, options: {width: 16}}
train: {epochs: 12, batch_size: 64, lr: 0.05}
evaluation: {epsilon: 0.2, steps: 10}
parameters:
  epsilon: {type: float, low: 0.01, high: 0.3}
  accuracy_loss: {type: categorical, choices: [trades, mart, loat, pgd]}
  k_robust: {type: float, low: 0.01, high: 0.5, log: true}
  alpha: {type: float, low: 0.001, high: 10, log: true}
  temperature: {type: float, low: 0.05, high: 1, log: true}
  beta: {type: float, low: 1, high: 12, when: {accuracy_loss: [trades, mart, loat]}}
  attack_steps: {type: int, low: 1, high: 10}
  loat_theta: {type: float, low: 0.1, high: 5, log: true, when: {accuracy_loss: loat}}
search: {trials: 45, population: 10, seed: 3}
controls: [trades, mart, none, morel, morel_alpha0]
"""
CONTROLS: dict[str, dict[str, Any]] = {
    "trades": {
        "epsilon": 0.2,
        "accuracy_loss": "trades",
        "k_robust": 0.0,
        "alpha": 1e-5,
        "temperature": 0.1,
        "beta": 6.0,
        "attack_steps": 10,
    },
    "mart": {
        "epsilon": 0.2,
        "accuracy_loss": "mart",
        "k_robust": 0.0,
        "alpha": 1e-5,
        "temperature": 0.1,
        "beta": 6.0,
        "attack_steps": 10,
    },
    "none": {
        "epsilon": 0.0,
        "accuracy_loss": "none",
        "k_robust": 0.0,
        "alpha": 1e-5,
        "temperature": 0.1,
        "attack_steps": 10,
    },
    "morel": {
        "epsilon": 0.2,
        "accuracy_loss": "mart",
        "k_robust": 0.1,
        "alpha": 1e-5,
        "temperature": 0.1,
        "beta": 6.0,
        "attack_steps": 10,
    },
    "morel_alpha0": {
        "epsilon": 0.2,
        "accuracy_loss": "mart",
        "k_robust": 0.1,
        "alpha": 0.0,
        "temperature": 0.1,
        "beta": 6.0,
        "attack_steps": 10,
    },
}
FAILURES = (
    "DivergedError: the loss is nan in epoch 3",
    "OutOfMemoryError: 2.1 GiB were asked for and 1.3 GiB are free; try a smaller batch_size",
)
EPOCHS = 12
POINT = ["clean_accuracy", "robust_accuracy"]


def make_space() -> Space:
    """Read the space of these runs with the reader of the project."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "space.yaml"
        path.write_text(SPACE, encoding="utf-8")
        return load_space(path)


def make_run(
    results: Path,
    name: str = "made",
    *,
    trials: int = 40,
    failures: int = 2,
    pruned: int = 0,
    controls: bool = True,
    tested: bool = True,
    epochs: bool = True,
    status: str = "finished",
    seed: int = 0,
    rungs: tuple[int, ...] = (),
    constraints: dict[str, str] | None = None,
    select_epoch: str = "best_sum",
) -> RunFolder:
    """Make a run folder with the controls and searched trials, some of which fail or are stopped early.

    With rungs, trials are stopped at one of them, and every ninth complete trial would have been stopped at
    the first rung. Constraints are lower bounds of the accuracies. With ``select_epoch="front"`` the robust
    accuracy falls again before the last epoch, and each epoch can be a member of the front.
    """
    rng, space = np.random.default_rng(seed), make_space()
    rows, curves = [], []
    plans = [("control", control, params) for control, params in CONTROLS.items()] if controls else []
    plans += [("search", "", _propose(rng, index / max(1, trials))) for index in range(trials)]
    unlucky = rng.choice(
        np.arange(len(plans) - trials, len(plans)), size=min(trials, failures + pruned), replace=False
    ).tolist()
    for number, (origin, control, params) in enumerate(plans):
        state = (
            "COMPLETE" if number not in unlucky else "FAIL" if unlucky.index(number) < failures else "PRUNED"
        )
        row, curve = _train(rng, number, state, params, rungs)
        if select_epoch == "front" and curve:
            _overfit(row, curve)
        if state == "COMPLETE":
            row["violation"] = sum(
                max(0.0, float(Fraction(bound[2:].strip())) - row[key])
                for key, bound in (constraints or {}).items()
            )
        rows.append(
            {
                "origin": origin,
                "name": control,
                **row,
                **{f"param_{key}": value for key, value in params.items()},
            }
        )
        curves += curve
    names = [parameter.name for parameter in space.parameters]
    table = pd.DataFrame(rows, columns=trial_columns(names))
    run = create_run_folder(results, name)
    run.write_text(run.space, SPACE)
    settings = settings_of(space, name, status)
    stopping = {
        "enabled": bool(rungs),
        "eta": 3,
        "grace": None,
        "rungs": None,
        "min_peers": None,
        "ranking": "crowding",
        "run_through": 0.05,
    }
    settings["space"] |= (
        {"early_stopping": stopping, "constraints": constraints or {}} if rungs or constraints else {}
    )
    settings["space"]["search"] = {**settings["space"]["search"], "select_epoch": select_epoch}
    run.write_json(run.settings, settings | ({"rungs": list(rungs)} if rungs else {}))
    kept = [
        epoch
        for epoch in curves
        if all(epoch[key] >= Fraction(bound[2:].strip()) for key, bound in (constraints or {}).items())
    ]
    write_tables(run, table, names, tested=tested, rng=rng, curves=kept if select_epoch == "front" else ())
    if epochs:
        run.write_table(run.epochs, pd.DataFrame(curves, columns=list(EPOCH_COLUMNS)))
    return run


def write_tables(
    run: RunFolder,
    table: pd.DataFrame,
    names: list[str],
    *,
    tested: bool,
    rng: np.random.Generator,
    curves: Sequence[Any] = (),
) -> None:
    """Write ``trials.csv`` and ``front.csv``; with curves, the front is that of their epochs."""
    able = (table["state"] == "COMPLETE") & ~(table["violation"].astype(float) > 0)
    if curves:
        run.write_table(run.trials, table)
        epochs = pd.DataFrame(curves)[["number", "epoch", *POINT]].merge(
            table[able].drop(columns=["epoch", *POINT]), on="number"
        )
        table, able = epochs, pd.Series(True, index=epochs.index)
    points = table[POINT].to_numpy(dtype=float, copy=True)
    points[~able.to_numpy()] = np.nan
    members = [
        i
        for i, p in enumerate(points)
        if not np.isnan(p).any() and not any((q >= p).all() and (q > p).any() for q in points)
    ]
    if tested:
        table.loc[members, "test_clean_accuracy"] = np.clip(
            points[members, 0] - rng.normal(0.008, 0.006, len(members)), 0, 1
        )
        table.loc[members, "test_robust_accuracy"] = np.clip(
            points[members, 1] - rng.normal(0.012, 0.015, len(members)), 0, 1
        )
    if not curves:
        run.write_table(run.trials, table)
    front = table.loc[members].sort_values("clean_accuracy", ascending=False)
    run.write_table(run.front, front[front_columns(names)])


def settings_of(space: Space, name: str, status: str) -> dict[str, Any]:
    """Return the content of ``settings.json``."""
    return {
        "format": 1, "name": name, "created": "2026-03-01T09:30:00+00:00",
        "finished": "2026-03-01T09:32:11+00:00" if status == "finished" else None,
        "status": status, "seed": 3, "space": space.describe(), "overrides": [],
        "versions": {
            "python": "3.12.4", "morel_search": "0.1.0", "torch": "2.14.1", "ray": "2.60.0",
            "optuna": "5.0.0",
        },
        "hardware": {
            "cpu": "Test CPU at 3 GHz", "cores": 2, "memory_gib": 24.0, "gpus": [],
            "platform": "Linux-6.1-x86_64",
        },
        "commit": "0123456789abcdef0123456789abcdef01234567", "device": "cpu",
        "command": [
            "python", "-m", "morel_search.run", "--space", "search_spaces/digits.yaml", "--name", name,
        ],
        "warnings": [],
    }  # fmt: skip


def _propose(rng: np.random.Generator, progress: float) -> dict[str, Any]:
    """Draw parameters; their quality rises with the progress of the search."""
    loss = str(rng.choice(["trades", "mart", "loat", "pgd"]))
    params: dict[str, Any] = {
        "epsilon": float(rng.uniform(0.01, 0.3)),
        "accuracy_loss": loss,
        "k_robust": float(np.exp(rng.uniform(math.log(0.01), math.log(0.5 - 0.3 * progress)))),
        "alpha": float(np.exp(rng.uniform(math.log(0.001), math.log(10)))),
        "temperature": float(np.exp(rng.uniform(math.log(0.05), 0))),
        "attack_steps": int(rng.integers(1 + round(4 * progress), 11)),
    }
    if loss != "pgd":
        params["beta"] = float(rng.uniform(1, 12))
    if loss == "loat":
        params["loat_theta"] = float(np.exp(rng.uniform(math.log(0.1), math.log(5))))
    return params


def _overfit(row: dict[str, Any], curve: list[dict[str, Any]]) -> None:
    """Let the robust accuracy fall before the end, and select the epoch with the highest sum."""
    for epoch in curve:
        epoch["robust_accuracy"] = min(
            1.0, epoch["robust_accuracy"] * (1 + 0.2 * math.sin(math.pi * epoch["epoch"] / EPOCHS))
        )
    best = max(
        curve,
        key=lambda epoch: (
            epoch["robust_accuracy"] + epoch["clean_accuracy"],
            epoch["robust_accuracy"],
            epoch["epoch"],
        ),
    )
    last = curve[-1]
    row |= {"last_clean_accuracy": last["clean_accuracy"], "last_robust_accuracy": last["robust_accuracy"]}
    if row["state"] == "COMPLETE":
        row |= {key: best[key] for key in ("epoch", *POINT)}


def _train(
    rng: np.random.Generator, number: int, state: str, params: dict[str, Any], rungs: tuple[int, ...] = ()
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Compute the row and the epochs of a trial; stronger attacks trade clean for robust accuracy."""
    strength = (
        min(1.0, params["epsilon"] / 0.3)
        * (1 - 0.5 / (1 + params["attack_steps"]))
        * (0.7 + 0.025 * params.get("beta", 6))
    )
    waste = 0.05 * abs(math.log10(max(params["k_robust"], 0.05) / 0.05)) + 0.01 * abs(
        math.log10(max(params["alpha"], 1e-3) / 0.3)
    )
    clean = 0.992 - 0.12 * strength**2.2 - waste * 0.5 - abs(rng.normal(0, 0.006))
    robust = 0.04 + 0.74 * (1 - math.exp(-2.6 * strength)) - waste - abs(rng.normal(0, 0.012))
    clean, robust = round(max(0.1, clean) * 360) / 360, round(max(0.0, robust) * 360) / 360
    ran = EPOCHS if state == "COMPLETE" else int(rng.integers(2, EPOCHS // 2))
    ran = int(rng.choice(rungs)) if rungs and state == "PRUNED" else ran
    curve = []
    for epoch in range(1, ran + 1):
        share = 1 - math.exp(-3.2 * epoch / EPOCHS)
        noise = rng.normal(0, 0.006 * (1 - epoch / EPOCHS), 2)
        curve.append({
            "number": number, "epoch": epoch, "loss": 2.3 - 1.6 * share, "accuracy_loss": 2.3 - 1.7 * share,
            "robust_loss": 0.4 - 0.3 * share,
            "cosine_loss": 0.1 - 0.05 * share, "contrastive_loss": 3.0 - share,
            "lr": 0.05 * (1 + math.cos(math.pi * epoch / EPOCHS)) / 2,
            "train_accuracy": 0.1 + (clean - 0.1) * share,
            "clean_accuracy": min(1, 0.1 + (clean - 0.1) * share / 0.96 + noise[0]),
            "robust_accuracy": max(0, robust * share / 0.96 + noise[1]),
            "seconds": 0.4 + 0.03 * params["attack_steps"],
        })  # fmt: skip
    known, last = state == "COMPLETE", curve[-1]
    if known:
        last |= {"clean_accuracy": clean, "robust_accuracy": robust}
    row = {
        "number": number, "state": state, "epochs": ran, "epoch": ran if known else None,
        "clean_accuracy": clean if known else None,
        "robust_accuracy": robust if known else None, "last_clean_accuracy": last["clean_accuracy"],
        "last_robust_accuracy": last["robust_accuracy"],
        "rung": max((rung for rung in rungs if rung <= ran), default=None),
        "spared": rungs[0] if known and rungs and number % 9 == 8 else None,
        "test_clean_accuracy": math.nan, "test_robust_accuracy": math.nan,
        "seconds": ran * (0.4 + 0.03 * params["attack_steps"]),
        "seed": 1000 + number,
        "failure": FAILURES[number % 2] if state == "FAIL" else "",
    }  # fmt: skip
    return row, curve
