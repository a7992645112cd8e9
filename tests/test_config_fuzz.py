"""Malformed space files by the hundred: only ever SpaceError, and each says something about the file."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from config_files import SHIPPED
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from morel_search.config import load_space
from morel_search.errors import SpaceError

TEXTS = [re.sub(r"(?m)(^|\s+)#.*$", "", path.read_text(encoding="utf-8")) for path in SHIPPED]
"""The shipped files without comments, in which a damage would change nothing."""

TREES = [YAML(typ="safe", pure=True).load(text) for text in TEXTS]
EXAMPLES = settings(
    max_examples=80, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
# A bug of the parser behind the door, or of a message, shows in these words.
FOREIGN = (
    "pydantic",
    "https://",
    "Traceback",
    "validation error",
    "Input should",
    "<unicode string>",
    "object at 0x",
)

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**20), 10**20),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(
        [
            "8/0",
            "8/255",
            "0.031",
            "nan",
            "os:system",
            "a:b",
            ":",
            "-1",
            "",
            "1e400",
            "linf",
            "loat",
            "../x",
            "\u2028",
        ]
    ),
    st.lists(st.integers(-2, 2) | st.text(max_size=3), max_size=3),
    st.dictionaries(
        st.sampled_from(["type", "low", "high", "when", "choices", "name", "x"]),
        st.integers(-2, 2) | st.text(max_size=3),
        max_size=3,
    ),
)


def refused(folder: Path, content: bytes) -> bool:
    """Load a file; whether it was refused, in order."""
    path = folder / "fuzzed.yaml"
    path.write_bytes(content)
    error = attempt(path)
    if error is None:
        return False
    message = str(error)
    assert message.startswith(f"{path}: ")
    assert error.faults
    assert all(fault.strip() and fault.isprintable() for fault in error.faults)
    assert not any(word in message for word in FOREIGN), message
    return True


def attempt(path: Path, overrides: Sequence[str] = ()) -> SpaceError | None:
    """What a file, if it is wrong, is refused with."""
    try:
        load_space(path, overrides).describe()
    except SpaceError as error:
        return error
    return None


def run(folder: Path, strategy: st.SearchStrategy[bytes]) -> int:
    """Try every example; how many were malformed."""
    outcomes: list[bool] = []

    @EXAMPLES
    @given(strategy)
    def each(content: bytes) -> None:
        outcomes.append(refused(folder, content))

    each()
    return sum(outcomes)


def places(tree: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    return [found for key, value in inner for found in [(*place, key), *places(value, (*place, key))]]


def parent(tree: Any, place: tuple[Any, ...]) -> Any:
    for key in place[:-1]:
        tree = tree[key]
    return tree


@st.composite
def wrong_trees(draw: st.DrawFn) -> bytes:
    """A valid file with values replaced, keys deleted, renamed or moved; as JSON, which is YAML."""
    tree = copy.deepcopy(draw(st.sampled_from(TREES)))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places(tree) or [()]))
        if not place:
            break
        holder = parent(tree, place)
        action = draw(st.sampled_from(["replace", "replace", "delete", "rename", "copy"]))
        if action == "replace":
            holder[place[-1]] = draw(odd)
        elif action == "delete":
            del holder[place[-1]]
        elif action == "rename" and isinstance(holder, dict):
            holder[draw(st.text(min_size=1, max_size=8)) if draw(st.booleans()) else place[-1][:-1] + "x"] = (
                holder.pop(place[-1])
            )
        elif action == "copy" and isinstance(holder, dict):
            parent(tree, draw(st.sampled_from(places(tree))))  # the place still exists
            tree[draw(st.sampled_from(["train", "search", "data"]))] = holder[place[-1]]
    return json.dumps(tree).encode()


@st.composite
def wrong_texts(draw: st.DrawFn) -> bytes:
    """A valid file with lines dropped, doubled, moved, indented, cut, or with odd characters put in."""
    lines = draw(st.sampled_from(TEXTS)).splitlines()
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(lines) - 1))
        action = draw(st.sampled_from(["drop", "double", "move", "indent", "put", "cut", "swap"]))
        if action == "drop" and len(lines) > 1:
            del lines[at]
        elif action == "double":
            lines.insert(at, lines[at])
        elif action == "move":
            lines.insert(draw(st.integers(0, len(lines) - 1)), lines[at])
        elif action == "indent":
            lines[at] = draw(st.sampled_from([" ", "\t", "   ", "- ", "? "])) + lines[at]
        elif action == "put":
            column = draw(st.integers(0, len(lines[at])))
            piece = draw(
                st.text(max_size=4)
                | st.sampled_from(
                    [
                        "&a ",
                        "*a",
                        "!!int ",
                        "!x ",
                        "{",
                        "]",
                        "%",
                        "@",
                        "`",
                        "|",
                        ">",
                        ": ",
                        "<<: ",
                        "#",
                        "'",
                        '"',
                        "---",
                    ]
                )
            )
            lines[at] = lines[at][:column] + piece + lines[at][column:]
        elif action == "cut":
            lines[at] = lines[at][: draw(st.integers(0, len(lines[at])))]
        else:
            lines[at] = lines[at][::-1]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


PIECES = [
    *"abz019-?:,[]{}#&*!|>'\"%@` \n\t./=~<",
    *(
        "\n  ",
        ": ",
        "- ",
        "&a",
        "*a",
        "!!",
        "<<",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "data",
        "train",
        "\x85",
        "\ufeff",
        "\u2028",
    ),
]
yaml_like = st.lists(st.sampled_from(PIECES), max_size=40).map(lambda parts: "".join(parts).encode())


def test_wrong_values_and_keys(tmp_path: Path) -> None:
    assert run(tmp_path, wrong_trees()) >= 50


def test_damaged_texts(tmp_path: Path) -> None:
    assert run(tmp_path, wrong_texts()) >= 50


def test_random_yaml(tmp_path: Path) -> None:
    assert run(tmp_path, yaml_like) >= 50


def test_random_bytes(tmp_path: Path) -> None:
    texts = st.sampled_from([text.encode() for text in TEXTS])
    damaged = st.builds(
        lambda text, at, junk: text[:at] + junk + text[at:],
        texts,
        st.integers(0, 2000),
        st.binary(min_size=1, max_size=6),
    )
    assert run(tmp_path, st.binary(max_size=200) | damaged) >= 50


def test_wrong_overrides(tmp_path: Path) -> None:
    """The same for ``--set``: only SpaceError, whatever is typed."""
    paths = [
        ".".join(map(str, place)) for place in places(TREES[0]) if all(isinstance(key, str) for key in place)
    ]
    wrong: list[bool] = []

    @EXAMPLES
    @given(st.sampled_from(paths) | st.text(max_size=12), odd.map(json.dumps) | st.text(max_size=12))
    def each(path: str, value: str) -> None:
        error = attempt(SHIPPED[0], [f"{path}={value}"])
        if error is not None:
            assert str(error).startswith(f"{SHIPPED[0]}: ")
            assert all(fault.isprintable() for fault in error.faults)
            assert not any(word in str(error) for word in FOREIGN), str(error)
            wrong.append(True)

    each()
    assert len(wrong) >= 50
