"""Run folders with made attack records: test data for everything that reads a verification."""

from __future__ import annotations

import shutil
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from run_folders import make_run

from morel_search.analysis.run_data import read_run_data
from morel_search.analysis.verification import Verification
from morel_search.analysis.verification_reader import read_verification
from morel_search.results.attack_names import STAGES, WHITE_BOX
from morel_search.results.attack_records import (
    BROKEN,
    COLUMNS,
    ROBUST,
    SKIPPED,
    UNKNOWN,
    AttackRecord,
    AttackSetup,
)
from morel_search.results.diagnostics import MaskingDiagnostics
from morel_search.results.folder import RunFolder
from morel_search.results.renamed import current_evaluation

__all__ = ["HONEST", "IMAGES", "SETUP", "copied_run", "made_table", "verified_run"]

IMAGES = 400
SETUP = AttackSetup(
    weights="a", evaluation=current_evaluation({"norm": "linf", "epsilon": "0.2"}), seed=0, data="b"
)
HONEST = MaskingDiagnostics(
    images=100,
    zero_gradients=0.0,
    unfit=0.0,
    gap=3.0,
    same_class=0.1,
    chance=0.0,
    scale=1.0,
    curve=(0.5,) * 8,
    everywhere=0.0,
)


def made_table(
    random: np.random.Generator, clean: float, robust: float, attacked: int = IMAGES, late: int = IMAGES
) -> NDArray[np.int8]:
    """Make a record in which the first images are robust; random attacks break the others.

    The white-box attacks came to the first images up to ``attacked``, FAB-T and Square to those up to
    ``late``.
    """
    table = np.full((IMAGES, len(COLUMNS)), UNKNOWN, dtype=np.int8)
    table[:, 0] = np.arange(IMAGES) < clean * IMAGES
    for image in range(attacked):
        breaker = random.choice(["fgsm", "pgd", "apgd-t"]) if image >= robust * IMAGES else ""
        value = ROBUST if table[image, 0] == ROBUST else SKIPPED
        for stage in STAGES if image < late else WHITE_BOX:
            broken_now = stage == breaker and value == ROBUST
            table[image, COLUMNS.index(stage)] = BROKEN if broken_now else value
            value = SKIPPED if broken_now else value
    table[attacked:] = UNKNOWN
    return table


def verified_run(
    folder: Path, *, attacked: int = IMAGES, late: int = IMAGES, **diagnostics: MaskingDiagnostics
) -> tuple[RunFolder, Verification]:
    run = make_run(folder)
    run_data, random = read_run_data(run), np.random.default_rng(0)
    for rows in (run_data.front, run_data.controls):
        for row in rows.to_dict("records"):
            name = str(row["number"])
            table = made_table(
                random, row["clean_accuracy"] - 0.01, row["robust_accuracy"] - 0.06, attacked, late
            )
            AttackRecord(name, SETUP, table, diagnostics.get(f"n{name}", HONEST)).write(run)
    verification = read_verification(run_data)
    assert verification is not None
    return run, verification


@cache
def _once() -> tuple[tempfile.TemporaryDirectory[str], Path, Verification]:
    folder = tempfile.TemporaryDirectory()
    run, verification = verified_run(Path(folder.name))
    return folder, run.path, verification


def copied_run(folder: Path) -> tuple[RunFolder, Verification]:
    """Copy a verified run, which is made once and deleted with the process."""
    _, path, verification = _once()
    return RunFolder(Path(shutil.copytree(path, folder / path.name))), verification
