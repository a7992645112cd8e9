"""What a person sees while the search runs: a line a finished trial and a bar with the time left."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from tqdm import tqdm

from morel_search.config import format_value
from morel_search.search.controller import FinishedTrial

__all__ = ["Progress", "trial_line"]

SHORT = {
    "accuracy_loss": "loss",
    "attack_steps": "steps",
    "contrastive_features": "features",
    "epsilon": "eps",
    "k_accuracy": "k_a",
    "k_robust": "k_f",
    "step_ratio": "ratio",
    "temperature": "tau",
    "weight_decay": "wd",
}
"""Short names for the line of a trial; any other parameter keeps its own."""


class Progress:
    """The bar on standard error, the lines on standard output.

    Args:
        total: Trials in all.
        done: Trials that were over before this start.
        verbosity: 0 shows nothing, 1 a line a trial, 2 a line an epoch too.
    """

    def __init__(self, total: int, done: int, verbosity: int) -> None:
        self._verbosity = verbosity
        # smoothing=0: the time left follows the mean of all trials of this start; a single trial says little,
        # they differ tenfold.
        self._bar = tqdm(
            total=total,
            initial=done,
            unit="trial",
            file=sys.stderr,
            disable=verbosity == 0,
            smoothing=0,
            dynamic_ncols=True,
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def finished(self, trial: FinishedTrial) -> None:
        """A trial is over."""
        if self._verbosity:
            self._bar.write(trial_line(trial), file=sys.stdout)
            sys.stdout.flush()
        self._bar.update()

    def epoch(self, number: int, result: Mapping[str, Any]) -> None:
        """An epoch of a trial is over."""
        if self._verbosity > 1:
            clean, robust = result["clean_accuracy"], result["robust_accuracy"]
            scores = "" if clean is None else f"  clean {clean:.3f}  robust {robust:.3f}"
            self._bar.write(
                f"      trial {number} epoch {result['epoch']}: loss {result['loss']:.4f}{scores}",
                file=sys.stdout,
            )


def trial_line(trial: FinishedTrial) -> str:
    """Number, origin, accuracies, seconds, whether it joined the front, and the parameters in short."""
    plan, outcome = trial.assignment.plan, trial.outcome
    origin = plan.name if plan.origin == "control" else plan.origin
    head = f"{trial.assignment.number:4d}  {origin:<13.13}"
    values = outcome.last_values if outcome.stopped else outcome.values
    if values is None:
        return f"{head} failed: {outcome.failure}"
    scores = f"clean {values[0]:.3f}  robust {values[1]:.3f}  {outcome.seconds:5.1f} s"
    if outcome.stopped:
        mark = f"stopped at epoch {outcome.rung}"
    elif outcome.violation:
        mark = "breaks a constraint"
    else:
        mark = "front" if trial.on_front else "     "
    parameters = "" if plan.origin == "control" else short_parameters(trial.assignment.values)
    return f"{head} {scores}  {mark}  {parameters}".rstrip()


def short_parameters(values: Mapping[str, Any]) -> str:
    """``k_f=0.1 tau=0.2 eps=8/255``."""
    return " ".join(f"{SHORT.get(name, name)}={format_value(value)}" for name, value in values.items())
