"""The trials of a run as trackers know them: parameters, tags, metrics and files, from the run folder."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from morel_search.analysis.optuna_distributions import ParamValue, exported_parameter
from morel_search.analysis.run_data import POINT, TEST, Row, RunData
from morel_search.results.cells import whole_number
from morel_search.results.tables import EPOCH_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EPOCH_METRICS", "Metric", "TrialRecord", "search_id", "trial_records"]

EPOCH_METRICS = {
    "clean_accuracy": "validation/clean_accuracy",
    "robust_accuracy": "validation/robust_accuracy",
    "final_robust_accuracy": "validation/final_robust_accuracy",
    "train_accuracy": "train/accuracy",
    **{
        column: f"train/{column}"
        for column in EPOCH_COLUMNS
        if column not in ("number", "epoch", *POINT, "final_robust_accuracy", "train_accuracy")
    },
}
"""Column of ``epochs.csv`` to the name of its metric."""

LONGEST_TAG = 500
"""Largest number of characters of a tag, such as the reason of a failure."""

VERIFIED = ("clean_accuracy", "clean_low", "clean_high", "robust_accuracy", "robust_low", "robust_high")
"""Columns of ``verified.csv`` that are sent as ``verified/COLUMN``."""


@dataclass(frozen=True, slots=True)
class Metric:
    """A number of a trial.

    Attributes:
        name: Its name, such as ``validation/clean_accuracy``.
        epoch: The epoch to which it belongs.
        value: The number, finite.
        seconds: Seconds from the start of the training to its measurement; None when they are not known.
    """

    name: str
    epoch: int
    value: float
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """A finished trial, or what is new of it.

    Attributes:
        number: Its number.
        title: Such as ``trial 7``, or ``trial 2 (pgd)`` for a control.
        parameters: The active parameters, in real units.
        tags: What is known of it as text: state, origin, verdict.
        curves: Metrics of its epochs; they do not change.
        metrics: Accuracies of its networks; some are measured after the search.
        files: Files of its networks on the front, by their paths in the run folder.
        seconds: Duration of the training; None when it is not known.
    """

    number: int
    title: str
    parameters: Mapping[str, ParamValue]
    tags: Mapping[str, str]
    curves: tuple[Metric, ...]
    metrics: tuple[Metric, ...]
    files: Mapping[str, Path]
    seconds: float | None


def search_id(run_data: RunData) -> str:
    """Return an id of the search, which is the same in every copy of its run folder."""
    settings = run_data.settings
    text = f"{settings.name} {settings.created} {settings.seed}"
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:12]


def started(run_data: RunData) -> float:
    """Return the start of the run in seconds since 1970; now when it is not known.

    All trials begin with the run, because their own start is not recorded.
    """
    try:
        begin = datetime.fromisoformat(run_data.settings.created or "").timestamp()
    except (ValueError, OverflowError, OSError):
        return datetime.now(UTC).timestamp()
    return begin if begin > 0 else datetime.now(UTC).timestamp()


def trial_records(run_data: RunData) -> list[TrialRecord]:
    """Return every finished trial of a run."""
    rows = run_data.trials.to_dict("records")
    described = {str(entry["name"]): entry for entry in run_data.settings.parameters}
    parameters = [
        exported_parameter(parameter, described[parameter.name], [row.get(parameter.column) for row in rows])
        for parameter in run_data.parameters
    ]
    curves = {int(str(number)): tuple(_curves(table)) for number, table in run_data.epochs.groupby("number")}
    front = {int(row["number"]): row for row in run_data.front.to_dict("records")}
    networks = _network_metrics(run_data)
    verdicts = _verdicts(run_data)
    files = _files(run_data)
    records = []
    for row in rows:
        number = int(row["number"])
        values = {
            parameter.name: parameter.value(row.get(parameter.parameter.column)) for parameter in parameters
        }
        tags = dict(_tags(row)) | {"front": "yes" if number in front else "no"}
        if number in verdicts:
            tags["verdict"] = verdicts[number]
        control = row["name"] if row["origin"] == "control" else ""
        records.append(
            TrialRecord(
                number=number,
                title=f"trial {number} ({control})" if control else f"trial {number}",
                parameters={name: value for name, value in values.items() if value is not None},
                tags=tags,
                curves=curves.get(number, ()),
                metrics=(*_trial_metrics(row), *networks.get(number, ())),
                files=files.get(number, {}),
                seconds=_finite(row["seconds"]),
            )
        )
    return records


def _curves(table: pd.DataFrame) -> Iterator[Metric]:
    passed: float | None = 0.0
    for row in table.sort_values("epoch", kind="stable").to_dict("records"):
        epoch, seconds = whole_number(row["epoch"]), _finite(row["seconds"])
        passed = None if passed is None or seconds is None else passed + seconds
        if epoch is None:
            continue
        for column, name in EPOCH_METRICS.items():
            value = _finite(row[column])
            if value is not None:
                yield Metric(name, epoch, value, passed)


def _trial_metrics(row: Row) -> Iterator[Metric]:
    """Yield the objectives of a trial, its test accuracies, and what it cost."""
    epoch = whole_number(row["epoch"]) or whole_number(row["epochs"]) or 0
    named = {column: column for column in (*POINT, "seconds", "violation")}
    named |= {column: f"test/{column.removeprefix('test_')}" for column in TEST}
    for column, name in named.items():
        value = _finite(row[column])
        if value is not None:
            yield Metric(name, epoch, value)


def _network_metrics(run_data: RunData) -> Mapping[int, list[Metric]]:
    """Return the verified accuracies by trial, and the test accuracies of further epochs on the front."""
    known: dict[int, list[Metric]] = {}
    selected = {int(row["number"]): whole_number(row["epoch"]) for row in run_data.trials.to_dict("records")}
    for row in run_data.front.to_dict("records"):
        number, epoch = int(row["number"]), whole_number(row["epoch"])
        if epoch is not None and epoch != selected.get(number):
            named = {column: f"test/{column.removeprefix('test_')}" for column in TEST}
            known.setdefault(number, []).extend(_metrics(row, named, epoch))
    for row in run_data.run.read_verified().to_dict("records"):
        trial = whole_number(row["number"])  # none for a mixture, which no trial trained
        if trial is not None and float(row["images"]) > 0:
            epoch = whole_number(row["epoch"]) or selected.get(trial) or 0
            named = {column: f"verified/{column}" for column in VERIFIED}
            known.setdefault(trial, []).extend(_metrics(row, named, epoch))
    return known


def _metrics(row: Row, named: Mapping[str, str], epoch: int) -> Iterator[Metric]:
    for column, name in named.items():
        value = _finite(row.get(column))
        if value is not None:
            yield Metric(name, epoch, value)


def _verdicts(run_data: RunData) -> Mapping[int, str]:
    """Return the verdict of the verification on each trial; with several networks, that of each epoch."""
    verdicts: dict[int, dict[int, str]] = {}
    for row in run_data.run.read_verified().to_dict("records"):
        trial, verdict = whole_number(row["number"]), str(row.get("verdict") or "")
        if trial is not None and verdict and verdict != "nan":
            verdicts.setdefault(trial, {})[whole_number(row["epoch"]) or 0] = verdict
    return {
        trial: next(iter(of.values()))
        if len(of) == 1
        else "; ".join(f"epoch {epoch}: {verdict}" for epoch, verdict in sorted(of.items()))
        for trial, of in verdicts.items()
    }


def _tags(row: Row) -> Iterator[tuple[str, str]]:
    """Yield the columns of ``trials.csv`` that are neither parameters nor metrics."""
    yield "state", str(row["state"])
    for column in ("origin", "name", "failure"):
        if row[column]:
            yield {"name": "control"}.get(column, column), str(row[column])[:LONGEST_TAG]
    for column in ("epoch", "epochs", "rung", "seed"):
        count = whole_number(row[column])
        if count is not None:
            yield column, str(count)


def _files(run_data: RunData) -> Mapping[int, dict[str, Path]]:
    """Return the weights and settings of the networks on the front, by trial.

    A file to which a link leads out of the run folder is left out: a folder from somebody else must not make
    this machine send its own files.
    """
    inside = run_data.run.path.resolve()
    files: dict[int, dict[str, Path]] = {}
    for entry in run_data.networks:
        folder = run_data.run.front_models / entry.name
        for name in ("model.pt", "settings.json") if entry.member else ():
            path = folder / name
            if path.is_file() and path.resolve().is_relative_to(inside):
                files.setdefault(entry.number, {})[f"front/{entry.name}/{name}"] = path
    return files


def _finite(cell: object) -> float | None:
    """Return the number in a cell of a table; None for an empty one."""
    if not isinstance(cell, int | float) or not math.isfinite(cell):
        return None
    return float(cell)
