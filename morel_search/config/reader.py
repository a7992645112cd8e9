"""From bytes to plain values: the only place where YAML is read.

YAML 1.2 without tags and merge keys; what is refused is refused with its line. Numbers that are not whole
stay as they are written until the schema has seen them, apart from the reader's rounding to a float, which
prints back as written.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLWarning
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from morel_search.config.faults import Faults, Location, shown
from morel_search.errors import SpaceError

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "read_text", "read_tree"]

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16
MAX_VALUES = 5_000
_LARGEST = 2**63 - 1
_BASES = {"0b": 2, "0o": 8, "0x": 16}
# What the parser says, and what it means for the person at the keyboard.
_PLAINLY = {
    "'\\t'": "a tab where YAML wants spaces",
    "another document": "a second document starts here (---); a space file is one",
    "expected <block end>": "this is not YAML: the line is not indented like those it belongs to",
    "expected '<document start>'": "this is not YAML: the line is not indented like those it belongs to",
    "could not find expected ':'": "this is not YAML: a key without its colon (name: value)",
    "mapping values are not allowed": "this is not YAML: a colon where no key can stand; is the "
    "indentation wrong, or a quote missing?",
    "while scanning a quoted scalar": "this is not YAML: a quotation mark that is never closed",
    "while parsing a flow": "this is not YAML: a bracket or brace that is never closed, or a comma too few",
}
# Seen from ruamel.yaml 0.19 beside its own errors: an escape such as "\UFFFFFFFF", and %YAML with a number of
# 5,000 digits.
_PARSER_FAILS = (ValueError, OverflowError)


def read_text(path: Path) -> str:
    """The text of a space file.

    Raises:
        SpaceError: The file is missing, a folder, unreadable, too large, or not UTF-8.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SpaceError(["there is no such file" + _neighbours(path)], str(path)) from None
    except IsADirectoryError:
        raise SpaceError(["this is a folder; name the space file in it" + _inside(path)], str(path)) from None
    except OSError as error:
        raise SpaceError([f"cannot be read: {error.strerror or error}"], str(path)) from None
    except ValueError:
        raise SpaceError(["this is not a file name"], repr(str(path))) from None
    if len(content) > MAX_BYTES:
        raise SpaceError(
            [f"is larger than {MAX_BYTES // 1024} KiB; a space file holds settings, not data"], str(path)
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SpaceError(
            [f"line {line}: byte 0x{content[error.start]:02x} is not UTF-8 text; save the file as UTF-8"],
            str(path),
        ) from None


def read_tree(text: str, faults: Faults, origin: str = "") -> Any:
    """The plain values of one YAML document: dicts, lists, texts, numbers, true, false and null.

    Args:
        text: The document.
        faults: Receives the line of each value, and what can be said without giving up: duplicate keys, odd
            keys, odd numbers.
        origin: Given for a text that is not a file and has no lines.

    Raises:
        SpaceError: The text is not YAML, or holds what is not read here (tags, merge keys, too much nesting,
            ...).
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", YAMLWarning)
            _scan(text)
            root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        raise SpaceError([_syntax(error)]) from None
    except YAMLError as error:
        raise SpaceError([_unreadable(text, error)]) from None
    except _PARSER_FAILS:
        raise SpaceError(["this is not YAML: an escape or a number that cannot be read"]) from None
    return None if root is None else _Walk(faults, origin).value(root, ())


def _scan(text: str) -> None:
    """Refuse, before anything is built, what could cost time or memory or run code."""
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        line = event.start_mark.line + 1
        if (
            isinstance(event, DocumentStartEvent)
            and event.version is not None
            and tuple(event.version) != (1, 2)
        ):
            raise SpaceError(
                [f"this says YAML {event.version[0]}.{event.version[1]}; space files are YAML 1.2"]
            )
        if isinstance(event, (ScalarEvent, SequenceStartEvent, MappingStartEvent)) and event.tag is not None:
            raise SpaceError(
                [f"line {line}: the tag {str(event.tag)[:80]!r} is not read; write plain values"]
            )
        if isinstance(event, (SequenceStartEvent, MappingStartEvent)):
            depth += 1
            if depth > MAX_DEPTH:
                raise SpaceError([f"line {line}: nested more than {MAX_DEPTH} deep"])
        elif isinstance(event, (SequenceEndEvent, MappingEndEvent)):
            depth -= 1
        elif isinstance(event, AliasEvent) and len(str(event.anchor)) > 80:
            raise SpaceError([f"line {line}: an alias with a name of more than 80 letters"])


class _Walk:
    """Turns a parsed node into plain values, counting what aliases unfold to."""

    def __init__(self, faults: Faults, origin: str) -> None:
        self._faults = faults
        self._origin = origin
        self._count = 0

    def value(self, node: Node, location: Location) -> Any:
        line = node.start_mark.line + 1
        self._count += 1
        if self._count > MAX_VALUES:
            raise SpaceError([f"line {line}: more than {MAX_VALUES} values once aliases are unfolded"])
        if len(location) > MAX_DEPTH:
            raise SpaceError(
                [f"line {line}: nested more than {MAX_DEPTH} deep, or an alias that contains itself"]
            )
        self._faults.origins.setdefault(location, self._origin or line)
        if isinstance(node, MappingNode):
            return self._mapping(node, location)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*location, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, location)

    def _mapping(self, node: MappingNode, location: Location) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            kind = _kind(key_node)
            if kind == "merge":
                raise SpaceError([f"line {line}: merge keys (<<) are not read; repeat the lines"])
            key = key_node.value
            if not isinstance(key_node, ScalarNode) or kind != "str":
                got = key if isinstance(key, str) else "a list or a mapping"
                self._faults.add(
                    location,
                    f"a key must be a word, got {got[:40]!r}{'' if self._origin else f' in line {line}'}",
                )
                continue
            inner = (*location, key)
            if key in found:
                self._faults.mark_unreadable(
                    inner, "this key is given twice" + ("" if self._origin else f", again in line {line}")
                )
                continue
            self._faults.origins[inner] = self._origin or line
            found[key] = self.value(value_node, inner)
        return found

    def _scalar(self, node: Node, location: Location) -> Any:
        text = str(node.value)
        kind = _kind(node)
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        try:
            if kind == "int":
                return _whole(text)
            if kind == "float":
                return _decimal(text)
        except ValueError as error:
            self._faults.mark_unreadable(location, f"{error}, got {shown(text)}")
            return text
        if not all(character.isprintable() or character in "\n\t" for character in text):
            self._faults.mark_unreadable(
                location, f"holds a character that cannot be printed, got {shown(text)}"
            )
        return text


def _kind(node: Node) -> str:
    """``str``, ``int``, ``float``, ``bool``, ``null``, ``merge``, ... as YAML 1.2 resolves the plain text."""
    kind = str(node.tag).rsplit(":", 1)[-1]
    return "str" if kind in ("timestamp", "value") else kind


def _whole(text: str) -> int:
    digits = text.replace("_", "").lower()
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    try:
        number = sign * int(digits[2:] if digits[:2] in _BASES else digits, _BASES.get(digits[:2], 10))
    except ValueError:
        raise ValueError("is no number that can be read") from None
    if abs(number) > _LARGEST:
        raise ValueError("is too large")
    return number


def _decimal(text: str) -> float:
    plain = text.replace("_", "").lower()
    if plain.lstrip("+-") in (".inf", ".nan"):
        raise ValueError("must be a finite number")
    number = float(plain)
    if number in (float("inf"), float("-inf")):
        raise ValueError("is too large")
    return number


def _syntax(error: MarkedYAMLError) -> str:
    """A parser's complaint as one sentence with its line."""
    mark = error.problem_mark or error.context_mark
    line = f"line {mark.line + 1}: " if mark is not None else ""
    problem = " ".join(str(error.problem or error.context or "").split())
    context = " ".join(str(error.context or "").split())
    said = f"{problem} ({context})" if problem and context else problem or context
    plainly = next(
        (sentence for words, sentence in _PLAINLY.items() if words in said), f"this is not YAML: {said}"[:300]
    )
    return f"{line}{plainly}"


def _unreadable(text: str, error: YAMLError) -> str:
    position = getattr(error, "position", None)
    if isinstance(position, int):
        line = text[:position].count("\n") + 1
        code = ord(text[position]) if position < len(text) else 0
        return f"line {line}: a character that text may not hold (code {code:#x}); is this a text file?"
    return "this is not YAML that can be read"


def _neighbours(path: Path) -> str:
    return _inside(path.parent) if path.parent.is_dir() else ""


def _inside(folder: Path) -> str:
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.suffix in (".yaml", ".yml"))
    except OSError:
        return ""
    return f"; there: {', '.join(names[:8])}" if names else ""
