"""The section ``controls``: trainings with known settings, which run beside the search."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from morel_search._values import SettingValue
from morel_search.config.faults import Faults, Location, nearest, shown
from morel_search.config.fieldspec import specs
from morel_search.config.schema import read_given
from morel_search.config.space import Control
from morel_search.training.settings import EvaluationSettings, TrainSettings

__all__ = ["BUILT_IN", "DEFAULT_CONTROLS", "read_controls"]

_PLACE: Location = ("controls",)
_NAME = re.compile(r"[A-Za-z][\w-]{0,39}")

# The defaults of the reference code (advermorel 0.1.6), and its parts on their own, as baselines of a search.
_WITHOUT_MOREL: dict[str, SettingValue] = {"k_robust": 0.0, "k_accuracy": 1.0, "gamma": 0.0}
_MOREL: dict[str, SettingValue] = {
    "accuracy_loss": "mart",
    "k_robust": 0.1,
    "k_accuracy": 0.9,
    "gamma": 2e-5,
    "alpha": 1e-5,
    "temperature": 0.1,
    "beta": 6.0,
}
_MOREL_BOTH: dict[str, SettingValue] = {**_MOREL, "contrastive_features": "both"}
# What strong published trainings add (docs/recipes.md); the lengths of AWP are those of its authors.
_RECIPE: dict[str, SettingValue] = {
    "label_smoothing": 0.1,
    "ema": 0.995,
    "schedule": "one_cycle",
    "warmup": 0.3,
}
BUILT_IN: dict[str, dict[str, SettingValue]] = {
    "trades": {**_WITHOUT_MOREL, "accuracy_loss": "trades", "beta": 6.0},
    "mart": {**_WITHOUT_MOREL, "accuracy_loss": "mart", "beta": 6.0},
    "pgd": {**_WITHOUT_MOREL, "accuracy_loss": "pgd"},
    "none": {**_WITHOUT_MOREL, "accuracy_loss": "none"},
    "morel": _MOREL_BOTH,
    "morel_alpha0": {**_MOREL_BOTH, "alpha": 0.0},
    "pgd_recipe": {**_WITHOUT_MOREL, "accuracy_loss": "pgd", **_RECIPE, "awp": 0.01},
    "trades_recipe": {
        **_WITHOUT_MOREL,
        **{"accuracy_loss": "trades", "beta": 6.0, **_RECIPE, "awp": 0.005, "awp_warmup": 0.05},
    },
}
DEFAULT_CONTROLS = ("trades", "mart", "pgd", "none", "morel", "morel_alpha0")


def read_controls(
    given: object, fixed: object, evaluation: EvaluationSettings | None, faults: Faults
) -> tuple[Control, ...]:
    """Read the section.

    Every control but ``none`` trains with the norm and the epsilon of the evaluation. A control of the user
    keeps the norm and the epsilon of ``train`` or its own, if they are given.

    Args:
        given: The section as it stands in the file: a list of names of built-in controls, a mapping of names
            to settings, or a list of both.
        fixed: The section ``train`` as it stands in the file.
        evaluation: The evaluation settings; None when these could not be read.
        faults: Receives the faults.

    Returns:
        The controls without a fault.
    """
    evaluated: dict[str, SettingValue] = (
        {} if evaluation is None else {"norm": evaluation.norm, "epsilon": evaluation.epsilon}
    )
    controls: dict[str, Control] = {}
    for location, name, entry in _entries(given, faults):
        if name in controls:
            faults.add(location, f"the control {name} is given twice; remove one of the two")
            continue
        own = _own_settings(location, name, entry, faults)
        if own is None:
            continue
        if name in BUILT_IN:
            attack: Mapping[str, SettingValue] = {} if name == "none" else evaluated
        else:
            attack = {
                key: value
                for key, value in evaluated.items()
                if not isinstance(fixed, dict) or key not in fixed
            }
        controls[name] = Control(name, {**BUILT_IN.get(name, {}), **attack, **own})
    return tuple(controls.values())


def _entries(given: object, faults: Faults) -> Iterator[tuple[Location, str, object]]:
    """Yield the place, the name and the settings of every control; None for a built-in control as it is."""
    if isinstance(given, dict):
        yield from (((*_PLACE, name), name, entry) for name, entry in given.items())
    elif isinstance(given, list):
        for index, item in enumerate(given):
            location = (*_PLACE, index)
            if isinstance(item, str):
                yield location, item, None
            elif isinstance(item, dict):
                yield from (((*location, name), name, entry) for name, entry in item.items())
            else:
                faults.add(
                    location,
                    f"must be the name of a built-in control or a mapping (name: settings), got "
                    f"{shown(item)}",
                )
    else:
        faults.add(
            _PLACE, f"must be a list of built-in controls or a mapping (name: settings), got {shown(given)}"
        )


def _own_settings(
    location: Location, name: str, entry: object, faults: Faults
) -> dict[str, SettingValue] | None:
    if not _NAME.fullmatch(name):
        faults.add(
            location,
            f"the name of a control must be a letter and at most 39 more letters, digits, - and _, got "
            f"{shown(name)}",
        )
        return None
    if entry is None:
        if name in BUILT_IN:
            return {}
        faults.add(location, f"{name} is not a built-in control{nearest(name, BUILT_IN)}")
        return None
    values = read_given(TrainSettings, entry, location, faults)
    for key in values or ():
        if specs(TrainSettings)[key].fixed:
            faults.add((*location, key), "is the same for all trainings of a search; set it in train")
    return values
