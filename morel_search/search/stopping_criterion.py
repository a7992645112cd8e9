"""The end of a search: its number of trials, time, GPU time, a front that stagnates, failures in a row."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

from morel_search.config import SearchSettings
from morel_search.search.outcome import Outcome

__all__ = ["StoppingCriterion"]

HOUR = 3600.0

NO_RISE = 1e-12
"""A rise of the hypervolume below this value counts as none, also with ``search.min_improvement: 0``."""


class StoppingCriterion:
    """Decides whether a search ends, and gives the reason.

    Args:
        settings: Number of trials and limits of the search.
        gpus: GPUs that one training occupies.
        extra_trials: Controls and enqueued configurations, which are not part of ``search.trials``.
        elapsed: Seconds that earlier starts of the search have taken.
        unfinished: Number of each unfinished trial to the seconds that its training has taken.
        clock: Returns seconds since a fixed moment.

    Attributes:
        budget: Number of all trials: those that the search proposes, controls and enqueued configurations.
        too_many_failures: The reason if ``search.max_failures`` trials in a row have failed, else empty.
        time_limit: The reason if the time or the GPU time is used up, else empty; see :meth:`check_time`.
        stagnation: The reason if the hypervolume has stagnated, else empty; see :meth:`check_stagnation`.
    """

    def __init__(
        self,
        settings: SearchSettings,
        gpus: float,
        *,
        extra_trials: int = 0,
        elapsed: float = 0.0,
        unfinished: Mapping[int, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._gpus, self._clock = settings, gpus, clock
        self.budget = settings.trials + extra_trials
        self.too_many_failures = self.time_limit = self.stagnation = ""
        self._began = clock() - elapsed
        self._finished_seconds = 0.0
        self._unfinished_seconds = dict(unfinished or {})
        self._failures_in_a_row = 0
        self._hypervolumes: deque[float] = deque(maxlen=(settings.patience or 0) + 1)

    @property
    def limit_reached(self) -> str:
        """The limit of the settings that ends the search, as a reason; empty if none does."""
        return self.time_limit or self.stagnation

    @property
    def elapsed(self) -> float:
        """Seconds of the search, those of earlier starts included."""
        return self._clock() - self._began

    @property
    def unfinished_seconds(self) -> Mapping[int, float]:
        """Number of each unfinished trial to the seconds that its training has taken."""
        return self._unfinished_seconds

    def set_training_seconds(self, number: int, seconds: float) -> None:
        """Record the seconds that the training of an unfinished trial has taken."""
        self._unfinished_seconds[number] = seconds

    def recall(self, number: int, outcome: Outcome, hypervolume: float) -> None:
        """Record a trial of an earlier start; its failure does not count for ``search.max_failures``.

        Args:
            number: The trial's number.
            outcome: Its outcome.
            hypervolume: Hypervolume of the front after this trial.
        """
        self._unfinished_seconds.pop(number, None)
        self._finished_seconds += outcome.seconds
        self._hypervolumes.append(hypervolume)

    def finish(self, number: int, outcome: Outcome, hypervolume: float) -> None:
        """Record a finished trial; the arguments are those of :meth:`recall`."""
        self.recall(number, outcome, hypervolume)
        self.check_stagnation()
        self._failures_in_a_row = self._failures_in_a_row + 1 if outcome.failure else 0
        if self._failures_in_a_row >= self._settings.max_failures and not self.too_many_failures:
            self.too_many_failures = (
                f"{self._failures_in_a_row} trials in a row failed, the last one with: {outcome.failure}"
            )

    def check_stagnation(self) -> None:
        """Set ``stagnation`` if the last ``search.patience`` trials have not improved the front enough.

        It is never reset.
        """
        patience, least = self._settings.patience, self._settings.min_improvement
        if self.stagnation or patience is None or len(self._hypervolumes) <= patience:
            return
        if self._hypervolumes[-1] - self._hypervolumes[0] < max(least, NO_RISE):
            self.stagnation = (
                f"the hypervolume rose by less than {least:g} in the last {patience} trainings "
                "(search.patience)"
            )

    def check_time(self, unreported: float = 0.0) -> None:
        """Set ``time_limit`` by the time of the search and of all its trainings.

        Args:
            unreported: Seconds of trainings since their last reports.
        """
        settings = self._settings
        seconds = self._finished_seconds + sum(self._unfinished_seconds.values()) + unreported
        gpu_seconds = self._gpus * seconds
        self.time_limit = ""
        if settings.max_hours is not None and self.elapsed >= settings.max_hours * HOUR:
            self.time_limit = f"search.max_hours ({settings.max_hours:g}) is used up"
        elif settings.max_gpu_hours is not None and gpu_seconds >= settings.max_gpu_hours * HOUR:
            self.time_limit = f"search.max_gpu_hours ({settings.max_gpu_hours:g}) is used up"
