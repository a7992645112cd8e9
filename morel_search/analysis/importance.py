"""The importance of each parameter for each objective, by fANOVA."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from morel_search.analysis.parameters import SearchedParameter, read_parameters
from morel_search.results.tables import ACCURACIES

if TYPE_CHECKING:
    import optuna
    import pandas as pd

__all__ = ["FEWEST_TRIALS", "OBJECTIVES", "importance"]

OBJECTIVES = ACCURACIES

FEWEST_TRIALS = 15
"""Fewest trials for which the report shows importances: with fewer, a forest cannot distinguish the
parameters. A rule of thumb."""

MOST_TRIALS = 250
"""Largest number of trials that are used; of more trials, this many are chosen at equal distances. With 500
of 1,000 trials and 64 trees, the computation took 15 s on one core."""

TREES, SEED = 32, 0

Value = float | str


class _Trial(NamedTuple):
    """A trial: the values of its active parameters, and its objectives."""

    values: Mapping[str, Value]
    objectives: tuple[float, ...]


class _Importance(NamedTuple):
    """A row of the result."""

    parameter: str
    objective: str
    importance: float
    trials: int


def importance(trials: pd.DataFrame, parameters: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    """Compute the fraction of the variance of each objective that each parameter explains.

    It is the fraction that a parameter explains alone or together with other parameters (fANOVA: Hutter, Hoos
    and Leyton-Brown, 2014). Only COMPLETE trials inside the space are used, which excludes the controls. A
    conditional parameter is evaluated on the trials in which it is active, together with the unconditional
    parameters; the fractions therefore need not sum to one. The result is deterministic.

    Args:
        trials: Rows of ``trials.csv``.
        parameters: The parameters of the space, as ``settings.json`` describes them.

    Returns:
        One row per parameter and objective, with the columns ``parameter``, ``objective``, ``importance`` (in
        [0, 1]; 0 when the objective is constant, NaN for fewer than two trials) and ``trials`` (the number of
        trials that were used).
    """
    import pandas as pd

    searched = read_parameters(parameters)
    rows = _used_trials(trials, searched)
    unconditional = [parameter for parameter in searched if not parameter.when]
    results = _importances(rows, unconditional, unconditional) if unconditional else []
    for parameter in searched:
        if parameter.when:
            results += _importances(rows, [*unconditional, parameter], [parameter])
    table = pd.DataFrame(results, columns=list(_Importance._fields))
    order = {parameter.name: index for index, parameter in enumerate(searched)}
    return table.sort_values(
        ["objective", "parameter"],
        key=lambda column: column.map(lambda name: order.get(name, name)),
        ignore_index=True,
    )


def _used_trials(trials: pd.DataFrame, parameters: Sequence[SearchedParameter]) -> list[_Trial]:
    """Return the trials that are used, at most :data:`MOST_TRIALS` of those that are inside the space."""
    rows = trials[(trials["state"] == "COMPLETE") & (trials["origin"] != "control")]
    rows = rows.dropna(subset=list(OBJECTIVES))
    if len(rows) > MOST_TRIALS:
        rows = rows.iloc[[index * len(rows) // MOST_TRIALS for index in range(MOST_TRIALS)]]
    used = []
    for row in rows.to_dict("records"):
        cells = {parameter: parameter.value(row.get(parameter.column)) for parameter in parameters}
        if all(value is None or parameter.position(value) is not None for parameter, value in cells.items()):
            values = {parameter.name: value for parameter, value in cells.items() if value is not None}
            used.append(_Trial(values, tuple(float(row[objective]) for objective in OBJECTIVES)))
    return used


def _importances(
    trials: Sequence[_Trial], together: Sequence[SearchedParameter], wanted: Sequence[SearchedParameter]
) -> list[_Importance]:
    """Compute the importances of some parameters.

    Args:
        trials: The trials.
        together: Parameters of the forest; only trials in which all of them are active are used.
        wanted: Parameters of the result, a part of ``together``.
    """
    import optuna

    active = [trial for trial in trials if all(parameter.name in trial.values for parameter in together)]
    varied = [
        parameter for parameter in together if len({trial.values[parameter.name] for trial in active}) > 1
    ]
    study = _study(active, varied)
    results = []
    for index, objective in enumerate(OBJECTIVES):
        shares: dict[str, float] = {}
        if varied and len({trial.objectives[index] for trial in active}) > 1:
            evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, seed=SEED)
            try:
                shares = evaluator.evaluate(study, target=_objective(index))
            except RuntimeError:  # raised by Optuna when no tree has a split: "zero total variance"
                shares = {}
        for parameter in wanted:
            share = min(1.0, max(0.0, shares.get(parameter.name, 0.0))) if len(active) > 1 else float("nan")
            results.append(_Importance(parameter.name, objective, share, len(active)))
    return results


def _objective(index: int) -> Callable[[optuna.trial.FrozenTrial], float]:
    """Return a function that returns one objective of a trial."""

    def value(trial: optuna.trial.FrozenTrial) -> float:
        return float(trial.values[index])

    return value


def _study(trials: Sequence[_Trial], parameters: Sequence[SearchedParameter]) -> optuna.Study:
    """Create an Optuna study in memory with these trials and parameters."""
    import optuna

    distributions = {parameter.name: _distribution(parameter) for parameter in parameters}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = optuna.storages.InMemoryStorage()
        frozen = [
            optuna.create_trial(
                params={
                    parameter.name: _inside(parameter, trial.values[parameter.name])
                    for parameter in parameters
                },
                distributions=distributions,
                values=list(trial.objectives),
            )
            for trial in trials
        ]
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # without "A new study created in memory"
        try:
            study = optuna.create_study(storage=storage, directions=["maximize", "maximize"])
        finally:
            optuna.logging.set_verbosity(verbosity)
        study.add_trials(frozen)
    return study


def _distribution(parameter: SearchedParameter) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.kind == "categorical":
        return CategoricalDistribution(parameter.choices)
    if parameter.kind == "int":
        return IntDistribution(round(parameter.low), round(parameter.high), log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def _inside(parameter: SearchedParameter, value: Value) -> Value:
    """Move a value into its range: as a decimal number it may be outside by a rounding error."""
    if parameter.kind == "categorical":
        return value
    number = min(parameter.high, max(parameter.low, float(value)))
    return round(number) if parameter.kind == "int" else number
