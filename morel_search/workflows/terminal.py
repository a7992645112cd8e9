"""The tables on the terminal: the front, early stopping, the verification and the replicates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING

import pandas as pd

from morel_search._format import interval_text, percent
from morel_search.analysis.attacks_run import (
    attack_counts,
    missing_checks,
    search_attack_words,
    unverified,
    weakness,
)
from morel_search.analysis.mixture_gains import gain_sentence
from morel_search.analysis.replication import Replicated, replication_words
from morel_search.analysis.rivals import rival_sentence
from morel_search.analysis.verification import Verification
from morel_search.config import format_value
from morel_search.results.names import member_name

if TYPE_CHECKING:
    from morel_search.results.folder import RunFolder

__all__ = ["front_text", "replication_text", "stopping_text", "verification_text"]

ACCURACIES = ("clean_accuracy", "robust_accuracy", "test_clean_accuracy", "test_robust_accuracy")

RATIONAL = ("param_epsilon", "param_step_size")
"""Columns that hold fractions such as 8/255 as decimals."""

LARGEST_DENOMINATOR = 1020
"""Fractions down to quarters of 1/255 are recognised."""


def front_text(front: pd.DataFrame, trials: pd.DataFrame | None = None, select_epoch: str = "") -> str:
    """Return the front as a table for the terminal.

    Args:
        front: Rows of ``front.csv``.
        trials: Rows of ``trials.csv``; they decide why the front is empty.
        select_epoch: The run's epoch selection rule; with ``front``, networks are named ``12-7``, as their
            folders are.
    """
    if front.empty:
        finished = trials is not None and (trials["state"] == "COMPLETE").any()
        reason = "no trial satisfies the constraints" if finished else "no trial finished"
        return f"{reason}, so there is no front"
    several = select_epoch == "front" or bool(front["number"].duplicated().any())
    records = front.to_dict("records")
    names = [member_name(record["number"], record["epoch"], several) for record in records]
    width = max(7, *map(len, names))
    rows = [
        "",
        "the front, with accuracies on the validation split and on the test split:",
        f"{'network':>{width}}  {'origin':<13} {'clean':>7} {'robust':>7} "
        f"{'test clean':>11} {'test robust':>12}  parameters",
    ]
    for name, record in zip(names, records, strict=True):
        origin = record["name"] if record["origin"] == "control" else record["origin"]
        clean, robust, test_clean, test_robust = (
            percent(None if pd.isna(record[column]) else record[column]) for column in ACCURACIES
        )
        parameters = " ".join(
            f"{str(column).removeprefix('param_')}={_parameter(str(column), value)}"
            for column, value in record.items()
            if str(column).startswith("param_") and not pd.isna(value)
        )
        rows.append(
            f"{name:>{width}}  {origin:<13.13} {clean:>7} {robust:>7} {test_clean:>11} {test_robust:>12}  "
            f"{parameters}"
        )
    return "\n".join([*rows, ""])


def stopping_text(run: RunFolder) -> list[str]:
    """Return sentences on the epochs that early stopping saved, and warnings of unreliable rungs.

    Returns:
        An empty list for a run without early stopping.

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
    saving = saving_sentence(stopping_costs(run_data.trials, run_data.settings))
    correlations = rung_correlations(run_data.trials, run_data.epochs, run_data.rungs, run_data.select_epoch)
    return [*([saving] if saving else []), *stopping_warnings(correlations)]


def verification_text(verification: Verification, *, searched: bool = True) -> str:
    """Return the verified networks as a table for the terminal, with warnings.

    Args:
        verification: The verification.
        searched: Whether a search found the networks; others have no validation accuracy.
    """
    networks = verification.everyone
    width = max(7, *(len(network.name) for network in networks))
    title = f"verified on {verification.images} of {verification.all_images} images of the test split"
    label = f"  {'':<13}" if searched else ""
    validation = f" {'validation':>11}" if searched else ""
    header = f"{'network':>{width}}{label} {'clean':>7} {'robust':>7}  {'95% interval':<16}{validation}"
    rows = ["", title, f"attacks: {attack_counts(verification)}", "", header.rstrip()]
    for network in networks:
        clean, robust = map(percent, network.accuracy)
        interval = interval_text(network.intervals[1])
        kind = "mixture" if network.members else "rival" if network.rival else network.label
        label = f"  {kind:<13.13}" if searched else ""
        validation = f" {percent(network.validation[1]):>11}" if searched else ""
        # A network without another one to compare it with has no verdict.
        verdict = verification.verdict(network) if len(networks) > 1 or searched else ""
        row = f"{network.name:>{width}}{label} {clean:>7} {robust:>7}  {interval:<16}{validation}  {verdict}"
        rows.append(row.rstrip())
    rows += [f"{network.name}: {flag}" for network in networks for flag in network.flags]
    rows += [gain_sentence(verification, mixture) for mixture in verification.mixtures]
    rows += [rival_sentence(verification, rival) for rival in verification.rivals]
    if searched:
        rows += [search_attack_words(verification)]
    rows += unverified(verification)
    warnings = [*missing_checks(verification), *(weakness(verification) if searched else [])]
    return "\n".join([*rows, *(f"warning: {sentence}" for sentence in warnings), ""])


def replication_text(replicated: Sequence[Replicated]) -> str:
    """Return the replicates as a table for the terminal."""
    width = max(7, *(len(network.name) for network in replicated))
    rows = ["", "replicates with other seeds: test accuracy, robust under the final attack", ""]
    rows.append(f"{'network':>{width}}  {'':<13} {'clean':>15} {'robust':>15}  P(on front)")
    for network in replicated:
        cells = []
        for mean, spread in zip(network.mean, network.spread, strict=True):
            if math.isnan(mean):
                cells.append("–")
            else:
                cells.append(percent(mean) if math.isnan(spread) else f"{percent(mean)} ± {percent(spread)}")
        rows.append(
            f"{network.name:>{width}}  {network.label:<13.13} {cells[0]:>15} {cells[1]:>15} "
            f" {network.chance_text}, {network.trainings} replicate{'' if network.trainings == 1 else 's'}"
        )
    return "\n".join([*rows, *replication_words(replicated), ""])


def _parameter(column: str, value: str | float) -> str:
    """Return a parameter's value as in the space file."""
    if isinstance(value, str):
        return value
    if column in RATIONAL:
        exact = Fraction(value).limit_denominator(LARGEST_DENOMINATOR)
        return format_value(exact if abs(float(exact) - value) < 1e-12 else value)
    return format_value(value)
