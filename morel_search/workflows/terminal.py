"""What the terminal says at the end of a run: the front as a table, and what early stopping did."""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pandas as pd

from morel_search.config import format_value

if TYPE_CHECKING:
    from morel_search.results.folder import RunFolder

__all__ = ["front_text", "stopping_text"]

RATIONAL = ("param_epsilon", "param_step_size")
MOST_LEVELS = 1020
"""Denominators are looked for up to quarters of 1/255."""


def front_text(front: pd.DataFrame, trials: pd.DataFrame | None = None) -> str:
    """The front as a table for the terminal.

    Args:
        front: Rows of ``front.csv``; where a trial is there with several epochs, all are named as ``12-7``,
            like their folders.
        trials: Rows of ``trials.csv``, to tell why there is no front.
    """
    if front.empty:
        finished = trials is not None and (trials["state"] == "COMPLETE").any()
        return f"no trial {'keeps to the constraints' if finished else 'finished'}, so there is no front"
    several = front["number"].duplicated().any()
    names = [
        f"{number}-{epoch}" if several else str(number)
        for number, epoch in zip(front["number"], front["epoch"], strict=True)
    ]
    width = max(5, *map(len, names))
    header = f"{'trial':>{width}}  {'origin':<13} {'clean':>7} {'robust':>7} {'test clean':>11} {'test robust':>12}  parameters"
    rows = ["", "the front, on the validation split and on the test split:", header]
    for who, record in zip(names, front.to_dict("records"), strict=True):
        origin = record["name"] if record["origin"] == "control" else record["origin"]
        numbers = [
            record[column]
            for column in ("clean_accuracy", "robust_accuracy", "test_clean_accuracy", "test_robust_accuracy")
        ]
        cells = [f"{100 * value:.1f} %" if not pd.isna(value) else "-" for value in numbers]
        parameters = " ".join(
            f"{str(name).removeprefix('param_')}={_parameter(str(name), value)}"
            for name, value in record.items()
            if str(name).startswith("param_") and not pd.isna(value)
        )
        rows.append(
            f"{who:>{width}}  {origin:<13.13} {cells[0]:>7} {cells[1]:>7} {cells[2]:>11} {cells[3]:>12}  {parameters}"
        )
    return "\n".join([*rows, ""])


def stopping_text(run: RunFolder) -> list[str]:
    """What early stopping saved, and at which rungs it was guessing, a sentence each; nothing where nothing could be stopped.

    Raises:
        RunFolderError: A file of the folder is damaged.
    """
    from morel_search.analysis.run_data import read_run_data
    from morel_search.analysis.stopping import (
        rung_correlations,
        saving_sentence,
        stopping_costs,
        stopping_warnings,
    )

    run_data = read_run_data(run)
    if not run_data.rungs:
        return []
    saving = saving_sentence(stopping_costs(run_data.trials, run_data.settings), " %")
    correlations = rung_correlations(run_data.trials, run_data.epochs, run_data.rungs, run_data.select_epoch)
    return [*([saving] if saving else []), *stopping_warnings(correlations)]


def _parameter(name: str, value: Any) -> str:
    """A value as in the space file: the tables hold 8/255 as a decimal."""
    if name in RATIONAL:
        exact = Fraction(value).limit_denominator(MOST_LEVELS)
        return format_value(exact if abs(float(exact) - value) < 1e-12 else value)
    return value if isinstance(value, str) else format_value(value)
