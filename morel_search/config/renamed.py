"""Renamed settings: the old key of a space file is accepted, with a warning that names the new one."""

from __future__ import annotations

from morel_search._values import JsonObject
from morel_search.config.faults import Faults
from morel_search.results.renamed import RENAMED_SETTINGS

__all__ = ["current_keys", "rename_old_keys"]


def rename_old_keys(tree: JsonObject, faults: Faults) -> list[str]:
    """Rename the old keys of a file.

    Args:
        tree: The values of the file; changed in place.
        faults: Receives a fault if an old key and its new name are both given. The line of the old key
            becomes the line of the new one.

    Returns:
        A warning for each old key.
    """
    warnings = []
    for section, names in RENAMED_SETTINGS.items():
        given = tree.get(section)
        if not isinstance(given, dict):
            continue
        for old, new in names.items():
            if old not in given:
                continue
            if new in given:
                faults.add(
                    (section, old),
                    f"is the old name of {section}.{new}, which is given too; remove {section}.{old}",
                )
            else:
                given[new] = given[old]
                warnings.append(f"{section}.{old} is now called {section}.{new}; the old name still works")
            del given[old]
            if (section, old) in faults.origins:
                faults.origins[(section, new)] = faults.origins.pop((section, old))
    return warnings


def current_keys(keys: tuple[str, ...]) -> tuple[str, ...]:
    """Return the path of an override with the new name of its setting."""
    if len(keys) < 2:
        return keys
    return (keys[0], RENAMED_SETTINGS.get(keys[0], {}).get(keys[1], keys[1]), *keys[2:])
