"""A run as a study for Optuna's own tools: parameters in real units, controls with theirs, states, epochs.

``study.db`` is the store of the search: it holds the numbers with which the search computes, such as grid
steps, and a value for each inactive parameter. The study of this module is for reading alone.
"""

from __future__ import annotations

import math
import sqlite3
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.pool import StaticPool

from morel_search.analysis.optuna_bulk import insert_trials
from morel_search.analysis.optuna_distributions import ExportedParameter, ParamValue, exported_parameter
from morel_search.analysis.run_data import LAST, POINT, TEST, Row, RunData
from morel_search.analysis.verification import Verification
from morel_search.errors import RunFolderError
from morel_search.results.cells import whole_number
from morel_search.results.files import os_error_sentence, write_atomically
from morel_search.results.reading import read_regular
from morel_search.results.tables import STATES

__all__ = ["APPLICATION_ID", "SEARCHED", "add_studies", "write_optuna_file"]

APPLICATION_ID = 0x4D524C58
"""SQLite's application id of the file: by it an earlier export is known."""

SEARCHED = "searched trials only"
"""End of the name of the study without controls."""

MOST_RUNNING = 1000
"""Assumed largest number of trials that run at the same time."""

Attribute = bool | int | float | str


def write_optuna_file(
    run_data: RunData, verification: Verification | None, path: Path, *, replace: bool
) -> None:
    """Write a run as an SQLite file with two studies, which :func:`add_studies` describes.

    Args:
        run_data: The run.
        verification: Its verification; None without one.
        path: The file.
        replace: Whether an earlier export is replaced.

    Raises:
        RunFolderError: The file exists and is not to be replaced, is no export, or cannot be written.
    """
    _check_target(path, replace=replace)
    if path.absolute() == run_data.run.study:
        raise RunFolderError(
            f"{path} is the place of the search's own store; name another file with --optuna"
        )
    with closing(sqlite3.connect(":memory:", check_same_thread=False)) as connection:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        storage = RDBStorage(
            "sqlite://", engine_kwargs={"creator": lambda: connection, "poolclass": StaticPool}
        )
        add_studies(run_data, verification, storage)
        storage.remove_session()
        content = connection.serialize()
    write_atomically(path, content)


def add_studies(run_data: RunData, verification: Verification | None, storage: RDBStorage) -> None:
    """Add two studies of a run to a storage: one with all trials, and one without the controls.

    The numbers of the trials are those of the run in both. In the study with all trials, the ranges are wide
    enough for the controls. In the other study, they are those of the search, and each control is a failed
    trial without parameters, which Optuna's tools leave out.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    trials = {int(row["number"]): row for row in run_data.trials.to_dict("records")}
    _check_numbers(run_data, trials)
    searched = {number: row for number, row in trials.items() if row["origin"] != "control"}
    epochs = _epochs(run_data)
    for name, rows in ((run_data.run.name, trials), (f"{run_data.run.name}: {SEARCHED}", searched)):
        study = optuna.create_study(
            study_name=name, storage=storage, directions=[StudyDirection.MAXIMIZE, StudyDirection.MAXIMIZE]
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            study.set_metric_names(POINT)
        study.set_user_attr(
            "morel_search", "an export: the search continues from study.db, not from this study"
        )
        parameters = _parameters(run_data, list(rows.values()))
        attributes = _attributes(run_data, verification)
        made = []
        for number in range(max(trials, default=-1) + 1):
            row = rows.get(number)
            if row is not None:
                own = attributes.get(number, {})
                made.append(_trial(row, parameters, epochs.get(number, {}), own, run_data))
            elif number in trials:
                note = f"control {trials[number]['name']}: it is in the study {run_data.run.name}"
                left_out = create_trial(state=TrialState.FAIL, user_attrs={"left_out": note})
                made.append(_timed(left_out, run_data, 0.0))
            else:
                made.append(create_trial(state=TrialState.RUNNING))
        insert_trials(storage, name, made)


def _check_numbers(run_data: RunData, numbers: Collection[int]) -> None:
    """Refuse a table in which more numbers are missing than trials can be running.

    ``trials.csv`` has the trials that have ended, so each missing number below the largest one is that of a
    running trial.

    Raises:
        RunFolderError: More than :data:`MOST_RUNNING` numbers are missing, so the table is damaged.
    """
    largest = max(numbers, default=-1)
    if largest + 1 > len(numbers) + MOST_RUNNING:
        raise RunFolderError(
            f"{run_data.run.trials} is damaged: it has {len(numbers)} trials, and one has the number "
            f"{largest}"
        )


def _state(row: Row, run_data: RunData) -> TrialState:
    """Return the state of a trial.

    Raises:
        RunFolderError: The table is damaged.
    """
    if row["state"] not in STATES:
        raise RunFolderError(
            f"{run_data.run.trials} is damaged: a state must be {', '.join(STATES)}, got {row['state']!r}"
        )
    return TrialState[str(row["state"])]


def _check_target(path: Path, *, replace: bool) -> None:
    try:
        head = read_regular(path)[:100]
    except FileNotFoundError:
        return
    except OSError as error:
        raise os_error_sentence("write", path, error) from error
    if not (head.startswith(b"SQLite format 3\0") and head[68:72] == APPLICATION_ID.to_bytes(4, "big")):
        raise RunFolderError(f"{path} exists already and is not an export; name another file with --optuna")
    if not replace:
        raise RunFolderError(
            f"{path} exists already; --replace writes it again, without the notes that optuna-dashboard "
            "keeps in it"
        )


def _parameters(run_data: RunData, rows: Sequence[Row]) -> list[ExportedParameter]:
    described = {str(entry["name"]): entry for entry in run_data.settings.parameters}
    return [
        exported_parameter(parameter, described[parameter.name], [row.get(parameter.column) for row in rows])
        for parameter in run_data.parameters
    ]


def _epochs(run_data: RunData) -> Mapping[int, Mapping[int, float]]:
    """Return the robust accuracy under the quick attack after each evaluated epoch, by trial and epoch."""
    known: dict[int, dict[int, float]] = {}
    table = run_data.epochs.dropna(subset=["number", "epoch", POINT[1]])
    for number, epoch, robust in zip(table["number"], table["epoch"], table[POINT[1]], strict=True):
        if math.isfinite(robust):
            known.setdefault(int(number), {})[int(epoch)] = float(robust)
    return known


def _attributes(
    run_data: RunData, verification: Verification | None
) -> Mapping[int, Mapping[str, Attribute]]:
    """Return what is known of the networks of the front and of the verified ones, by trial."""
    known: dict[int, dict[str, Attribute]] = {
        int(number): {"front": True} for number in run_data.front["number"]
    }
    if verification is None or run_data.select_epoch == "front":
        return known  # with "front", several epochs of a trial can be verified; a trial of Optuna has one
    for network in verification.networks:
        (clean, robust), intervals = network.accuracy, network.intervals
        known.setdefault(network.number, {}).update(
            verified_clean_accuracy=clean,
            verified_clean_low=intervals[0][0],
            verified_clean_high=intervals[0][1],
            verified_robust_accuracy=robust,
            verified_robust_low=intervals[1][0],
            verified_robust_high=intervals[1][1],
            verdict=verification.kind(network),
        )
    return known


def _trial(
    row: Row,
    parameters: Sequence[ExportedParameter],
    epochs: Mapping[int, float],
    attributes: Mapping[str, Attribute],
    run_data: RunData,
) -> FrozenTrial:
    state, values = _state(row, run_data), [float(row[column]) for column in POINT]
    if state == TrialState.COMPLETE and not all(map(math.isfinite, values)):
        state = TrialState.FAIL
    kept: dict[str, ParamValue] = {}
    outside: dict[str, ParamValue] = {}
    for parameter in parameters:
        value = parameter.value(row.get(parameter.parameter.column))
        if value is not None:
            (kept if parameter.holds(value) else outside)[parameter.name] = value
    user: dict[str, object] = {**dict(_row_attributes(row)), **attributes}
    if outside:
        user["outside_log_scale"] = outside
    violation = float(row["violation"])
    violated = {"violation": violation} if state == TrialState.COMPLETE and math.isfinite(violation) else None
    trial = create_trial(
        state=state,
        values=values if state == TrialState.COMPLETE else None,
        params=kept,
        distributions={
            parameter.name: parameter.distribution for parameter in parameters if parameter.name in kept
        },
        user_attrs=user,
        intermediate_values=dict(epochs),
        constraints=violated,
    )
    return _timed(trial, run_data, float(row["seconds"]))


def _timed(trial: FrozenTrial, run_data: RunData, seconds: float) -> FrozenTrial:
    """Let a trial begin with the run, because its own start is not recorded; its duration is right."""
    begin = _begin(run_data)
    if begin is not None:
        trial.datetime_start = begin
        known = seconds if math.isfinite(seconds) else 0.0
        try:
            trial.datetime_complete = begin + timedelta(seconds=known)
        except OverflowError:  # after the year 9999: the duration of a damaged table
            trial.datetime_complete = begin
    return trial


def _begin(run_data: RunData) -> datetime | None:
    try:
        return datetime.fromisoformat(run_data.settings.created or "").replace(tzinfo=None)
    except ValueError:
        return None


def _row_attributes(row: Row) -> Iterator[tuple[str, Attribute]]:
    """Yield the columns of ``trials.csv`` that are neither values nor parameters of a trial of Optuna."""
    for column in ("origin", "name", "failure"):
        if row[column]:
            yield column, str(row[column])
    for column in ("epoch", "epochs", "rung", "seed"):
        count = whole_number(row[column])
        if count is not None:
            yield column, count
    for column in ("seconds", *LAST, *TEST):
        value = float(row[column])
        if math.isfinite(value):
            yield column, value
