"""Reading YAML: bytes become plain values. No other module reads YAML.

The language is YAML 1.2 without tags and merge keys; a refusal names the line. A decimal becomes a float
whose ``repr`` is the decimal as written, so that an exact rational can be made from it later.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLWarning
from ruamel.yaml.events import (
    AliasEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from morel_search._values import JsonObject, JsonValue
from morel_search.config.faults import Faults, Location, shown
from morel_search.errors import SpaceError

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_VALUES", "read_text", "read_tree"]

MAX_BYTES = 256 * 1024
MAX_DEPTH = 16
MAX_VALUES = 5_000
_LARGEST = 2**63 - 1
_BASES = {"0b": 2, "0o": 8, "0x": 16}
# Words of the parser's messages, and the sentence that replaces the message.
_SENTENCES = {
    "'\\t'": "a tab is used where YAML requires spaces",
    "another document": "a second document starts here (---); a space file holds one document",
    "expected <block end>": "this is not YAML: the line is not indented like the other lines of its mapping",
    "expected '<document start>'": "this is not YAML: the line is not indented like the other lines of its "
    "mapping",
    "could not find expected ':'": "this is not YAML: a key has no colon (name: value)",
    "mapping values are not allowed": "this is not YAML: a colon stands where no key is allowed; check "
    "the indentation and the quotation marks",
    "while scanning a quoted scalar": "this is not YAML: a quotation mark is not closed",
    "while parsing a flow": "this is not YAML: a bracket or brace is not closed, or a comma is missing",
}
# ruamel.yaml 0.19 raises these for an escape such as "\UFFFFFFFF", for %YAML with 5,000 digits, and for
# directives that it does not expect.
_PARSER_BUGS = (ValueError, ArithmeticError, AssertionError, AttributeError, LookupError, TypeError)
_DIRECTIVE = re.compile(r"^%YAML[ \t]+(\S+)", re.MULTILINE)


def read_text(path: Path) -> str:
    """Read the text of a space file.

    Raises:
        SpaceError: The file is missing, a folder, unreadable, larger than :data:`MAX_BYTES`, or not UTF-8.
    """
    try:
        if path.is_fifo() and Path("/dev") not in path.parents:  # /dev/fd/63 is <(...) of a shell
            raise SpaceError(["is a pipe; name a file that holds settings"], str(path))
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SpaceError(["no such file" + _neighbours(path)], str(path)) from None
    except IsADirectoryError:
        raise SpaceError(["is a folder; name the space file in it" + _inside(path)], str(path)) from None
    except OSError as error:
        raise SpaceError([f"cannot be read: {error.strerror or error}"], str(path)) from None
    except ValueError:
        raise SpaceError(["is not a file name"], repr(str(path))) from None
    if len(content) > MAX_BYTES:
        raise SpaceError(
            [
                f"is larger than {MAX_BYTES // 1024} KiB, the limit of a space file; "
                "name a file that holds settings"
            ],
            str(path),
        )
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise SpaceError(
            [f"line {line}: byte 0x{content[error.start]:02x} is not UTF-8 text; save the file as UTF-8"],
            str(path),
        ) from None


def read_tree(text: str, faults: Faults, origin: str = "") -> JsonValue:
    """Read the plain values of one YAML document.

    Args:
        text: The document.
        faults: Receives the line of each value, and the faults after which reading continues: keys that are
            given twice or are not texts, and numbers that are too large or not finite.
        origin: Where the text comes from, if it is not a file: it replaces the lines.

    Returns:
        The value of the document; None if it is empty.

    Raises:
        SpaceError: The text is not YAML, or it has a tag, a merge key, more than :data:`MAX_VALUES` values or
            a nesting deeper than :data:`MAX_DEPTH`.
    """
    _check_version(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", YAMLWarning)
            _scan(text)
            root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        raise SpaceError([_syntax(error)]) from None
    except YAMLError as error:
        raise SpaceError([_unreadable(text, error)]) from None
    except _PARSER_BUGS:
        raise SpaceError(["this is not YAML: an escape or a number cannot be read"]) from None
    return None if root is None else _Converter(faults, origin).value(root, ())


def _check_version(text: str) -> None:
    """Refuse a directive of another version; the parser ends with an assertion for some of them."""
    head = re.split(r"^---", text, maxsplit=1, flags=re.MULTILINE)[0]
    for version in _DIRECTIVE.findall(head):
        if version != "1.2":
            raise SpaceError([f"the file declares YAML {version[:20]}; space files are YAML 1.2"])


def _scan(text: str) -> None:
    """Refuse, before values are built, a document that could take much time or memory, or run code."""
    depth = 0
    for event in YAML(typ="safe", pure=True).parse(text):
        line = event.start_mark.line + 1
        if isinstance(event, (ScalarEvent, SequenceStartEvent, MappingStartEvent)) and event.tag is not None:
            raise SpaceError(
                [f"line {line}: the tag {str(event.tag)[:80]!r} is not allowed; write plain values"]
            )
        if isinstance(event, (SequenceStartEvent, MappingStartEvent)):
            depth += 1
            if depth > MAX_DEPTH:
                raise SpaceError([f"line {line}: nested more than {MAX_DEPTH} levels deep"])
        elif isinstance(event, (SequenceEndEvent, MappingEndEvent)):
            depth -= 1
        elif isinstance(event, AliasEvent) and len(str(event.anchor)) > 80:
            raise SpaceError([f"line {line}: the name of an alias has more than 80 characters"])


class _Converter:
    """Turns a parsed node into plain values, and counts the values with the aliases unfolded."""

    def __init__(self, faults: Faults, origin: str) -> None:
        self._faults = faults
        self._origin = origin
        self._count = 0

    def value(self, node: Node, location: Location) -> JsonValue:
        line = node.start_mark.line + 1
        self._count += 1
        if self._count > MAX_VALUES:
            raise SpaceError([f"line {line}: more than {MAX_VALUES} values, with aliases unfolded"])
        if len(location) > MAX_DEPTH:
            raise SpaceError(
                [f"line {line}: nested more than {MAX_DEPTH} levels deep, or an alias contains itself"]
            )
        self._faults.origins.setdefault(location, self._origin or line)
        if isinstance(node, MappingNode):
            return self._mapping(node, location)
        if isinstance(node, SequenceNode):
            return [self.value(item, (*location, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, location)

    def _mapping(self, node: MappingNode, location: Location) -> JsonObject:
        values: JsonObject = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            kind = _kind(key_node)
            if kind == "merge":
                raise SpaceError([f"line {line}: merge keys (<<) are not allowed; repeat the lines"])
            key = key_node.value
            if not isinstance(key_node, ScalarNode) or kind != "str":
                got = key if isinstance(key, str) else "a list or a mapping"
                self._faults.add(
                    location,
                    f"a key must be a text, got {got[:40]!r}{'' if self._origin else f' in line {line}'}",
                )
                continue
            inner = (*location, key)
            if key in values:
                self._faults.mark_unreadable(
                    inner, "this key is given twice" + ("" if self._origin else f", again in line {line}")
                )
                continue
            self._faults.origins[inner] = self._origin or line
            values[key] = self.value(value_node, inner)
        return values

    def _scalar(self, node: Node, location: Location) -> JsonValue:
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
            self._faults.mark_unreadable(location, f"contains an unprintable character, got {shown(text)}")
        return text


def _kind(node: Node) -> str:
    """Return the type of a node in YAML 1.2, such as ``str``, ``int``, ``null`` or ``merge``."""
    kind = str(node.tag).rsplit(":", 1)[-1]
    return "str" if kind in ("timestamp", "value") else kind


def _whole(text: str) -> int:
    digits = text.replace("_", "").lower()
    sign = -1 if digits.startswith("-") else 1
    digits = digits.lstrip("+-")
    try:
        number = sign * int(digits[2:] if digits[:2] in _BASES else digits, _BASES.get(digits[:2], 10))
    except ValueError:
        raise ValueError("must be a number that can be read") from None
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
    """Return a parser's message as one sentence with its line."""
    mark = error.problem_mark or error.context_mark
    line = f"line {mark.line + 1}: " if mark is not None else ""
    problem = " ".join(str(error.problem or error.context or "").split())
    context = " ".join(str(error.context or "").split())
    message = f"{problem} ({context})" if problem and context else problem or context
    sentence = next(
        (sentence for words, sentence in _SENTENCES.items() if words in message),
        f"this is not YAML: {message}"[:300],
    )
    return f"{line}{sentence}"


def _unreadable(text: str, error: YAMLError) -> str:
    position = getattr(error, "position", None)
    if isinstance(position, int):
        line = text[:position].count("\n") + 1
        code = ord(text[position]) if position < len(text) else 0
        return f"line {line}: the character with the code {code:#x} is not allowed; save the file as text"
    return "this is not YAML"


def _neighbours(path: Path) -> str:
    return _inside(path.parent) if path.parent.is_dir() else ""


def _inside(folder: Path) -> str:
    try:
        names = sorted(entry.name for entry in folder.iterdir() if entry.suffix in (".yaml", ".yml"))
    except OSError:
        return ""
    return f"; the folder has {', '.join(names[:8])}" if names else ""
