"""The rivals of a run: networks that its search did not train, as ``rivals.json`` describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from morel_search.errors import RunFolderError
from morel_search.results.files import os_error_sentence
from morel_search.results.folder import RunFolder
from morel_search.results.json_values import get_flag, get_named_objects, get_text, get_whole, read_json
from morel_search.results.names import RIVAL_NAME

__all__ = ["RivalEntry", "read_rivals", "write_rivals"]


@dataclass(frozen=True, slots=True)
class RivalEntry:
    """A network that the search of a run did not train.

    Attributes:
        name: Its name.
        title: Where it comes from, for a reader: an import path, a folder, or a network and a file.
        given: The network as a space file gives it: a text, or the settings of the network.
        by_command: Whether the command ``verify`` named it, and not the space file.
        fingerprint: SHA-256 of its structure and weights, as hexadecimal digits.
        parameters: Number of its parameters.
        operations: Floating point operations of one forward pass of one image.
        own_operations: Those of ``own_network``, a network of the run.
        own_network: The name of that network.
    """

    name: str
    title: str
    given: object
    by_command: bool
    fingerprint: str
    parameters: int
    operations: int
    own_operations: int
    own_network: str

    def to_json(self) -> dict[str, object]:
        """Return the JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


def write_rivals(run: RunFolder, rivals: Sequence[RivalEntry]) -> None:
    """Replace ``rivals.json``.

    Raises:
        RunFolderError: The file cannot be written.
    """
    run.write_json(run.rivals, {"rivals": [rival.to_json() for rival in rivals]})


def read_rivals(run: RunFolder) -> tuple[RivalEntry, ...]:
    """Read the rivals of a run; none if the file does not exist.

    Raises:
        RunFolderError: The file is damaged.
    """
    try:
        content = read_json(run.rivals)
        if not isinstance(content, Mapping):
            raise RunFolderError("is damaged: it is no object")
        return tuple(map(_entry, get_named_objects(content, "rivals")))
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise os_error_sentence("read", run.rivals, error) from error
    except ValueError as error:
        raise RunFolderError(f"{run.rivals} is damaged: {error}") from error
    except RunFolderError as error:
        raise RunFolderError(f"{run.rivals} {error}") from None


def _entry(values: Mapping[str, object]) -> RivalEntry:
    name, given = str(values["name"]), values.get("given")
    if not RIVAL_NAME.fullmatch(name):
        raise RunFolderError(f"is damaged: {name[:60]!r} is not the name of a rival")
    if not isinstance(given, (str, Mapping)):
        raise RunFolderError(f"is damaged: the rival {name} has no network")
    return RivalEntry(
        name=name,
        title=get_text(values, "title", f"{name}.") or "",
        given=given,
        by_command=bool(get_flag(values, "by_command", f"{name}.")),
        fingerprint=get_text(values, "fingerprint", f"{name}.") or "",
        parameters=get_whole(values, "parameters", f"{name}.") or 0,
        operations=get_whole(values, "operations", f"{name}.") or 0,
        own_operations=get_whole(values, "own_operations", f"{name}.") or 0,
        own_network=get_text(values, "own_network", f"{name}.") or "",
    )
