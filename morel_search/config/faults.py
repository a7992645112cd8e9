"""Faults of a space file: collected with their places, and raised together as one error."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

from morel_search._format import printable
from morel_search.errors import SpaceError

__all__ = ["Faults", "Location", "dotted", "nearest", "shown"]

Location = tuple[str | int, ...]

_PLAIN_KEY = re.compile(r"[A-Za-z_][\w-]*")
_LONGEST = 60


class Faults:
    """The faults noted so far, and the lines of the file's values.

    Attributes:
        origins: For the place of each value, its line (from 1), or the text ``--set``.
    """

    def __init__(self) -> None:
        self.origins: dict[Location, int | str] = {}
        self._lines: dict[str, int] = {}
        self._notes: list[tuple[Location, str]] = []
        self._unreadable: set[Location] = set()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, location: Location, message: str) -> None:
        """Note a fault, unless its value or a mapping around it could not be read."""
        if not any(location[:length] in self._unreadable for length in range(1, len(location) + 1)):
            self._note(location, message)

    def mark_unreadable(self, location: Location, message: str) -> None:
        """Note a value that cannot be read; later faults about it are dropped."""
        self._note(location, message)
        self._unreadable.add(location)

    def merge(self, other: Faults, location: Location) -> None:
        """Add the faults of a value that was read on its own and is now at this place."""
        for inner, message in other._notes:
            self.add((*location, *inner), message)
        self._unreadable |= {(*location, *inner) for inner in other._unreadable}

    def raise_all(self, source: str) -> None:
        """Raise the faults, if there are any: first those without a line, then in the order of the file.

        Args:
            source: Path of the file.

        Raises:
            SpaceError: With every fault.
        """
        if self._lines:
            raise SpaceError(sorted(self._lines, key=self._lines.__getitem__), source)

    def _note(self, location: Location, message: str) -> None:
        where = f"{dotted(location)}: " if location else ""
        self._notes.append((location, message))
        origin = self._origin(location)
        shown_origin = (
            "" if origin is None else f" (line {origin})" if isinstance(origin, int) else f" ({origin})"
        )
        self._lines[printable(f"{where}{message}{shown_origin}")] = origin if isinstance(origin, int) else 0

    def _origin(self, location: Location) -> int | str | None:
        """Return where a value was given: the line of the innermost known part of its place, or ``--set``."""
        return next(
            (
                self.origins[location[:length]]
                for length in range(len(location), 0, -1)
                if location[:length] in self.origins
            ),
            None,
        )


def dotted(location: Location) -> str:
    """Return a place as the user would write it: ``parameters.accuracy_loss.choices[2]``."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            text += ("." if text else "") + (part if _PLAIN_KEY.fullmatch(part) else _cut(repr(part)))
    return text


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown name, as the end of a sentence.

    Args:
        name: The unknown name.
        known: The known names.

    Returns:
        ``; did you mean epochs?`` if a known name is similar, else ``; known: ...`` with at most 12 names,
        else an empty text.
    """
    names = list(known)
    close = difflib.get_close_matches(name[:_LONGEST], names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known: {', '.join(names)}" if 0 < len(names) <= 12 else ""


def shown(value: object) -> str:
    """Return a value of the file in words, short enough for a sentence."""
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
