"""Configurations to begin with: as Optuna's values, and from the front of another run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from optuna.distributions import BaseDistribution

from morel_search.config import Control, Parameter, Space, parse_rational
from morel_search.errors import RunFolderError, SpaceError
from morel_search.results.folder import open_run_folder
from morel_search.search.distributions import distributions, encode, encode_value, params_key
from morel_search.search.seeds import derive_seed
from morel_search.search.sobol import sobol_point
from morel_search.search.study import TrialStore
from morel_search.search.trial import TrialPlan, read_plan

__all__ = ["enqueue_configurations", "enqueue_controls", "enqueued_configurations", "enqueued_params"]

FILL = 0x57A2
"""Separates the draw of missing values of enqueued configurations from other draws of the seed."""

NEAR = 1e-9
"""Tables hold 8/255 as a decimal; so near to a step of the grid it is that step."""


def enqueued_configurations(space: Space) -> tuple[Mapping[str, Any], ...]:
    """The configurations of ``search.start_from``: those of the space file, or the front of the run that it names.

    Raises:
        SpaceError: The run has no front, or shares no parameter with this space.
        RunFolderError: There is no such run.
    """
    source = space.search.start_from
    if not isinstance(source, str):
        return space.enqueued
    try:
        front = open_run_folder(Path(source).expanduser().absolute()).read_front()
    except RunFolderError as error:
        raise RunFolderError(f"search.start_from: {error}") from None
    found = []
    for row in front.to_dict("records"):
        values = {
            parameter.name: _read(parameter, row.get(f"param_{parameter.name}"))
            for parameter in space.parameters
        }
        known = {name: value for name, value in values.items() if value is not None}
        if known:
            found.append(known)
    if not found:
        raise SpaceError(
            [f"search.start_from: the front of {source} has no configuration that lies in this space"],
            str(space.path),
        )
    return tuple(found)


def enqueue_controls(space: Space, store: TrialStore) -> None:
    """Write the controls that the study does not have yet as WAITING trials.

    An earlier start may have been interrupted after the first of them.
    """
    trials, searched = store.trials(), distributions(space)
    planned = {read_plan(trial).name for trial in trials}
    missing = [control for control in space.controls if control.name not in planned]
    for number, control in enumerate(missing, start=len(trials)):
        params = (
            encode(space, space.control_settings(control))
            if _differs_in_parameters_only(space, control)
            else None
        )
        seed = derive_seed(space.search.seed, number)
        plan = TrialPlan("control", control.name, seed, in_space=params is not None)
        store.plan(plan, params or {}, searched, running=False)


def enqueue_configurations(
    space: Space, store: TrialStore, configurations: Iterable[Mapping[str, object]]
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


def _differs_in_parameters_only(space: Space, control: Control) -> bool:
    """Return whether a control changes searched parameters only, so that it is a point of the space."""
    searched = {parameter.name for parameter in space.parameters}
    return all(
        name in searched or getattr(space.train, name) == value for name, value in control.overrides.items()
    )


def enqueued_params(
    space: Space, distributions: Mapping[str, BaseDistribution], start: Mapping[str, Any], seed: int
) -> dict[str, Any]:
    """Optuna's values for a configuration.

    What it leaves open is as in ``train`` where the space contains that, else drawn.
    """
    params = sobol_point(distributions, seed, 0)
    for parameter in space.parameters:
        value = start.get(parameter.name, ...)
        if value is ...:
            value = getattr(space.train, parameter.name)
            value = value if parameter.contains(value) else ...
        if value is not ...:
            params[parameter.name] = encode_value(parameter, value)
    return params


def _same(choice: Any, cell: Any) -> bool:
    """Whether a cell of a table stands for a choice: numbers to rounding, anything else as it is written."""
    numbers = (int, float, Fraction)
    if isinstance(choice, numbers) and not isinstance(choice, bool) and isinstance(cell, numbers):
        return abs(float(choice) - float(cell)) <= NEAR
    return str(choice) == str(cell)


def _read(parameter: Parameter, cell: Any) -> Any:
    """A cell of a table as the parameter's value; None where it is empty or outside the range."""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return None
    if parameter.kind == "categorical":
        return next((choice for choice in parameter.choices if _same(choice, cell)), None)
    try:
        value: Any = float(cell)
    except (TypeError, ValueError):
        return None
    if parameter.kind == "int":
        value = int(value) if value.is_integer() else None
    if parameter.kind == "float" and parameter.step is not None and parameter.low is not None:
        low, step = parse_rational(parameter.low), parse_rational(parameter.step)
        value = low + round((Fraction(value) - low) / step) * step
        if abs(float(value) - float(cell)) > NEAR:
            return None
    return value if parameter.contains(value) else None
