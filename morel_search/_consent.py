"""Consent to run code that a folder names.

A model folder or a run folder may come from somebody else. Its files are data, but the import path of a
network or of a loss (``package.module:name``) makes this process import a module and call what the path
names, with options of the folder's choice.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from morel_search.errors import UntrustedCodeError

__all__ = [
    "ALL_CODE",
    "IMPORT_PATH",
    "NO_CODE",
    "Consent",
    "consent_of",
    "consent_to",
    "import_paths",
    "is_import_path",
    "names_code",
    "trust_option",
]

_NAME = r"[^\W\d]\w*"
IMPORT_PATH = re.compile(rf"{_NAME}(\.{_NAME})*:{_NAME}(\.{_NAME})*")
"""The form ``package.module:name``; the name may contain dots."""

_ASK = (
    "such code runs only with your consent: read it first, then give --trust (trust_code=True in Python); "
    "without --trust, only built-in networks and losses are used"
)
_OTHER = "the space file of this run does not name it, so it is not run; the folder is damaged or was changed"


@dataclass(frozen=True, slots=True)
class Consent:
    """The code that may be run although a folder names it.

    Attributes:
        names: Import paths.
        everything: Whether any code may be run.
        otherwise: Rest of the message about other code.
    """

    names: frozenset[str] = frozenset()
    everything: bool = False
    otherwise: str = _ASK

    def check(self, named: Iterable[str], place: object) -> None:
        """Check that the user consented to all code that a folder names.

        Args:
            named: Names of networks and losses; built-in names need no consent.
            place: The file or folder that names them.

        Raises:
            UntrustedCodeError: The user did not consent to one of them.
        """
        if self.everything:
            return
        for name in named:
            if is_import_path(name) and name not in self.names:
                raise UntrustedCodeError(f"{place} names the code {name}; {self.otherwise}")


NO_CODE = Consent()
ALL_CODE = Consent(everything=True)


def consent_of(*, trust_code: bool) -> Consent:
    """Return the consent that a user gives or does not give, by ``--trust`` or ``trust_code=True``."""
    return ALL_CODE if trust_code else NO_CODE


def consent_to(values: object) -> Consent:
    """Return the consent to the code that a space file names, for the files of its own run.

    Args:
        values: The resolved space file, or a part of it.
    """
    return Consent(frozenset(import_paths(values)), otherwise=_OTHER)


def trust_option(values: object) -> str:
    """Return the option that commands need for a folder with these settings: `` --trust``, or nothing."""
    return " --trust" if any(import_paths(values)) else ""


def is_import_path(text: str) -> bool:
    """Return whether a text is meant as an import path ``package.module:name``."""
    return ":" in text


def names_code(text: str | None) -> bool:
    """Return whether a text that names a folder or code is an import path."""
    return text is not None and IMPORT_PATH.fullmatch(text) is not None and not Path(text).is_dir()


def import_paths(values: object) -> Iterator[str]:
    """Return every text of the form ``package.module:name`` in nested mappings and lists."""
    if isinstance(values, str):
        if IMPORT_PATH.fullmatch(values):
            yield values
    elif isinstance(values, Mapping):
        for key, value in values.items():
            yield from import_paths(key)
            yield from import_paths(value)
    elif isinstance(values, (list, tuple)):
        for value in values:
            yield from import_paths(value)
