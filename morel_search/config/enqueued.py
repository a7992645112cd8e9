"""The configurations that ``search.start_from`` enqueues: they are trained before the search proposes any."""

from __future__ import annotations

from collections.abc import Sequence

from morel_search._values import SettingValue
from morel_search.config.faults import Faults, Location, nearest, shown
from morel_search.config.parameter import Parameter
from morel_search.config.rational import format_value
from morel_search.config.schema import read_value
from morel_search.config.searchable import searchable
from morel_search.config.space import Configuration

__all__ = ["read_enqueued"]

_PLACE: Location = ("search", "start_from")


def read_enqueued(
    given: object, parameters: Sequence[Parameter], faults: Faults
) -> tuple[Configuration, ...]:
    """Read the configurations of ``search.start_from``.

    Args:
        given: The value as it stands in the file.
        parameters: The searched parameters.
        faults: Receives the faults.

    Returns:
        The configurations; none when the value is null or the folder of a run.
    """
    if isinstance(given, str) and not given.strip():
        faults.add(_PLACE, "is empty; remove it, or name the folder of a run")
    if given is None or isinstance(given, str):
        return ()
    if not isinstance(given, (list, tuple)):
        faults.add(
            _PLACE,
            f"must be a list of mappings (parameter: value) or the folder of a run, got {shown(given)}",
        )
        return ()
    return tuple(
        _configuration(entry, (*_PLACE, index), parameters, faults) for index, entry in enumerate(given)
    )


def _configuration(
    entry: object, location: Location, parameters: Sequence[Parameter], faults: Faults
) -> Configuration:
    if not isinstance(entry, dict):
        faults.add(location, f"must be a mapping (parameter: value), got {shown(entry)}")
        return {}
    by_name = {parameter.name: parameter for parameter in parameters}
    values: dict[str, SettingValue] = {}
    for name, given in entry.items():
        if name not in by_name:
            faults.add((*location, name), f"is not a parameter of this space{nearest(name, by_name)}")
            continue
        spec = searchable(name)
        assert spec is not None, "it is a parameter"
        value = read_value(spec, given, (*location, name), faults)
        if value is ...:
            continue
        if not by_name[name].contains(value):
            faults.add(
                (*location, name), f"must lie in the range of the parameter, got {format_value(value)}"
            )
            continue
        values[name] = value
    return values
