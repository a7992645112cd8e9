"""How much each parameter explains of each objective, by fANOVA."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from morel_search.analysis.parameters import SearchedParameter, read_parameters

if TYPE_CHECKING:
    import optuna
    import pandas as pd

__all__ = ["FEWEST_TRIALS", "OBJECTIVES", "importance"]

OBJECTIVES = ("clean_accuracy", "robust_accuracy")

FEWEST_TRIALS = 15
"""Below so many trials a forest cannot tell parameters apart; the report then shows a sentence in place of bars. A rule of thumb."""

MOST_TRIALS = 250
"""Of more trials so many are used, spread evenly over the search: 1,000 trials took 15 s on one core with all of 500 and 64 trees."""

TREES, SEED = 32, 0


def importance(trials: pd.DataFrame, parameters: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Share of the variance of each objective that each parameter explains alone or with others (Hutter et al. 2014, fANOVA).

    Only COMPLETE trials that lie in the space count, so no controls. A conditional parameter is judged among
    the trials in which it is active, beside the parameters that always are; so shares need not sum to one.
    The same table gives the same figures.

    Args:
        trials: Rows of ``trials.csv``.
        parameters: The list ``parameters`` of ``settings.json["space"]``.

    Returns:
        Columns ``parameter``, ``objective``, ``importance`` (in [0, 1]; 0 where the objective never changes;
        NaN where there are fewer than two trials) and ``trials`` (how many were used), one row a parameter
        and objective.
    """
    import pandas as pd

    known = read_parameters(parameters)
    rows = _inside(trials, known)
    always = [parameter for parameter in known if not parameter.when]
    judged = []
    if always:
        judged += _judge(rows, always, always)
    for parameter in known:
        if parameter.when:
            judged += _judge(rows, [*always, parameter], [parameter])
    table = pd.DataFrame(judged, columns=["parameter", "objective", "importance", "trials"])
    order = {parameter.name: index for index, parameter in enumerate(known)}
    return table.sort_values(
        ["objective", "parameter"],
        key=lambda column: column.map(lambda v: order.get(v, v)),
        ignore_index=True,
    )


def _inside(
    trials: pd.DataFrame, parameters: Sequence[SearchedParameter]
) -> list[tuple[dict[str, Any], tuple[float, ...]]]:
    """Values and objectives of the trials that count; values only where a parameter is active."""
    rows = trials[(trials["state"] == "COMPLETE") & (trials["origin"] != "control")]
    rows = rows.dropna(subset=list(OBJECTIVES))
    if len(rows) > MOST_TRIALS:
        rows = rows.iloc[[index * len(rows) // MOST_TRIALS for index in range(MOST_TRIALS)]]
    found = []
    for row in rows.to_dict("records"):
        cells = {parameter: parameter.value(row.get(parameter.column)) for parameter in parameters}
        if all(value is None or parameter.position(value) is not None for parameter, value in cells.items()):
            values = {parameter.name: value for parameter, value in cells.items() if value is not None}
            found.append((values, tuple(float(row[objective]) for objective in OBJECTIVES)))
    return found


def _judge(
    rows: Sequence[tuple[dict[str, Any], tuple[float, ...]]],
    together: Sequence[SearchedParameter],
    wanted: Sequence[SearchedParameter],
) -> list[tuple[str, str, float, int]]:
    """Judge the wanted parameters among the trials in which all of these are active."""
    import optuna

    rows = [row for row in rows if all(parameter.name in row[0] for parameter in together)]
    varied = [parameter for parameter in together if len({row[0][parameter.name] for row in rows}) > 1]
    study = _study(rows, varied)
    judged = []
    for index, objective in enumerate(OBJECTIVES):
        shares: dict[str, float] = {}
        if varied and len({row[1][index] for row in rows}) > 1:
            evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=TREES, seed=SEED)
            try:
                shares = evaluator.evaluate(study, target=lambda trial, index=index: trial.values[index])  # type: ignore[misc]
            except RuntimeError:  # Optuna, of trees that never split: "zero total variance"
                shares = {}
        floor = 0.0 if len(rows) > 1 else float("nan")
        judged += [
            (
                one.name,
                objective,
                min(1.0, max(0.0, shares.get(one.name, floor))) if floor == 0 else floor,
                len(rows),
            )
            for one in wanted
        ]
    return judged


def _study(
    rows: Sequence[tuple[dict[str, Any], tuple[float, ...]]], parameters: Sequence[SearchedParameter]
) -> optuna.Study:
    import optuna

    distributions = {parameter.name: _distribution(parameter) for parameter in parameters}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = optuna.storages.InMemoryStorage()
        trials = [
            optuna.create_trial(
                params={
                    parameter.name: _clipped(parameter, values[parameter.name]) for parameter in parameters
                },
                distributions=distributions,
                values=list(objectives),
            )
            for values, objectives in rows
        ]
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(
            optuna.logging.WARNING
        )  # "A new study created in memory" is no news here
        try:
            study = optuna.create_study(storage=storage, directions=["maximize", "maximize"])
        finally:
            optuna.logging.set_verbosity(verbosity)
        study.add_trials(trials)
    return study


def _distribution(parameter: SearchedParameter) -> optuna.distributions.BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.kind == "categorical":
        return CategoricalDistribution(parameter.choices)
    if parameter.kind == "int":
        return IntDistribution(round(parameter.low), round(parameter.high), log=parameter.log)
    return FloatDistribution(parameter.low, parameter.high, log=parameter.log)


def _clipped(parameter: SearchedParameter, value: Any) -> Any:
    """Move a value into its range: one that was written as a decimal may lie a rounding error outside."""
    if parameter.kind == "categorical":
        return value
    inside = min(parameter.high, max(parameter.low, float(value)))
    return round(inside) if parameter.kind == "int" else inside
