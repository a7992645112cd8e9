"""Building the network of saved settings: a network of a training, or a mixture of such networks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from torch import nn

from morel_search._format import shortened
from morel_search.errors import NetworkError
from morel_search.models.sections import read_section
from morel_search.training.memory import outline_problem
from morel_search.training.networks import NETWORKS, build_network, outline_of
from morel_search.training.networks.mixture import MIXTURE, Form, Mixture
from morel_search.training.settings import NetworkSettings

__all__ = ["build_saved", "mixture_settings", "network_names", "outline_saved", "saved_settings"]

MOST_MEMBERS = 16
"""Most members of a mixture: settings from somebody else must not take memory without a limit."""

Shape = tuple[int, int, int]


def mixture_settings(
    members: Sequence[NetworkSettings], names: Sequence[str], weights: Sequence[float], form: str
) -> NetworkSettings:
    """Return the settings of a mixture.

    Args:
        members: The settings of each member.
        names: The name of each member in its run.
        weights: The weight of each member.
        form: See :class:`~morel_search.training.networks.mixture.Mixture`.
    """
    described = [
        {"network": name, "name": member.name, "options": dict(member.options)}
        for name, member in zip(names, members, strict=True)
    ]
    options = {"members": described, "weights": list(weights), "form": form}
    return NetworkSettings(name=MIXTURE, options=options)


def saved_settings(given: Mapping[str, object]) -> NetworkSettings:
    """Return the section ``network`` of a network's settings.

    Raises:
        TypeError: A value has the wrong type.
        ValueError: A setting is unknown, or the name is that of no network.
    """
    if given.get("name") != MIXTURE:
        return read_section(NetworkSettings, given)
    options = given.get("options")
    if not isinstance(options, Mapping):
        raise TypeError(f"options must be a mapping, got {shortened(repr(options))}")
    return NetworkSettings(name=MIXTURE, options=options)


def network_names(settings: NetworkSettings) -> list[str]:
    """Return the names of the networks that would be built, for the consent to run code.

    Raises:
        NetworkError: The members of a mixture are not described.
    """
    if settings.name != MIXTURE:
        return [settings.name]
    return [member.name for member in _members(settings)]


def build_saved(settings: NetworkSettings, image_shape: Shape, classes: int) -> nn.Module:
    """Build the network of saved settings, see :func:`~morel_search.training.networks.build_network`.

    Its weights are not those of a training: the caller reads them from a file.

    Raises:
        NetworkError: The settings do not describe a network, or it does not fit the images or the memory.
    """
    if settings.name != MIXTURE:
        return build_network(settings, image_shape, classes, initial_weights=False)
    members = _members(settings)
    if all(member.name in NETWORKS for member in members) and (
        problem := outline_problem(lambda: outline_saved(settings, image_shape, classes))
    ):
        raise NetworkError(f"a mixture of {len(members)} networks {problem}")
    return _mixture(
        settings, [build_network(own, image_shape, classes, initial_weights=False) for own in members]
    )


def outline_saved(settings: NetworkSettings, image_shape: Shape, classes: int) -> nn.Module:
    """Build the network of saved settings from built-in networks without memory for its weights.

    Raises:
        NetworkError: As :func:`build_saved`.
    """
    if settings.name != MIXTURE:
        return outline_of(settings, image_shape, classes)
    return _mixture(settings, [outline_of(own, image_shape, classes) for own in _members(settings)])


def _mixture(settings: NetworkSettings, members: Sequence[nn.Module]) -> Mixture:
    weights, form = settings.options.get("weights"), settings.options.get("form")
    if not isinstance(weights, (list, tuple)) or not all(_is_number(weight) for weight in weights):
        raise _damaged("weights", weights)
    try:
        return Mixture(members, weights, cast("Form", form))  # a mixture checks its form
    except NetworkError as error:
        raise NetworkError(f"a mixture {error}") from None


def _members(settings: NetworkSettings) -> list[NetworkSettings]:
    given = settings.options.get("members")
    if not isinstance(given, (list, tuple)) or not 2 <= len(given) <= MOST_MEMBERS:
        raise _damaged("members", given)
    return [_member(member) for member in given]


def _member(given: object) -> NetworkSettings:
    if not isinstance(given, Mapping):
        raise _damaged("members", given)
    name, options = given.get("name"), given.get("options", {})
    if not isinstance(name, str) or name == MIXTURE or not isinstance(options, Mapping):
        raise _damaged("members", given)
    return NetworkSettings(name=name, options=options)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _damaged(key: str, value: object) -> NetworkError:
    return NetworkError(f"the settings of a mixture are damaged: {key} is {shortened(repr(value))}")
