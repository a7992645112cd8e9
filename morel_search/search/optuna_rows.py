"""Trials as rows of Optuna's tables: one transaction a write, whose time does not grow with the study.

Optuna's own ways look at earlier trials and at each parameter in turn, which takes longer the more trials
there are. What is written here is what they write, which a test compares; it is meant for a study that has
one writer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy import Connection, func, insert, select, update

from morel_search.errors import RunFolderError
from morel_search.search.optuna_private import (
    FINITE,
    PARAMS,
    SYSTEM_ATTRIBUTES,
    TRIALS,
    USER_ATTRIBUTES,
    VALUES,
)

__all__ = ["OptunaRowWriter"]

FOREIGN = "another program writes to this study; it has to stop before the search can go on"


class OptunaRowWriter:
    """Writes the trials of one study.

    Args:
        storage: The database.
        study_id: Optuna's number of the study.
    """

    def __init__(self, storage: RDBStorage, study_id: int) -> None:
        self._engine, self._study_id = storage.engine, study_id

    def create(
        self,
        number: int,
        state: TrialState,
        params: Mapping[str, Any],
        distributions: Mapping[str, BaseDistribution],
        user_attrs: Mapping[str, Any],
        after: int | None,
    ) -> int:
        """Write a new trial and return its id.

        Args:
            number: Its number, one above the last one's.
            state: RUNNING or WAITING.
            params: Values.
            distributions: Theirs.
            user_attrs: JSON values.
            after: Id of the last trial; None for the first.

        Raises:
            RunFolderError: The study has a trial after that one.
        """
        with self._engine.begin() as connection:
            last = connection.execute(
                select(func.max(TRIALS.c.trial_id)).where(TRIALS.c.study_id == self._study_id)
            ).scalar()
            if last != after:
                raise RunFolderError(FOREIGN)
            row = {
                "study_id": self._study_id,
                "number": number,
                "state": state,
                "datetime_start": datetime.now(),
            }
            key = connection.execute(insert(TRIALS).values(row)).inserted_primary_key
            assert key is not None, "the table has a primary key"
            trial_id = int(key[0])
            rows = [
                {
                    "trial_id": trial_id,
                    "param_name": name,
                    "param_value": distributions[name].to_internal_repr(value),
                    "distribution_json": distribution_to_json(distributions[name]),
                }
                for name, value in params.items()
            ]
            if rows:
                connection.execute(insert(PARAMS), rows)
            _write_attributes(connection, USER_ATTRIBUTES, trial_id, user_attrs)
        return trial_id

    def finish(
        self,
        trial_id: int,
        state: TrialState,
        values: Sequence[float] | None,
        user_attrs: Mapping[str, Any],
        system_attrs: Mapping[str, Any],
    ) -> None:
        """Write how a RUNNING trial ended.

        Args:
            trial_id: Its id.
            state: COMPLETE, PRUNED or FAIL.
            values: Finite values of a COMPLETE one.
            user_attrs: JSON values.
            system_attrs: JSON values.

        Raises:
            RunFolderError: The trial is not RUNNING.
        """
        with self._engine.begin() as connection:
            ended = {"state": state, "datetime_complete": datetime.now()}
            running = (TRIALS.c.trial_id == trial_id) & (TRIALS.c.state == TrialState.RUNNING)
            if connection.execute(update(TRIALS).where(running).values(ended)).rowcount != 1:
                raise RunFolderError(FOREIGN)
            rows = [
                {"trial_id": trial_id, "objective": index, "value": value, "value_type": FINITE}
                for index, value in enumerate(values or ())
            ]
            if rows:
                connection.execute(insert(VALUES), rows)
            _write_attributes(connection, USER_ATTRIBUTES, trial_id, user_attrs)
            _write_attributes(connection, SYSTEM_ATTRIBUTES, trial_id, system_attrs)


def _write_attributes(
    connection: Connection, table: Any, trial_id: int, attributes: Mapping[str, Any]
) -> None:
    rows = [
        {"trial_id": trial_id, "key": key, "value_json": json.dumps(value)}
        for key, value in attributes.items()
    ]
    if rows:
        connection.execute(insert(table), rows)
