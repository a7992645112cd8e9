"""The trials before the first proposal: controls, and configurations that ``search.start_from`` enqueues."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path

from optuna.distributions import BaseDistribution

from morel_search._values import SettingValue
from morel_search.config import Control, Parameter, Space, parse_rational
from morel_search.errors import RunFolderError, SpaceError
from morel_search.results.folder import open_run_folder
from morel_search.search.distributions import ParamValue, distributions, encode, encode_value, params_key
from morel_search.search.seeds import derive_seed
from morel_search.search.sobol import sobol_point
from morel_search.search.study import TrialStore
from morel_search.search.trial import TrialPlan, read_plan

__all__ = ["enqueue_configurations", "enqueue_controls", "enqueued_configurations", "enqueued_params"]

FILL = 0x57A2
"""Separates the draw of missing values of enqueued configurations from other draws of the seed."""

NEAR = 1e-9
"""Largest difference between a number in a table and an equal value; tables hold 8/255 as a decimal."""


def enqueue_controls(space: Space, store: TrialStore) -> None:
    """Write the controls that the study does not have yet as WAITING trials.

    It can have some of them, because an earlier start may have been interrupted here.
    """
    trials, searched = store.trials(), distributions(space)
    planned = {read_plan(trial).name for trial in trials}
    missing = [control for control in space.controls if control.name not in planned]
    for number, control in enumerate(missing, start=len(trials)):
        in_space = _differs_in_parameters_only(space, control)
        params = encode(space, space.control_trial(control)) if in_space else None
        seed = derive_seed(space.search.seed, number)
        plan = TrialPlan("control", control.name, seed, in_space=params is not None)
        store.plan(plan, params or {}, searched, running=False)


def enqueue_configurations(
    space: Space, store: TrialStore, configurations: Iterable[Mapping[str, SettingValue]]
) -> None:
    """Write configurations as WAITING trials, except those that the study already has.

    Args:
        space: The space.
        store: The study on disk.
        configurations: Values of some or all parameters, see :func:`enqueued_params`.
    """
    trials, searched = store.trials(), distributions(space)
    known = {params_key(space, trial.params) for trial in trials if read_plan(trial).in_space}
    number, fill_seed = len(trials), derive_seed(space.search.seed, FILL)
    for configuration in configurations:
        params = enqueued_params(space, searched, configuration, fill_seed)
        key = params_key(space, params)
        if key not in known:
            known.add(key)
            plan = TrialPlan("enqueued", "", derive_seed(space.search.seed, number), in_space=True)
            store.plan(plan, params, searched, running=False)
            number += 1


def enqueued_configurations(space: Space) -> tuple[Mapping[str, SettingValue], ...]:
    """Return the configurations of ``search.start_from``: listed in the space file, or the front of a run.

    Raises:
        SpaceError: No configuration of that front has a value in this space.
        RunFolderError: There is no such run.
    """
    source = space.search.start_from
    if not isinstance(source, str):
        return space.enqueued
    try:
        front = open_run_folder(Path(source).expanduser().absolute()).read_front()
    except RunFolderError as error:
        raise RunFolderError(f"search.start_from: {error}") from None
    configurations = []
    for row in front.to_dict("records"):
        values = {
            parameter.name: _read_cell(parameter, row.get(f"param_{parameter.name}"))
            for parameter in space.parameters
        }
        known = {name: value for name, value in values.items() if value is not None}
        if known:
            configurations.append(known)
    if not configurations:
        raise SpaceError(
            [f"search.start_from: the front of {source} has no configuration that lies in this space"],
            str(space.path),
        )
    return tuple(configurations)


def enqueued_params(
    space: Space,
    distributions: Mapping[str, BaseDistribution],
    configuration: Mapping[str, SettingValue],
    seed: int,
) -> dict[str, ParamValue]:
    """Return Optuna's values for a configuration.

    Args:
        space: The space.
        distributions: Distribution of each parameter.
        configuration: Values of some or all parameters. A missing value is that of ``train`` if it is in the
            parameter's range, else it is drawn.
        seed: Random seed of the draw.
    """
    params = sobol_point(distributions, seed, 0)
    for parameter in space.parameters:
        default = space.base.value(parameter.name)
        if parameter.name in configuration:
            params[parameter.name] = encode_value(parameter, configuration[parameter.name])
        elif parameter.contains(default):
            params[parameter.name] = encode_value(parameter, default)
    return params


def _differs_in_parameters_only(space: Space, control: Control) -> bool:
    """Return whether a control overrides only searched parameters, apart from values that are the same."""
    searched = {parameter.name for parameter in space.parameters}
    return all(
        name in searched or space.base.value(name) == value for name, value in control.overrides.items()
    )


def _same(choice: SettingValue, cell: object) -> bool:
    """Return whether a cell of a table holds a choice: numbers are compared approximately, others as text."""
    numbers = (int, float, Fraction)
    if isinstance(choice, numbers) and not isinstance(choice, bool) and isinstance(cell, numbers):
        return abs(float(choice) - float(cell)) <= NEAR
    return str(choice) == str(cell)


def _read_cell(parameter: Parameter, cell: object) -> SettingValue:
    """Return the value of a parameter in a table; None if the cell is empty or the value is out of range."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if parameter.kind == "categorical":
        return next((choice for choice in parameter.choices if _same(choice, cell)), None)
    try:
        number = float(cell) if isinstance(cell, (int, float, str)) else math.nan
    except ValueError:
        return None
    if not math.isfinite(number):
        return None
    value: SettingValue = number
    if parameter.kind == "int":
        value = int(number) if number.is_integer() else None
    if parameter.kind == "float" and parameter.step is not None and parameter.low is not None:
        low, step = parse_rational(parameter.low), parse_rational(parameter.step)
        nearest = low + round((Fraction(number) - low) / step) * step
        if abs(float(nearest) - number) > NEAR:
            return None
        value = nearest
    return value if parameter.contains(value) else None
