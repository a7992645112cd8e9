"""What a verification found, image by image, as files of the run folder: it continues where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from morel_search.results.attack_names import STAGES
from morel_search.results.folder import RunFolder
from morel_search.results.tables import read_table

__all__ = ["BROKEN", "COLUMNS", "ROBUST", "UNKNOWN", "AttackRecord", "open_record", "read_records"]

UNKNOWN, BROKEN, ROBUST = -1, 0, 1
COLUMNS = ("clean", *STAGES)
"""Of a record's table: whether the image is right as it is, and after each attack."""


@dataclass(slots=True)
class AttackRecord:
    """What is known of one network.

    Attributes:
        name: The network's, as its folder in ``front/`` is named.
        diagnostics: What it was verified with (weights, attack, seed, images), and the signs that were read.
        table: Shape (images, 1 + attacks), one column each of :data:`COLUMNS`: UNKNOWN, BROKEN or STANDING. A broken image is not
            attacked again, so what follows a BROKEN is UNKNOWN.
    """

    name: str
    diagnostics: dict[str, Any]
    table: NDArray[np.int8]

    def write(self, run: RunFolder) -> None:
        """Replace the record's two files."""
        import pandas as pd

        cells = pd.DataFrame(
            np.where(self.table == UNKNOWN, np.nan, self.table), columns=list(COLUMNS)
        ).astype("Int64")
        cells.insert(0, "image", np.arange(len(cells)))
        run.write_table(run.verification / f"{self.name}.csv", cells)
        run.write_json(run.verification / f"{self.name}.json", self.diagnostics)


def open_record(run: RunFolder, name: str, diagnostics: Mapping[str, Any], images: int) -> AttackRecord:
    """The record of a network as far as it is there; a new one where it is not, or was made with other facts.

    Args:
        run: The run's folder.
        name: The network's name.
        diagnostics: What the verification is made with.
        images: Images of the test split.
    """
    found = _read(run.verification / f"{name}.json")
    if (
        found is not None
        and all(found.diagnostics.get(key) == value for key, value in diagnostics.items())
        and len(found.table) == images
    ):
        return found
    return AttackRecord(name, dict(diagnostics), np.full((images, len(COLUMNS)), UNKNOWN, dtype=np.int8))


def read_records(run: RunFolder) -> dict[str, AttackRecord]:
    """Every record of the run folder, by the network's name."""
    if not run.verification.is_dir():
        return {}
    found = (_read(path) for path in sorted(run.verification.glob("*.json")))
    return {record.name: record for record in found if record is not None}


def fingerprint(path: Path) -> str:
    """SHA-256 of a file's bytes, as hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read(path: Path) -> AttackRecord | None:
    try:
        diagnostics = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    cells = read_table(path.with_suffix(".csv"), ("image", *COLUMNS), (), ("image", *COLUMNS))
    table = cells[list(COLUMNS)].astype("float").fillna(UNKNOWN).to_numpy().astype(np.int8)
    return AttackRecord(path.stem, diagnostics, table) if isinstance(diagnostics, dict) else None
