"""Records of the attacks on a network, image by image; a verification continues from them.

A record is two files of the run folder: ``verification/NETWORK.csv`` has one row per image of the test split,
``verification/NETWORK.json`` has the setup, the diagnostics of gradient masking and the arithmetic of the
attacks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from morel_search.errors import RunFolderError
from morel_search.results.attack_names import LATE, STAGES, WHITE_BOX
from morel_search.results.diagnostics import MaskingDiagnostics
from morel_search.results.files import os_error_sentence
from morel_search.results.folder import RunFolder
from morel_search.results.json_values import read_json
from morel_search.results.reading import read_regular
from morel_search.results.renamed import current_evaluation
from morel_search.results.tables import read_table

__all__ = [
    "BROKEN",
    "COLUMNS",
    "ROBUST",
    "SKIPPED",
    "UNKNOWN",
    "AttackRecord",
    "AttackSetup",
    "continued_record",
    "fingerprint",
    "open_record",
    "read_record",
    "read_records",
    "skip_misclassified",
]

UNKNOWN, BROKEN, ROBUST, SKIPPED = -1, 0, 1, 2
"""Result of an attack for an image: not run on it yet, misclassified, correctly classified, or skipped
because an earlier attack had already broken it."""

Table = NDArray[np.int8]

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
        table: Shape (images, 1 + attacks), with the columns :data:`COLUMNS` and the values UNKNOWN, BROKEN,
            ROBUST and SKIPPED. A misclassified image is not attacked again, so all values after a BROKEN are
            SKIPPED or UNKNOWN.
        diagnostics: Diagnostics of gradient masking; None until they are measured.
        attacks: The attacks that apply to this network; APGD-T, for example, needs at least four classes.
        compute: Arithmetic of the attacks' gradients in the latest part of the verification; None in older
            records.
        failures: The errors of attacks that could not be run, by the attack's name.
        not_finite: The images with logits that are not finite, without an attack, as indices into the test
            split. They are misclassified.
    """

    name: str
    setup: AttackSetup
    table: Table
    diagnostics: MaskingDiagnostics | None = None
    attacks: tuple[str, ...] = STAGES
    compute: Mapping[str, object] | None = None
    failures: Mapping[str, str] = field(default_factory=dict)
    not_finite: set[int] = field(default_factory=set)

    def runs(self, attack: str) -> bool:
        """Return whether an attack applies to this network and has not failed on it from the start."""
        if attack not in self.attacks:
            return False
        results = self.table[:, COLUMNS.index(attack)]
        return attack not in self.failures or bool(((results == BROKEN) | (results == ROBUST)).any())

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
            **({"failures": dict(self.failures)} if self.failures else {}),
            **({"not_finite": sorted(self.not_finite)} if self.not_finite else {}),
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


def continued_record(
    run: RunFolder, name: str, setup: AttackSetup, images: int, compute: Mapping[str, object]
) -> AttackRecord:
    """Return the record of a network for a verification that begins or continues; see :func:`open_record`.

    An attack that could not be run is tried again. Results of another arithmetic remain valid, because it is
    that of the attacks' gradients alone.

    Args:
        run: The run folder.
        name: Name of the network.
        setup: The setup of the verification.
        images: Number of images of the test split.
        compute: Arithmetic of the attacks' gradients.
    """
    record = open_record(run, name, setup, images)
    record.failures, record.compute = {}, compute
    return record


def read_records(run: RunFolder) -> dict[str, AttackRecord]:
    """Read all records of a run folder, by the name of the network; skip those whose JSON file is damaged.

    Raises:
        RunFolderError: The table of a record is damaged.
    """
    if not run.verification.is_dir():
        return {}
    records = [_read(path) for path in sorted(run.verification.glob("*.json"))]
    return {record.name: record for record in records if record is not None}


def read_record(run: RunFolder, name: str) -> AttackRecord | None:
    """Read the record of one network; None when its JSON file is missing or damaged.

    Raises:
        RunFolderError: The table of the record is damaged.
    """
    return _read(run.verification / f"{name}.json")


def skip_misclassified(table: Table, attacks: Collection[str]) -> None:
    """Mark the images that were already misclassified before an attack as SKIPPED by that attack, in place.

    Args:
        table: Rows of a record's table.
        attacks: The attacks; only cells that are UNKNOWN change.
    """
    for attack in attacks:
        column = COLUMNS.index(attack)
        misclassified = (table[:, :column] == BROKEN).any(axis=1)
        table[misclassified & (table[:, column] == UNKNOWN), column] = SKIPPED


def fingerprint(path: Path) -> str:
    """Return the SHA-256 of a file, as hexadecimal digits.

    Raises:
        RunFolderError: The file cannot be read.
    """
    try:
        return hashlib.sha256(read_regular(path)).hexdigest()
    except OSError as error:
        raise os_error_sentence("read", path, error) from error


def _read(path: Path) -> AttackRecord | None:
    """Read a record; return None when its JSON file is missing or damaged."""
    try:
        values = read_json(path)
    except (OSError, ValueError):
        return None
    setup = _setup(values)
    if setup is None or not isinstance(values, dict):
        return None
    cells = read_table(path.with_suffix(".csv"), ("image", *COLUMNS), (), ("image", *COLUMNS))
    results = cells[list(COLUMNS)].astype("float").fillna(UNKNOWN).to_numpy()
    if not np.isin(results, (UNKNOWN, BROKEN, ROBUST, SKIPPED)).all():
        raise RunFolderError(
            f"{path.with_suffix('.csv')} is damaged: a result must be {BROKEN}, {ROBUST}, {SKIPPED} or empty"
        )
    table = results.astype(np.int8)
    listed, compute, failures = values.get("attacks"), values.get("compute"), values.get("failures")
    attacks = tuple(stage for stage in STAGES if stage in listed) if isinstance(listed, list) else STAGES
    if not (table == SKIPPED).any():
        _mark_skipped(table, attacks)
    return AttackRecord(
        path.stem,
        setup,
        table,
        MaskingDiagnostics.from_json(values),
        attacks,
        compute if isinstance(compute, dict) else None,
        {str(name): str(reason) for name, reason in failures.items()} if isinstance(failures, dict) else {},
        _rows(values.get("not_finite"), len(table)),
    )


def _rows(given: object, images: int) -> set[int]:
    """Return indices into the test split; those that are none are left out."""
    rows = given if isinstance(given, list) else []
    return {row for row in rows if isinstance(row, int) and 0 <= row < images}


def _mark_skipped(table: Table, attacks: tuple[str, ...]) -> None:
    """Mark skipped images in the table of an earlier version, which has no SKIPPED.

    There, all white-box attacks ran over the same images. FAB-T and Square ran over all of these images if
    every image that is robust to the white-box attacks has their results; otherwise only over the images that
    they attacked.
    """
    white_box, late = ([name for name in names if name in attacks] for names in (WHITE_BOX, LATE))
    skip_misclassified(table, white_box)
    if not late:
        return
    columns = [COLUMNS.index(name) for name in late]
    first = min(columns)
    attacked = (table[:, columns] != UNKNOWN).any(axis=1)
    standing = (table[:, 0] == ROBUST) & ~(table[:, :first] == BROKEN).any(axis=1)
    rows = np.ones(len(table), dtype=bool) if attacked[standing].all() else attacked
    part = table[rows]
    skip_misclassified(part, late)
    table[rows] = part


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
