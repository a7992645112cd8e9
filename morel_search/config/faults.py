"""Faults of a space file: collected with their places, worded for a person, raised together."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from morel_search.errors import SpaceError

__all__ = ["Faults", "Location", "dotted", "nearest", "printable", "shown"]

Location = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*")
_LONGEST = 60


class Faults:
    """Every fault found so far, and where each value of the file stands.

    Attributes:
        origins: Where a value was given: its line (from 1), or the text ``--set``.
    """

    def __init__(self) -> None:
        self.origins: dict[Location, int | str] = {}
        self._found: dict[str, int] = {}
        self._notes: list[tuple[Location, str]] = []
        self._spoiled: set[Location] = set()

    def __bool__(self) -> bool:
        return bool(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def add(self, location: Location, message: str) -> None:
        """Note a fault; one about a value that could not even be read is not repeated."""
        if not any(location[:length] in self._spoiled for length in range(1, len(location) + 1)):
            self._note(location, message)

    def mark_unreadable(self, location: Location, message: str) -> None:
        """Note a value that could not be read; later faults about it are dropped."""
        self._note(location, message)
        self._spoiled.add(location)

    def merge(self, other: Faults, location: Location) -> None:
        """Take over what was found in a value that is now at this place."""
        for inner, message in other._notes:
            self.add((*location, *inner), message)
        self._spoiled |= {(*location, *inner) for inner in other._spoiled}

    def raise_all(self, source: str) -> None:
        """Raise SpaceError with every fault, if there is one: first those without a line, then in the order of the file."""
        if self._found:
            raise SpaceError(sorted(self._found, key=self._found.__getitem__), source)

    def _note(self, location: Location, message: str) -> None:
        where = f"{dotted(location)}: " if location else ""
        self._notes.append((location, message))
        origin = self._origin(location)
        shown_origin = (
            "" if origin is None else f" (line {origin})" if isinstance(origin, int) else f" ({origin})"
        )
        self._found[printable(f"{where}{message}{shown_origin}")] = origin if isinstance(origin, int) else 0

    def _origin(self, location: Location) -> int | str | None:
        """Where a value was given: of the longest part of its place that is known, the whole file aside."""
        return next(
            (
                self.origins[location[:length]]
                for length in range(len(location), 0, -1)
                if location[:length] in self.origins
            ),
            None,
        )


def dotted(location: Location) -> str:
    """A place as the user would write it: ``parameters.accuracy_loss.choices[2]``."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _PLAIN_KEY.fullmatch(part) else _cut(repr(part)))
    return text


def printable(text: str) -> str:
    """The text with control and other unprintable characters escaped, so that a file cannot steer a terminal."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in text)


def nearest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean epochs?)`` where a known name is near, else `` (known: ...)`` where the list is short, else nothing."""
    names = list(known)
    close = difflib.get_close_matches(name[:_LONGEST], names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known: {', '.join(names)}" if 0 < len(names) <= 12 else ""


def shown(value: object) -> str:
    """A value of the file in words, short enough for a sentence."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"the text {_cut(repr(value))}"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    return _cut(str(value))


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
