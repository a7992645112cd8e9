"""Names that have changed since a file was written: old space files, run folders and studies keep working."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["RENAMED_ORIGINS", "RENAMED_SETTINGS", "current_member_settings", "current_space"]

RENAMED_SETTINGS: dict[str, dict[str, str]] = {"search": {"point": "select_epoch"}}
"""Section of a space to old key to new key."""

RENAMED_ORIGINS = {"seed": "enqueued"}
"""Old origin of a trial to the new one."""


def current_space(description: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the old keys of a resolved space (``settings.json``, the identity kept in a study)."""
    renamed = dict(description)
    for section, names in RENAMED_SETTINGS.items():
        if isinstance(renamed.get(section), Mapping):
            renamed[section] = {names.get(key, key): value for key, value in renamed[section].items()}
    return renamed


def current_member_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Rename the old keys of the ``settings.json`` beside a network."""
    names = RENAMED_SETTINGS["search"]
    return {names.get(key, key): value for key, value in settings.items()}
