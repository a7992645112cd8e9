"""Trials written as rows of Optuna's tables, each in one transaction of constant duration.

Optuna's own functions read earlier trials and write each parameter separately, so that they take longer the
more trials there are. The rows are the same; ``tests/test_study.py`` compares them. The study must have only
one writer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import Connection, Table, bindparam, func, insert, select, update

from morel_search.errors import RunFolderError
from morel_search.search.distributions import Params
from morel_search.search.optuna_private import (
    FINITE,
    PARAMS,
    SYSTEM_ATTRIBUTES,
    TRIALS,
    USER_ATTRIBUTES,
    VALUES,
)

__all__ = ["OptunaRowWriter"]

OTHER_WRITER = "another program writes to this study; it has to stop before the search can go on"


# Statements that are built once: building one takes as long as running it.
_LAST = select(func.max(TRIALS.c.trial_id)).where(TRIALS.c.study_id == bindparam("study"))
_FINISH = update(TRIALS).where(
    (TRIALS.c.trial_id == bindparam("trial")) & (TRIALS.c.state == TrialState.RUNNING)
)
_INSERT = {table: insert(table) for table in (TRIALS, PARAMS, VALUES, USER_ATTRIBUTES, SYSTEM_ATTRIBUTES)}


class OptunaRowWriter:
    """Writes the trials of a study.

    Args:
        storage: The database.
        study_id: Id of the study in the database.
    """

    def __init__(self, storage: RDBStorage, study_id: int) -> None:
        self._engine, self._study_id = storage.engine, study_id
        self._json: dict[str, tuple[BaseDistribution, str]] = {}

    def create(
        self,
        number: int,
        state: TrialState,
        params: Params,
        distributions: Mapping[str, BaseDistribution],
        user_attrs: Mapping[str, object],
        after: int | None,
    ) -> int:
        """Write a new trial and return its id.

        Args:
            number: Number of the trial: that of the previous trial plus 1.
            state: RUNNING or WAITING.
            params: Optuna's values.
            distributions: Distribution of each parameter.
            user_attrs: User attributes, JSON values.
            after: Id of the previous trial; None for the first trial.

        Raises:
            RunFolderError: Another program has added a trial to the study.
        """
        with self._engine.begin() as connection:
            last = connection.execute(_LAST, {"study": self._study_id}).scalar()
            if last != after:
                raise RunFolderError(OTHER_WRITER)
            row = {
                "study_id": self._study_id,
                "number": number,
                "state": state,
                "datetime_start": datetime.now(),
            }
            key = connection.execute(_INSERT[TRIALS], row).inserted_primary_key
            assert key is not None, "the table has a primary key"
            trial_id = int(key[0])
            rows = [
                {
                    "trial_id": trial_id,
                    "param_name": name,
                    "param_value": distributions[name].to_internal_repr(value),
                    "distribution_json": self._json_of(name, distributions[name]),
                }
                for name, value in params.items()
            ]
            if rows:
                connection.execute(_INSERT[PARAMS], rows)
            _write_attributes(connection, USER_ATTRIBUTES, trial_id, user_attrs)
        return trial_id

    def _json_of(self, name: str, distribution: BaseDistribution) -> str:
        known = self._json.get(name)
        if known is None or known[0] is not distribution:  # equal ones may have other texts: 1 and True
            known = self._json[name] = distribution, distribution_to_json(distribution)
        return known[1]

    def finish(
        self,
        trial_id: int,
        state: TrialState,
        values: Sequence[float] | None,
        user_attrs: Mapping[str, object],
        system_attrs: Mapping[str, object],
    ) -> None:
        """Write the end of a RUNNING trial.

        Args:
            trial_id: Id of the trial in the database.
            state: COMPLETE, PRUNED or FAIL.
            values: The objectives of a COMPLETE trial, all finite; None for other states.
            user_attrs: User attributes, JSON values.
            system_attrs: System attributes, JSON values.

        Raises:
            RunFolderError: Another program has changed the state of the trial.
        """
        with self._engine.begin() as connection:
            ended = {"state": state, "datetime_complete": datetime.now()}
            if connection.execute(_FINISH, {"trial": trial_id, **ended}).rowcount != 1:
                raise RunFolderError(OTHER_WRITER)
            rows = [
                {"trial_id": trial_id, "objective": index, "value": value, "value_type": FINITE}
                for index, value in enumerate(values or ())
            ]
            if rows:
                connection.execute(_INSERT[VALUES], rows)
            _write_attributes(connection, USER_ATTRIBUTES, trial_id, user_attrs)
            _write_attributes(connection, SYSTEM_ATTRIBUTES, trial_id, system_attrs)


def _write_attributes(
    connection: Connection, table: Table, trial_id: int, attributes: Mapping[str, object]
) -> None:
    rows = [
        {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        for key, value in attributes.items()
    ]
    if rows:
        connection.execute(_INSERT[table], rows)
