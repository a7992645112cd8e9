"""The front as a table for the terminal."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pandas as pd

from morel_search.config import format_value

__all__ = ["front_text"]

RATIONAL = ("param_epsilon", "param_step_size")
MOST_LEVELS = 1020
"""Denominators are looked for up to quarters of 1/255."""


def front_text(front: pd.DataFrame) -> str:
    """The front as a table for the terminal."""
    if front.empty:
        return "no trial finished, so there is no front"
    header = f"{'trial':>5}  {'origin':<13} {'clean':>7} {'robust':>7} {'test clean':>11} {'test robust':>12}  parameters"
    rows = ["", "the front, on the validation split and on the test split:", header]
    for record in front.to_dict("records"):
        origin = record["name"] if record["origin"] == "control" else record["origin"]
        numbers = [record[column] for column in ("clean_accuracy", "robust_accuracy", "test_clean_accuracy", "test_robust_accuracy")]
        cells = [f"{100 * value:.1f} %" if not pd.isna(value) else "-" for value in numbers]
        parameters = " ".join(
            f"{str(name).removeprefix('param_')}={_parameter(str(name), value)}"
            for name, value in record.items()
            if str(name).startswith("param_") and not pd.isna(value)
        )
        rows.append(f"{record['number']:>5}  {origin:<13.13} {cells[0]:>7} {cells[1]:>7} {cells[2]:>11} {cells[3]:>12}  {parameters}")
    return "\n".join([*rows, ""])


def _parameter(name: str, value: Any) -> str:
    """A value as in the space file: the tables hold 8/255 as a decimal."""
    if name in RATIONAL:
        exact = Fraction(value).limit_denominator(MOST_LEVELS)
        return format_value(exact if abs(float(exact) - value) < 1e-12 else value)
    return value if isinstance(value, str) else format_value(value)
