"""Changed names, so that space files, run folders and studies of earlier versions can be read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

__all__ = ["RENAMED_ORIGINS", "RENAMED_SETTINGS", "current_member_settings", "current_space"]

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
    return renamed


def current_member_settings(settings: Mapping[str, Value]) -> dict[str, Value]:
    """Rename the old keys of the ``settings.json`` file of a network."""
    names = RENAMED_SETTINGS["search"]
    return {names.get(key, key): value for key, value in settings.items()}
