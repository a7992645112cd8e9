"""The cells of a table: text, whole numbers or floats, empty where a value is not known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsInt

from morel_search._format import shortened
from morel_search._values import LARGEST_WHOLE

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["is_empty", "typed_column", "whole_number"]


def is_empty(cell: object) -> bool:
    """Return whether a cell of a table is empty: None, NaN or pandas' NA."""
    import pandas as pd

    return cell is None or cell is pd.NA or (isinstance(cell, float) and math.isnan(cell))


def whole_number(cell: object) -> int | None:
    """Return the whole number in a cell of a table; None for an empty cell."""
    return None if is_empty(cell) or not isinstance(cell, SupportsInt) else int(cell)


def typed_column(
    name: str, cells: Sequence[str], *, is_text: bool, is_count: bool, is_required: bool
) -> pd.Series[Any]:
    """Convert the cells of a column to its type.

    Args:
        name: Name of the column.
        cells: Its cells.
        is_text: Whether it holds text.
        is_count: Whether it holds whole numbers or nothing.
        is_required: Whether a cell that is not a number is an error; otherwise the column is text then.

    Raises:
        ValueError: A cell is of another type, too large, or an accuracy outside 0 to 1.
    """
    import pandas as pd

    if is_text:
        return pd.Series(list(cells), dtype=object)
    if is_count:
        return pd.Series([pd.NA if cell == "" else _count(name, cell) for cell in cells], dtype="Int64")
    try:
        return pd.Series([_finite(name, cell) for cell in cells], dtype=float)
    except ValueError:
        if is_required:
            raise
        return pd.Series([cell or math.nan for cell in cells], dtype=object)


def _count(name: str, cell: str) -> int:
    number = float(cell)
    if "e" in cell.lower():  # a spreadsheet writes 1573068365 as 1.57E+09 in a narrow format
        raise ValueError(f"{name} must be a whole number with all its digits, got {shortened(repr(cell))}")
    if not abs(number) <= LARGEST_WHOLE or number != int(number):
        raise ValueError(f"{name} must be a whole number, got {shortened(repr(cell))}")
    return int(cell) if cell.isdigit() else int(number)


def _finite(name: str, cell: str) -> float:
    number = float(cell or "nan")
    if math.isinf(number):
        raise ValueError(f"{name} must be a finite number, got {shortened(repr(cell))}")
    if _is_accuracy(name) and not math.isnan(number) and not 0 <= number <= 1:
        raise ValueError(f"{name} must be a fraction from 0 to 1, got {shortened(repr(cell))}")
    return number


def _is_accuracy(column: str) -> bool:
    """Return whether a column of a table holds accuracies, or ends of their intervals."""
    return column.endswith(("_accuracy", "_low", "_high")) and not column.startswith("param_")
