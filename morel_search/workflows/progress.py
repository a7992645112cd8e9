"""The terminal during a search.

One line for each finished trial, and a progress bar with the remaining time.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from types import TracebackType

from tqdm import tqdm

from morel_search._format import duration, percent, printable
from morel_search.config import format_value
from morel_search.search.controller import FinishedTrial
from morel_search.training.selection import EpochResult

__all__ = ["Progress", "accuracies_text", "trial_line"]

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
"""Short names of parameters in a trial's line; any other parameter has its full name."""


class Progress:
    """A progress bar on standard error and lines on standard output.

    Args:
        total: Number of all trials.
        done: Number of trials that finished before this start.
        verbosity: 0 prints nothing, 1 a line for each trial, 2 also a line for each epoch.
    """

    def __init__(self, total: int, done: int, verbosity: int) -> None:
        self._verbosity = verbosity
        # smoothing=0: the remaining time follows the mean of all trials of this start, as single trials
        # differ tenfold.
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
        """Print the line of a finished trial and advance the bar."""
        if self._verbosity:
            self._bar.write(printable(trial_line(trial)), file=sys.stdout)
            sys.stdout.flush()
        self._bar.update()

    def epoch(self, number: int, result: EpochResult) -> None:
        """Print the line of a finished epoch of a trial, with verbosity 2."""
        if self._verbosity > 1:
            accuracies = accuracies_text(result.clean_accuracy, result.robust_accuracy)
            line = f"      trial {number} epoch {result.epoch}: loss {result.loss:.4f}  {accuracies}"
            self._bar.write(line.rstrip(), file=sys.stdout)


def trial_line(trial: FinishedTrial) -> str:
    """Return a trial's line: number, origin, accuracies, duration, result, parameters with short names."""
    plan, outcome = trial.assignment.plan, trial.outcome
    origin = plan.name if plan.origin == "control" else plan.origin
    head = f"{trial.assignment.number:4d}  {origin:<13.13}"
    values = outcome.last_values if outcome.stopped else outcome.values
    if values is None:
        return f"{head} failed: {outcome.failure}"
    scores = f"{accuracies_text(*values)}  {duration(outcome.seconds):>11}"
    if outcome.stopped:
        mark = f"stopped early at epoch {outcome.rung}"
    elif outcome.violation:
        mark = "violates a constraint"
    else:
        mark = "front" if trial.on_front else "     "
    parameters = "" if plan.origin == "control" else short_parameters(trial.assignment.values)
    return f"{head} {scores}  {mark}  {parameters}".rstrip()


def accuracies_text(clean: float | None, robust: float | None) -> str:
    """Return ``clean  92.8%  robust  45.1%``; an empty text where the accuracies were not measured."""
    return "" if clean is None else f"clean {percent(clean):>6}  robust {percent(robust):>6}"


def short_parameters(values: Mapping[str, object]) -> str:
    """Return parameters as ``k_f=0.1 tau=0.2 eps=8/255``."""
    return " ".join(f"{SHORT.get(name, name)}={format_value(value)}" for name, value in values.items())
