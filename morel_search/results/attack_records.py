"""Records of the attacks on a network, image by image; a verification continues from them.

A record is two files of the run folder: ``verification/NETWORK.csv`` has one row per image of the test split,
``verification/NETWORK.json`` has the setup, the diagnostics of gradient masking and the arithmetic of the
attacks.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from morel_search.results.attack_names import STAGES
from morel_search.results.diagnostics import MaskingDiagnostics
from morel_search.results.folder import RunFolder
from morel_search.results.renamed import current_evaluation
from morel_search.results.tables import read_table

__all__ = [
    "BROKEN",
    "COLUMNS",
    "ROBUST",
    "UNKNOWN",
    "AttackRecord",
    "AttackSetup",
    "fingerprint",
    "open_record",
    "read_records",
]

UNKNOWN, BROKEN, ROBUST = -1, 0, 1
"""Result for an image: not attacked, misclassified, correctly classified."""

COLUMNS = ("clean", *STAGES)
"""Columns of a record's table: the unperturbed image, then each attack."""


@dataclass(frozen=True, slots=True)
class AttackSetup:
    """The setup of a verification. A record is continued only with the same setup.

    Attributes:
        weights: SHA-256 of the file with the network's weights.
        evaluation: The section ``evaluation`` of the resolved space: norm, epsilon and the attack of the
            search.
        seed: Seed of the attacks and of the order of the images.
        data: SHA-256 of the images and the labels of the test split.
    """

    weights: str
    evaluation: Mapping[str, object]
    seed: int
    data: str


@dataclass(slots=True)
class AttackRecord:
    """The results of the attacks on one network.

    Attributes:
        name: Name of the network and of its folder in ``front/``.
        setup: The setup of the verification.
        table: Shape (images, 1 + attacks), with the columns :data:`COLUMNS` and the values UNKNOWN, BROKEN
            and ROBUST. A misclassified image is not attacked again, so all values after a BROKEN are UNKNOWN.
        diagnostics: Diagnostics of gradient masking; None until they are measured.
        attacks: The attacks that apply to this network; APGD-T, for example, needs at least four classes.
        compute: Arithmetic of the attacks' gradients in the latest part of the verification; None in older
            records.
    """

    name: str
    setup: AttackSetup
    table: NDArray[np.int8]
    diagnostics: MaskingDiagnostics | None = None
    attacks: tuple[str, ...] = STAGES
    compute: Mapping[str, object] | None = None

    def write(self, run: RunFolder) -> None:
        """Replace the two files of the record."""
        import pandas as pd

        cells = pd.DataFrame(
            np.where(self.table == UNKNOWN, np.nan, self.table), columns=list(COLUMNS)
        ).astype("Int64")
        cells.insert(0, "image", np.arange(len(cells)))
        run.write_table(run.verification / f"{self.name}.csv", cells)
        run.write_json(run.verification / f"{self.name}.json", self._json())

    def _json(self) -> dict[str, object]:
        setup = self.setup
        return {
            "weights": setup.weights,
            "evaluation": setup.evaluation,
            "seed": setup.seed,
            "data": setup.data,
            **({} if self.compute is None else {"compute": self.compute}),
            **({} if self.diagnostics is None else self.diagnostics.to_json()),
            "attacks": list(self.attacks),
        }


def open_record(run: RunFolder, name: str, setup: AttackSetup, images: int) -> AttackRecord:
    """Return the record of a network, or an empty record when there is none with this setup.

    Args:
        run: The run folder.
        name: Name of the network.
        setup: The setup of the verification.
        images: Number of images of the test split.

    Returns:
        The record. In an empty record every image is UNKNOWN and the diagnostics are None.

    Raises:
        RunFolderError: The table of the record is damaged.
    """
    record = _read(run.verification / f"{name}.json")
    if record is not None and record.setup == setup and len(record.table) == images:
        return record
    return AttackRecord(name, setup, np.full((images, len(COLUMNS)), UNKNOWN, dtype=np.int8))


def read_records(run: RunFolder) -> dict[str, AttackRecord]:
    """Read all records of a run folder, by the name of the network; skip those whose JSON file is damaged.

    Raises:
        RunFolderError: The table of a record is damaged.
    """
    if not run.verification.is_dir():
        return {}
    records = [_read(path) for path in sorted(run.verification.glob("*.json"))]
    return {record.name: record for record in records if record is not None}


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read(path: Path) -> AttackRecord | None:
    """Read a record; return None when its JSON file is missing or damaged."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    setup = _setup(values)
    if setup is None:
        return None
    cells = read_table(path.with_suffix(".csv"), ("image", *COLUMNS), (), ("image", *COLUMNS))
    table = cells[list(COLUMNS)].astype("float").fillna(UNKNOWN).to_numpy().astype(np.int8)
    attacks, compute = values.get("attacks"), values.get("compute")
    return AttackRecord(
        path.stem,
        setup,
        table,
        MaskingDiagnostics.from_json(values),
        tuple(stage for stage in STAGES if stage in attacks) if isinstance(attacks, list) else STAGES,
        compute if isinstance(compute, dict) else None,
    )


def _setup(values: object) -> AttackSetup | None:
    if not isinstance(values, dict):
        return None
    weights, data = values.get("weights"), values.get("data")
    evaluation, seed = values.get("evaluation"), values.get("seed")
    if not isinstance(weights, str) or not isinstance(data, str):
        return None
    if not isinstance(evaluation, dict) or not isinstance(seed, int):
        return None
    return AttackSetup(weights, current_evaluation(evaluation), seed, data)
