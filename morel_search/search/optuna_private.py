"""All private parts of Optuna that this project uses; no other module uses any.

Optuna is pinned to its minor version, because private names may change with any release;
``tests/test_optuna_private.py`` fails first when one of them changes. They are the tables of the database,
the ids of studies and trials, the scaling of a search space to the unit cube, and two strategies of the
genetic samplers.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna._transform import _SearchSpaceTransform
from optuna.distributions import BaseDistribution
from optuna.samplers import NSGAIIISampler, NSGAIISampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._rdb import models
from optuna.study import Study
from optuna.trial import FrozenTrial
from sqlalchemy import Table, create_engine, inspect, text

from morel_search.search.distributions import Params, ParamValue

__all__ = [
    "FINITE",
    "PARAMS",
    "SYSTEM_ATTRIBUTES",
    "TRIALS",
    "USER_ATTRIBUTES",
    "VALUES",
    "GeneticSampler",
    "UnitCube",
    "child_of",
    "constraint_attributes",
    "elite_of",
    "inferred_space",
    "schema_mismatch",
    "storage_of",
    "study_id_of",
    "trial_id_of",
]

GeneticSampler = NSGAIISampler | NSGAIIISampler

TRIALS: Table = models.TrialModel.__table__
PARAMS: Table = models.TrialParamModel.__table__
VALUES: Table = models.TrialValueModel.__table__
USER_ATTRIBUTES: Table = models.TrialUserAttributeModel.__table__
SYSTEM_ATTRIBUTES: Table = models.TrialSystemAttributeModel.__table__

FINITE = models.TrialValueModel.TrialValueType.FINITE
"""The type of a value that is neither infinite nor NaN."""


def storage_of(study: Study) -> BaseStorage:
    """Return the storage of a study."""
    return study._storage


def study_id_of(study: Study) -> int:
    """Return the id of a study in its storage."""
    return study._study_id


def trial_id_of(trial: FrozenTrial) -> int:
    """Return the id of a trial in its storage, which is not its number."""
    return trial._trial_id


class UnitCube:
    """A search space scaled to the unit cube; a categorical parameter has one coordinate for each choice.

    Args:
        space: Name to distribution of every parameter.
    """

    def __init__(self, space: Mapping[str, BaseDistribution]) -> None:
        self._transform = _SearchSpaceTransform(dict(space), transform_0_1=True)

    @property
    def bounds(self) -> NDArray[np.float64]:
        """Lower and upper bound of every coordinate, an array of shape (coordinates, 2)."""
        return self._transform.bounds

    def transform(self, params: Params) -> NDArray[np.float64]:
        """Return the coordinates of a configuration, an array of shape (coordinates,)."""
        return self._transform.transform(dict(params))

    def untransform(self, coordinates: NDArray[np.float64]) -> dict[str, ParamValue]:
        """Return the configuration at these coordinates."""
        return self._transform.untransform(coordinates)


def constraint_attributes(violations: Mapping[str, float]) -> dict[str, float]:
    """Return the system attributes that ``trial.set_constraint`` writes for these violations."""
    return {f"constraints:{name}": float(value) for name, value in violations.items()}


def inferred_space(sampler: GeneticSampler, study: Study) -> dict[str, BaseDistribution]:
    """Return the parameters that all finished trials of a study have in common."""
    return sampler._search_space.calculate(study)


def elite_of(
    sampler: GeneticSampler, study: Study, trials: Sequence[FrozenTrial], count: int
) -> list[FrozenTrial]:
    """Return the best trials by the selection of a sampler.

    Args:
        sampler: The sampler; it is not changed.
        study: The study.
        trials: COMPLETE trials.
        count: Largest number of trials to return.
    """
    strategy: Any = copy(sampler._elite_population_selection_strategy)
    strategy._population_size = max(2, count)
    chosen: list[FrozenTrial] = strategy(study, list(trials))
    return chosen[:count]


def child_of(
    sampler: GeneticSampler, study: Study, space: dict[str, BaseDistribution], parents: list[FrozenTrial]
) -> dict[str, ParamValue]:
    """Return a child of these parents by the crossover and mutation of a sampler.

    Parameters that the mutation selected are missing in the child; the caller draws them anew.
    """
    child: dict[str, ParamValue] = sampler._child_generation_strategy(study, space, parents)
    return child


def schema_mismatch(url: str, shown: str, options: Mapping[str, Any] | None = None) -> str:
    """Compare the schema of a database with the one that the installed Optuna reads; write nothing.

    Args:
        url: The database, as SQLAlchemy takes it.
        shown: The URL in the message, without a password.
        options: Further options of SQLAlchemy's engine.

    Returns:
        What differs and what to do, in one sentence; empty where the schemas are the same or the database
        holds no study.

    Raises:
        sqlalchemy.exc.SQLAlchemyError: The database cannot be read.
    """
    engine = create_engine(url, **(options or {}))
    try:
        if not inspect(engine).has_table("alembic_version"):
            return ""
        with engine.connect() as connection:
            revision = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
            library = connection.execute(text("SELECT library_version FROM version_info")).scalar()
    finally:
        engine.dispose()
    installed = RDBStorage("sqlite://")
    try:
        head, known = installed.get_head_version(), installed.get_all_versions()
    finally:
        installed.engine.dispose()
    if revision is None or revision == head:
        return ""
    if revision in known:
        command = f"optuna storage upgrade --storage {shlex.quote(shown) if ' ' in shown else shown}"
        remedy = f"run '{command}', or install optuna {library}"
    else:
        remedy = f"install optuna {library} or newer"
    return (
        f"it was written by optuna {library} with schema {revision}, and the installed optuna reads schema "
        f"{head}; {remedy}"
    )
