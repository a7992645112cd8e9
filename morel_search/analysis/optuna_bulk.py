"""Many trials written into a study of Optuna in one transaction, as rows of its tables.

``Study.add_trial`` looks for an earlier row before it writes each parameter, attribute and epoch. The rows of
this module are the same; ``tests/test_optuna_study.py`` compares them. They are for a new study in a database
that nobody else has opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from optuna.distributions import distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial
from sqlalchemy import MetaData, func, insert, select

__all__ = ["insert_trials"]

FINITE = "FINITE"
"""How the tables mark a number that is neither infinite nor NaN."""

_CELLS = (
    "trial_params",
    "trial_values",
    "trial_intermediate_values",
    "trial_user_attributes",
    "trial_system_attributes",
)
"""The tables with several rows for each trial."""

Rows = dict[str, object]


def insert_trials(storage: RDBStorage, study_name: str, trials: Iterable[FrozenTrial]) -> None:
    """Write the trials of a study that has none.

    Args:
        storage: The database; it must be one of SQLite.
        study_name: Name of the study.
        trials: Its trials, in the order of their numbers from 0; their values are finite.
    """
    tables = MetaData()
    with storage.engine.begin() as connection:
        tables.reflect(connection, only=["studies", "trials", *_CELLS])
        studies, known = tables.tables["studies"], tables.tables["trials"]
        study_id = connection.execute(
            select(studies.c.study_id).where(studies.c.study_name == study_name)
        ).scalar_one()
        first = 1 + (connection.execute(select(func.max(known.c.trial_id))).scalar() or 0)
        rows: dict[str, list[Rows]] = {"trials": [], **{name: [] for name in _CELLS}}
        for number, trial in enumerate(trials):
            rows["trials"].append(
                {
                    "trial_id": first + number,
                    "number": number,
                    "study_id": study_id,
                    "state": trial.state.name,
                    "datetime_start": trial.datetime_start,
                    "datetime_complete": trial.datetime_complete,
                }
            )
            for name, row in _cells(trial):
                rows[name].append({"trial_id": first + number, **row})
        for name, content in rows.items():
            if content:
                connection.execute(insert(tables.tables[name]), content)


def _cells(trial: FrozenTrial) -> Iterator[tuple[str, Rows]]:
    """Yield the name of the table and the content of each further row of a trial."""
    for name, value in trial.params.items():
        distribution = trial.distributions[name]
        yield (
            "trial_params",
            {
                "param_name": name,
                "param_value": distribution.to_internal_repr(value),
                "distribution_json": distribution_to_json(distribution),
            },
        )
    for objective, value in enumerate(trial.values or ()):
        yield "trial_values", {"objective": objective, "value": value, "value_type": FINITE}
    for step, value in trial.intermediate_values.items():
        yield (
            "trial_intermediate_values",
            {"step": step, "intermediate_value": value, "intermediate_value_type": FINITE},
        )
    for table, attributes in (
        ("trial_user_attributes", trial.user_attrs),
        ("trial_system_attributes", trial.system_attrs),
    ):
        for key, value in attributes.items():
            yield table, {"key": key, "value_json": json.dumps(value)}
