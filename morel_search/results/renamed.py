"""Changed names, so that space files, run folders and studies of earlier versions can be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

__all__ = [
    "RENAMED_ORIGINS",
    "RENAMED_SETTINGS",
    "current_evaluation",
    "current_member_settings",
    "current_space",
]

Value = TypeVar("Value")

RENAMED_SETTINGS: dict[str, dict[str, str]] = {"search": {"point": "select_epoch"}}
"""For each section of a space, the old names of keys and their current names."""

RENAMED_ORIGINS = {"seed": "enqueued"}
"""Old names of the origin of a trial and their current names."""


def current_space(description: Mapping[str, object]) -> dict[str, object]:
    """Rename the old keys of a resolved space, as ``settings.json`` and a study's identity hold it."""
    renamed = dict(description)
    for section, names in RENAMED_SETTINGS.items():
        content = renamed.get(section)
        if isinstance(content, Mapping):
            renamed[section] = {names.get(key, key): value for key, value in content.items()}
    if "evaluation" in renamed:
        renamed["evaluation"] = current_evaluation(renamed["evaluation"])
    return renamed


def current_member_settings(settings: Mapping[str, Value]) -> dict[str, Value]:
    """Rename the old keys of the ``settings.json`` file of a network."""
    names = RENAMED_SETTINGS["search"]
    renamed = {names.get(key, key): value for key, value in settings.items()}
    if "evaluation" in renamed:
        renamed["evaluation"] = current_evaluation(renamed["evaluation"])
    return renamed


def current_evaluation(evaluation: Value) -> Value:
    """Add the settings of the final attack, which earlier versions did not have, switched off.

    A setting that is missing has the default of these versions.
    """
    if not isinstance(evaluation, dict) or not evaluation or "final_steps" in evaluation:
        return evaluation
    defaults = {"loss": "cross_entropy", "steps": 20}
    later = {"targets": 4, "final_steps": 0, "final_targets": 9, "final_restarts": 2}
    return {**defaults, **evaluation, **later}  # type: ignore[return-value]  # the same type of mapping
