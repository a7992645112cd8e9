"""Checks of every network that a search can build: its options may be searched, and not all fit in memory."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from morel_search._values import SettingValue
from morel_search.cluster.placement import device_for
from morel_search.config import Parameter, Space
from morel_search.config.possible_values import highest, possible_values
from morel_search.config.searchable import is_option
from morel_search.errors import MorelSearchError, NetworkError, OutOfMemoryError

if TYPE_CHECKING:
    from morel_search.training.networks import Classifier
    from morel_search.training.settings import NetworkSettings

__all__ = ["check_memory", "check_variants", "network_variants"]

MOST_VARIANTS = 64
"""Largest number of networks that are checked in all combinations of their options."""


def network_variants(space: Space) -> list[NetworkSettings]:
    """Return the networks with the extreme values of each searched option.

    These are all values of an option with at most :data:`MOST_VARIANTS` values, both ends of any other range,
    and for an option that is not always active the value of ``network``. Combinations that the conditions
    between options exclude are left out. All combinations are returned if
    they are at most :data:`MOST_VARIANTS`; else one option at a time has another value than its first, and
    one network has the last value of each option.
    """
    options = [parameter for parameter in space.parameters if is_option(parameter.name)]
    values = [_extremes(parameter) for parameter in options]
    networks: list[NetworkSettings] = []
    for combination in _combinations(values) if options else ():
        chosen = list(zip(options, combination, strict=True))
        network = space.base.replaced(_active(space, chosen)).network
        if network not in networks:
            networks.append(network)
    return networks


def check_variants(space: Space, image_shape: tuple[int, int, int], classes: int) -> None:
    """Check that every network that the search can build fits the images and the memory.

    Args:
        space: The space.
        image_shape: Channels, height and width of the images.
        classes: Number of classes.

    Raises:
        NetworkError: A network does not exist with a value of an option, or does not fit the images.
        OutOfMemoryError: A network does not fit into memory.
    """
    from morel_search.training.networks import NETWORKS, build_network, outline_of

    outlined = space.network.name in NETWORKS and space.network.weights is None
    build = outline_of if outlined else build_network
    for settings in network_variants(space):
        searched = {name: settings.options.get(name, "its default") for name in _names(space)}
        try:
            check_memory(space, build(settings, image_shape, classes))
        except MorelSearchError as error:
            text = ", ".join(f"{name} {value}" for name, value in searched.items())
            kind = OutOfMemoryError if isinstance(error, OutOfMemoryError) else NetworkError
            raise kind(f"{error} (with {text}, which the search can propose)") from error


def check_memory(space: Space, network: Classifier) -> None:
    """Check that weights, gradients and the optimizer's state fit into the memory of a device.

    Raises:
        OutOfMemoryError: They do not, with the largest embedding space of the search.
    """
    from torch import nn

    from morel_search.training.embedding import EmbeddingSpace
    from morel_search.training.memory import outline_problem

    dimension = int(highest(space, "embedding_dim"))
    copies = 4 if "adamw" in possible_values(space, "optimizer") else 3
    if problem := outline_problem(
        lambda: nn.ModuleList([network, EmbeddingSpace(network.feature_dim, dimension, 1)]),
        copies,
        device_for(space.resources),
    ):
        raise OutOfMemoryError(
            f"a training of {space.network.name} with embedding_dim {dimension} {problem}: weights, "
            "gradients and the state of the optimizer; lower embedding_dim or the size of the network"
        )


def _names(space: Space) -> Iterator[str]:
    for parameter in space.parameters:
        if is_option(parameter.name):
            yield parameter.name.rpartition(".")[2]


def _active(space: Space, values: Sequence[tuple[Parameter, SettingValue]]) -> dict[str, SettingValue]:
    """Return the values of the options that are active together.

    Conditions on other settings may hold or not: the value None leaves an option out.
    """
    active: dict[str, SettingValue] = {}
    searched = {parameter.name for parameter, _ in values}
    for parameter, value in values:  # each after those that its condition names
        holds = all(
            (other in active and active[other] in condition)
            if other in searched
            else space.base.value(other) in condition
            for other, condition in parameter.when.items()
            if is_option(other)
        )
        if holds and value is not None:
            active[parameter.name] = value
    return active


def _extremes(parameter: Parameter) -> tuple[SettingValue, ...]:
    values: tuple[SettingValue, ...] = (parameter.low, parameter.high)
    if parameter.values is not None and len(parameter.values) <= MOST_VARIANTS:
        values = tuple(parameter.values)
    return (*values, None) if parameter.when else values


def _combinations(values: list[tuple[SettingValue, ...]]) -> Iterator[tuple[SettingValue, ...]]:
    count = 1
    for choices in values:
        count *= len(choices)
    if count <= MOST_VARIANTS:
        yield from itertools.product(*values)
        return
    first = tuple(choices[0] for choices in values)
    yield first
    yield tuple(choices[-1] for choices in values)
    for index, choices in enumerate(values):
        for choice in choices[1:]:
            yield (*first[:index], choice, *first[index + 1 :])
