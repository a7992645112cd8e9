"""The section ``rivals``: networks that this search does not train, verified beside the front."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from morel_search._consent import is_import_path
from morel_search._format import shortened
from morel_search._values import JsonObject
from morel_search.config.describe import settings_json
from morel_search.config.faults import Faults, Location, shown
from morel_search.config.imports import check_import_path
from morel_search.config.reader import read_tree
from morel_search.config.schema import read_section
from morel_search.errors import SpaceError
from morel_search.results.names import RIVAL_NAME
from morel_search.training.settings import NetworkSettings

__all__ = ["Rival", "read_rival_options", "read_rivals"]

_PLACE: Location = ("rivals",)


@dataclass(frozen=True, slots=True)
class Rival:
    """A network that this search does not train.

    Attributes:
        name: Its name in tables and in the report.
        source: ``package.module:name`` of the network with its weights, or the folder of a network of this
            project; empty where ``network`` is given.
        network: A network with the file of its weights; None where ``source`` is given.
    """

    name: str
    source: str = ""
    network: NetworkSettings | None = field(default=None, hash=False)

    @property
    def title(self) -> str:
        """Where the network comes from, for a reader."""
        if self.network is None:
            return self.source
        weights = f" with {self.network.weights}" if self.network.weights else ""
        return f"{self.network.name}{weights}"

    @property
    def given(self) -> str | JsonObject:
        """The rival as a space file gives it: a text, or the settings of the network."""
        return self.source if self.network is None else settings_json(dataclasses.asdict(self.network))

    def describe(self) -> JsonObject:
        """Return the rival as a JSON object, as a space file gives it, and its name."""
        return {"name": self.name, "source" if self.network is None else "network": self.given}


def read_rivals(given: object, controls: Collection[str], faults: Faults) -> tuple[Rival, ...]:
    """Read the section.

    Args:
        given: The section as it stands in the file: a mapping of names to networks.
        controls: The names of the controls, which no rival may have.
        faults: Receives the faults.

    Returns:
        The rivals without a fault.
    """
    if not isinstance(given, Mapping):
        faults.add(_PLACE, f"must be a mapping (name: network), got {shown(given)}")
        return ()
    rivals = []
    for name, entry in given.items():
        location: Location = (*_PLACE, str(name))
        if not isinstance(name, str) or not RIVAL_NAME.fullmatch(name):
            faults.add(
                location,
                "the name of a rival must be a letter and at most 39 more letters, digits, - and _, got "
                f"{shown(name)}",
            )
        elif name in controls:
            faults.add(location, f"{name} is the name of a control; give the rival another name")
        elif isinstance(entry, str):
            rivals += _named(name, entry, location, faults)
        elif isinstance(entry, Mapping):
            rivals += _described(name, entry, location, faults)
        else:
            faults.add(
                location,
                "must be package.module:name, the folder of a network, or a mapping with name and weights, "
                f"got {shown(entry)}",
            )
    return tuple(rivals)


def read_rival_options(options: Sequence[str], controls: Collection[str]) -> dict[str, Rival | None]:
    """Read the texts of the option ``--rival``.

    Args:
        options: Texts ``NAME=NETWORK``, where the network is written as in a space file, in one line.
        controls: The names of the controls, which no rival may have.

    Returns:
        The rivals by name; None for ``NAME=none``.

    Raises:
        SpaceError: With all faults.
        TrainingError: A module that a rival names does not return.
    """
    faults = Faults()
    given: dict[str, object] = {}
    left_out: dict[str, Rival | None] = {}
    for option in options:
        name, equals, written = (part.strip() for part in option.partition("="))
        if not equals:
            faults.add((), f"{shortened(option)}: write NAME=NETWORK, such as theirs=my_rivals:network")
        elif name in given or name in left_out:
            faults.add((), f"the rival {shortened(name)} is given twice")
        elif written in ("none", "null", ""):
            left_out[name] = None
        else:
            try:
                given[name] = read_tree(written, faults)
            except SpaceError as error:
                faults.add((), f"{shortened(option)}: the network is not YAML: {error.faults[0]}")
    rivals = read_rivals(given, controls, faults)
    faults.raise_all("--rival")
    return left_out | {rival.name: rival for rival in rivals}


def _named(name: str, source: str, location: Location, faults: Faults) -> list[Rival]:
    problem = check_import_path(source) if is_import_path(source) else "" if source.strip() else "is empty"
    if problem:
        faults.add(location, problem)
        return []
    return [Rival(name, source)]


def _described(name: str, entry: Mapping[str, object], location: Location, faults: Faults) -> list[Rival]:
    network = read_section(NetworkSettings, entry, location, faults)
    if network is None:
        return []
    if network.weights is None:
        faults.add(
            location,
            f"{shortened(network.name)} needs weights: the file or the folder of a trained network; a "
            "function of your own that returns a network with its weights is written as package.module:name",
        )
        return []
    return [Rival(name, network=network)]
