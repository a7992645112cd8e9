"""Classes of a data set: labels of several files and splits, brought together by the names of the classes."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from morel_search.errors import DataError

__all__ = [
    "Classes",
    "FileLabels",
    "class_numbers",
    "normalized",
    "order_notes",
    "spelling_notes",
    "training_classes",
    "unknown_class",
    "with_orders",
]

SHOWN_NAMES = 12
"""Number of class names that a message lists."""


@dataclass(frozen=True, eq=False, slots=True)
class FileLabels:
    """The labels of one file.

    Attributes:
        file: The file.
        codes: Label of each row, shape (N,).
        kind: What a code is: ``numbers``, a number without a name; ``coded``, a position in the names that
            the file gives, such as ``ClassLabel`` of the Hugging Face hub; ``text``, a position in the sorted
            names that occur in the column.
        names: The names; none for ``numbers``.
    """

    file: Path
    codes: NDArray[np.int64]
    kind: Literal["numbers", "coded", "text"]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Classes:
    """The classes of the training images.

    Attributes:
        names: Name of each class.
        named: Whether the training files give names; otherwise a class has the name of its number.
        orders: For each file that gives the order of its names, the file and this order. A number without a
            name is a position in this order.
    """

    names: tuple[str, ...]
    named: bool
    orders: tuple[tuple[Path, tuple[str, ...]], ...] = ()


def training_classes(parts: Sequence[FileLabels]) -> Classes:
    """Return the classes of the training files.

    The order is that of the names in the first file that gives one; further names follow, and those of text
    labels are sorted. Without any name, the numbers are the names.

    Args:
        parts: The labels of the training files.

    Raises:
        DataError: Numbers have gaps or do not start at 0, or the files do not name their classes in one way.
    """
    coded = [part for part in parts if part.kind == "coded"]
    texts = [part for part in parts if part.kind == "text"]
    if not coded and not texts:
        return Classes(_numbered(parts), named=False)
    names = list(dict.fromkeys(name for part in coded for name in part.names))
    names += sorted({name for part in texts for name in part.names} - set(names))
    if not coded and _are_numbers(names):  # "7" in one file is 7 in another
        plain = {str(code) for part in parts if part.kind == "numbers" for code in np.unique(part.codes)}
        names = sorted({*names, *plain})
    _refuse_other_spelling([part.names for part in (*coded, *texts)])
    return with_orders(Classes(tuple(names), named=True), parts)


def with_orders(classes: Classes, parts: Sequence[FileLabels]) -> Classes:
    """Return the same classes with the orders that further files give, those of the test split."""
    orders = ((part.file, part.names) for part in parts if part.kind == "coded")
    return replace(classes, orders=(*classes.orders, *orders))


def class_numbers(part: FileLabels, classes: Classes) -> NDArray[np.int64]:
    """Return the class of each row of a file, as a position in ``classes.names``.

    Args:
        part: The labels of a training or a test file.
        classes: The classes of the training images.

    Raises:
        DataError: A label is out of range, or names a class that the training images lack, or it is not known
            which class a number means.
    """
    own = part.names
    if part.kind == "numbers":
        own = _names_of_numbers(part, classes) if classes.named else classes.names
    elif part.kind == "coded" and not classes.named and not set(own) <= set(classes.names):
        own = classes.names  # a position in the file's names is the number of the class
    _check_range(part, len(own))
    position = {name: number for number, name in enumerate(classes.names)}
    to_class = np.array([position.get(name, -1) for name in own], dtype=np.int64)
    numbers = to_class[part.codes] if len(part.codes) else part.codes
    if (numbers < 0).any():
        row = int(np.argmax(numbers < 0))
        raise DataError(unknown_class(f"{part.file}, row {row}", own[part.codes[row]], classes.names))
    return numbers


def unknown_class(place: str, name: str, names: Sequence[str]) -> str:
    """Return the sentence about a class that the training images lack."""
    near = [other for other in names if _folded(other) == _folded(name)]
    hint = (
        f"it has {near[0]!r}, and names must be equal, also in upper and lower case"
        if near
        else f"its classes are {_listed(names)}"
    )
    return f"{place} has the class {name}, which data.train lacks; {hint}"


def order_notes(parts: Sequence[FileLabels], classes: Classes) -> list[str]:
    """Return a note on each file whose class names are in another order than those of the training images."""
    place = {name: number for number, name in enumerate(classes.names)}
    notes = []
    for part in parts:
        places = [place[name] for name in part.names if name in place]
        if classes.named and part.kind == "coded" and places != sorted(places):
            notes.append(
                f"{part.file} has its classes in the order {_listed(part.names)}; the training images have "
                f"{_listed(classes.names)}: labels are mapped by name"
            )
    return notes


def spelling_notes(names: Sequence[str]) -> list[str]:
    """Return a note on each two classes whose names differ only in upper and lower case or in spaces."""
    return [
        f"{first!r} and {second!r} are two classes, although their names differ only in upper and lower case "
        "or spaces"
        for first, second in _similar(names)
    ]


def _names_of_numbers(part: FileLabels, classes: Classes) -> tuple[str, ...]:
    """Return the names that the numbers 0, 1, ... of a file without names mean.

    Raises:
        DataError: The training files give no order of their names, or more than one.
    """
    orders = list(dict.fromkeys(names for _, names in classes.orders))
    if len(orders) == 1 and (not _are_numbers(orders[0]) or list(orders[0]) == _first_numbers(orders[0])):
        return orders[0]
    if len(orders) == 1:
        raise DataError(
            f"{part.file} has numbers without class names, and the names in {classes.orders[0][0]} are "
            f"numbers in the order {_listed(orders[0])}, so that a number can be a name or a position; write "
            "the names into every file"
        )
    if orders:
        first = classes.orders[0]
        other = next(order for order in classes.orders if order[1] != first[1])
        raise DataError(
            f"{part.file} has numbers without class names, and it is not known which names they mean: "
            f"{first[0]} has the order {_listed(first[1])}, and {other[0]} has {_listed(other[1])}; write "
            "the names into every file"
        )
    wrong = part.codes < 0
    for code in np.unique(part.codes):
        if str(code) not in classes.names:
            wrong |= part.codes == code
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{part.file}, row {row} has the number {part.codes[row]} as its label, and the classes of the "
            f"training images have the names {_listed(classes.names)}; write names into every file, or "
            "numbers from 0 into every file"
        )
    return tuple(str(number) for number in range(int(part.codes.max(initial=0)) + 1))


def _are_numbers(names: Iterable[str]) -> bool:
    return all(name.isascii() and name.isdecimal() and name == str(int(name)) for name in names)


def _first_numbers(names: Sequence[str]) -> list[str]:
    return [str(number) for number in range(len(names))]


def _numbered(parts: Sequence[FileLabels]) -> tuple[str, ...]:
    """Return the numbers of the classes as names.

    Raises:
        DataError: They are not the numbers from 0 to the highest label.
    """
    labels = np.unique(np.concatenate([part.codes for part in parts]))
    gaps = np.flatnonzero(labels != np.arange(len(labels)))
    if len(gaps):
        wrong = labels[gaps[0]]
        part = next(part for part in parts if (part.codes == wrong).any())
        raise DataError(
            f"{part.file}, row {int(np.argmax(part.codes == wrong))} has the label {wrong}, but no image has "
            f"{gaps[0]}: without class names in the file, labels must be the numbers of the classes from 0"
        )
    return tuple(str(label) for label in labels)


def _check_range(part: FileLabels, count: int) -> None:
    wrong = (part.codes < 0) | (part.codes >= count)
    if wrong.any():
        row = int(np.argmax(wrong))
        hint = " (-1 usually stands for an image without a label)" if part.codes[row] == -1 else ""
        raise DataError(
            f"{part.file}, row {row} has the label {part.codes[row]}; labels must be 0 to {count - 1}{hint}"
        )


def _refuse_other_spelling(files: Sequence[tuple[str, ...]]) -> None:
    """Refuse two names that differ only in spelling and are never in one file: they are one class.

    In one file, as ``a`` and ``A`` in a set of letters, they are two classes.
    """
    for first, second in _similar(list(dict.fromkeys(name for names in files for name in names))):
        if not any(first in names and second in names for names in files):
            raise DataError(
                f"the training files name the classes {first!r} and {second!r}, which differ only in upper "
                "and lower case or spaces; write one of the two into every file"
            )


def _similar(names: Sequence[str]) -> list[tuple[str, str]]:
    seen: dict[str, str] = {}
    pairs = []
    for name in names:
        before = seen.setdefault(_folded(name), name)
        if before != name:
            pairs.append((before, name))
    return pairs


def normalized(name: str) -> str:
    """Return a name with composed accents: macOS and Linux store the same name in two ways."""
    return unicodedata.normalize("NFC", name)


def _folded(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).casefold().split())


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    more = f" and {len(shown) - SHOWN_NAMES} more" if len(shown) > SHOWN_NAMES else ""
    return ", ".join(shown[:SHOWN_NAMES]) + more
