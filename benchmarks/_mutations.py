"""Wrong values and damaged files, drawn from a random generator."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["damaged_bytes", "damaged_entry", "damaged_table", "damaged_text", "damaged_tree", "odd_value"]

NUMBERS = (
    *(0, -1, 1, 2, 3, 7, 2**31, 2**53 + 1, 2**63, -(2**63) - 1, 10**18, 10**40, 10**400),
    *(0.0, -0.0, 0.1, 0.5, 1.5, -0.5, 1e-5, 1e300, 1.7e308, 5e-324, 1e39, -1e39, 1e-45),
    *(float("nan"), float("inf"), float("-inf")),
)
TEXTS = (
    *("", " ", "x", "nan", "inf", "-inf", "null", "true", "1", "0", "-1", "1e400", "8/255", "8/0", "1/0"),
    *(
        "0.2",
        "1e999999999",
        "9" * 5000,
        "trades",
        "digits",
        "linf",
        "l2",
        "small_cnn",
        "vit",
        "COMPLETE",
        "FAIL",
    ),
    *("control", "search", "cuda", "auto", "../../x", "/", "~nobody_at_all/x", "a/b", "a\\b", "<b>&amp;</b>"),
    *("$x", "${y}", "%s", "{z}", "\0", "\x1b[31m", "\u2028", "\ud800", "\U0001f600", "\n", "\r\n"),
    *("é" * 300, "a,b", '"', "'", "number", "12-7", "0-0", "2026-13-45", ">= 0.8", "<= 1e400", ">= nan"),
)


def odd_value(rng: random.Random, depth: int = 0) -> Any:
    """Return a value that is probably of the wrong type, or outside its limits."""
    kind = rng.randrange(8 if depth < 3 else 5)
    if kind == 0:
        return rng.choice((None, True, False))
    if kind <= 2:
        return rng.choice(NUMBERS)
    if kind <= 4:
        return rng.choice(TEXTS)
    values = [odd_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind <= 6:
        return values
    return {str(odd_value(rng, 3)): value for value in values}


def damaged_tree(rng: random.Random, tree: Any, changes: int | None = None) -> Any:
    """Return a copy of JSON values with one to three of them replaced, deleted, renamed, moved or wrapped."""
    tree = json.loads(json.dumps(tree))
    for _ in range(changes or rng.randint(1, 3)):
        places = _places(tree)
        if not places:
            return odd_value(rng)
        container, key = rng.choice(places)
        change = rng.randrange(8)
        if change <= 3:
            container[key] = odd_value(rng)
        elif change == 4:
            del container[key]
        elif change == 5:
            container[key] = [container[key]]
        elif change == 6:
            other, other_key = rng.choice(places)
            try:
                container[key] = json.loads(json.dumps(other[other_key]))
            except (KeyError, IndexError):  # deleted by an earlier change
                continue
        elif isinstance(container, dict):
            container[str(odd_value(rng, 3))] = container.pop(key)
    return tree


def _places(tree: Any) -> list[tuple[Any, Any]]:
    places: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        container = waiting.pop()
        items = (
            list(container.items())
            if isinstance(container, dict)
            else list(enumerate(container))
            if isinstance(container, list)
            else []
        )
        for key, value in items:
            places.append((container, key))
            waiting.append(value)
    return places


def damaged_bytes(rng: random.Random, content: bytes) -> bytes:
    """Return content that is cut, with bytes flipped, deleted, inserted, repeated or zeroed."""
    for _ in range(rng.randint(1, 3)):
        start = rng.randrange(len(content) + 1)
        end = min(len(content), start + rng.choice((1, 2, 8, 64, 512)))
        change = rng.randrange(7)
        if change == 0:
            content = content[:start]
        elif change == 1:
            flipped = bytes(byte ^ (1 << rng.randrange(8)) for byte in content[start:end])
            content = content[:start] + flipped + content[end:]
        elif change == 2:
            content = content[:start] + content[end:]
        elif change == 3:
            content = content[:start] + rng.randbytes(rng.choice((1, 4, 40))) + content[start:]
        elif change == 4:
            content = content[:end] + content[start:]
        elif change == 5:
            content = content[:start] + bytes(end - start) + content[end:]
        else:
            word = rng.choice(TEXTS).encode("utf-8", "surrogatepass")
            content = content[:start] + word + content[end:]
    return content


def damaged_text(rng: random.Random, text: str) -> str:
    """Return a text with lines deleted, repeated, swapped, indented otherwise, or with a part replaced."""
    lines = text.split("\n")
    for _ in range(rng.randint(1, 3)):
        first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
        change = rng.randrange(6)
        if change == 0 and len(lines) > 1:
            del lines[first]
        elif change == 1:
            lines.insert(second, lines[first])
        elif change == 2:
            lines[first], lines[second] = lines[second], lines[first]
        elif change == 3:
            lines[first] = " " * rng.randrange(5) + lines[first].lstrip()
        elif change == 4:
            head, colon, _ = lines[first].partition(":")
            lines[first] = f"{head}{colon} {rng.choice((str(rng.choice(NUMBERS)), rng.choice(TEXTS)))}"
        else:
            start = rng.randrange(len(lines[first]) + 1)
            lines[first] = lines[first][:start] + rng.choice(TEXTS) + lines[first][start + 1 :]
    return "\n".join(lines)


def damaged_table(rng: random.Random, text: str) -> str:
    """Return a CSV file with cells replaced, rows or columns deleted, repeated or swapped."""
    rows = list(csv.reader(io.StringIO(text)))
    for _ in range(rng.randint(1, 3)):
        if not rows or not rows[0]:
            break
        row, column = rng.randrange(len(rows)), rng.randrange(len(rows[0]))
        change = rng.randrange(8)
        if change <= 2:
            if column < len(rows[row]):
                rows[row][column] = str(odd_value(rng, 3))
        elif change == 3:
            del rows[row]
        elif change == 4:
            rows.insert(row, list(rows[row]))
        elif change == 5:
            rows = [cells[:column] + cells[column + 1 :] for cells in rows]
        elif change == 6:
            value = str(odd_value(rng, 3))
            rows = [rows[0], *([*cells[:column], value, *cells[column + 1 :]] for cells in rows[1:])]
        else:
            rows = rows[:1]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(rows)
    return out.getvalue()


def damaged_entry(rng: random.Random, path: Path) -> None:
    """Damage a file of a folder: its content by its kind, or the file itself."""
    change = rng.randrange(10)
    if change == 0:
        _replace_entry(rng, path)
        return
    content = path.read_bytes()
    by_kind: Callable[[str], str] | None = None
    if path.suffix == ".json":
        by_kind = lambda text: _json(rng, text)  # noqa: E731
    elif path.suffix == ".csv":
        by_kind = lambda text: damaged_table(rng, text)  # noqa: E731
    elif path.suffix == ".yaml":
        by_kind = lambda text: damaged_text(rng, text)  # noqa: E731
    if by_kind is None or change <= 2:
        path.write_bytes(damaged_bytes(rng, content))
    else:
        path.write_bytes(by_kind(content.decode("utf-8")).encode("utf-8", "surrogatepass"))


def _json(rng: random.Random, text: str) -> str:
    if rng.randrange(30) == 0:
        return "[" * 100_000
    return json.dumps(damaged_tree(rng, json.loads(text)))


def _replace_entry(rng: random.Random, path: Path) -> None:
    """Delete a file, or put a folder, a link in a circle, an empty file or an unreadable one in its place."""
    path.unlink()
    change = rng.randrange(5)
    if change == 1:
        path.mkdir()
    elif change == 2:
        path.symlink_to(path.name)
    elif change == 3:
        path.touch()
    elif change == 4:
        path.touch(mode=0o000)
