"""The section ``controls``: trainings with known settings beside the search."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from morel_search.config.faults import Faults, Location, nearest, shown
from morel_search.config.schema import read_given
from morel_search.config.space import Control
from morel_search.training.settings import EvaluationSettings, TrainSettings

__all__ = ["BUILT_IN", "DEFAULT_CONTROLS", "read_controls"]

_PLACE: Location = ("controls",)
_NAME = re.compile(r"[A-Za-z][\w-]{0,39}")

# The defaults of the reference code (advermorel 0.1.6), and the single parts of it that a MOREL search is
# compared with.
_PLAIN = {"k_robust": 0.0, "k_accuracy": 1.0, "gamma": 0.0}
_MOREL = {
    "accuracy_loss": "mart",
    "k_robust": 0.1,
    "k_accuracy": 0.9,
    "gamma": 2e-5,
    "alpha": 1e-5,
    "temperature": 0.1,
    "beta": 6.0,
}
_MOREL_BOTH = {**_MOREL, "contrastive_features": "both"}
BUILT_IN: dict[str, dict[str, Any]] = {
    "trades": {**_PLAIN, "accuracy_loss": "trades", "beta": 6.0},
    "mart": {**_PLAIN, "accuracy_loss": "mart", "beta": 6.0},
    "pgd": {**_PLAIN, "accuracy_loss": "pgd"},
    "none": {**_PLAIN, "accuracy_loss": "none"},
    "morel": _MOREL_BOTH,
    "morel_alpha0": {**_MOREL_BOTH, "alpha": 0.0},
}
DEFAULT_CONTROLS = ("trades", "mart", "pgd", "none", "morel", "morel_alpha0")


def read_controls(
    given: Any, fixed: Any, evaluation: EvaluationSettings | None, faults: Faults
) -> tuple[Control, ...]:
    """The controls of a space file.

    Every control but ``none`` trains with the norm and epsilon that it is judged by. One of the user's own
    leaves these two alone where ``train`` fixes them or it sets them itself.

    Args:
        given: The section as it stands in the file: a list of built-in names, a mapping of names to settings,
            or both in a list.
        fixed: The section ``train`` as it stands in the file.
        evaluation: The evaluation settings; None where these could not be read.
        faults: Receives what is wrong.
    """
    strength: dict[str, Any] = (
        {} if evaluation is None else {"norm": evaluation.norm, "epsilon": evaluation.epsilon}
    )
    found: dict[str, Control] = {}
    for location, name, entry in _entries(given, faults):
        if name in found:
            faults.add(location, f"the control {name} is given twice")
            continue
        own = _own_settings(location, name, entry, faults)
        if own is None:
            continue
        if name in BUILT_IN:
            attack: Mapping[str, Any] = {} if name == "none" else strength
        else:
            attack = {
                key: value
                for key, value in strength.items()
                if not isinstance(fixed, dict) or key not in fixed
            }
        found[name] = Control(name, {**BUILT_IN.get(name, {}), **attack, **own})
    return tuple(found.values())


def _entries(given: Any, faults: Faults) -> Iterator[tuple[Location, str, Any]]:
    """Place, name and settings of every control; null stands for a built-in one as it is."""
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


def _own_settings(location: Location, name: str, entry: Any, faults: Faults) -> dict[str, Any] | None:
    if not _NAME.fullmatch(name):
        faults.add(
            location, f"a control's name is made of at most 40 letters, digits, - and _, got {shown(name)}"
        )
        return None
    if entry is None:
        if name in BUILT_IN:
            return {}
        faults.add(location, f"{name} is not a built-in control{nearest(name, BUILT_IN)}")
        return None
    return read_given(TrainSettings, entry, location, faults)
