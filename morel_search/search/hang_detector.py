"""Trainings that hang: the time limit of an epoch, learned from the epochs that the search has measured."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from morel_search._format import duration

__all__ = ["HangDetector", "Overdue"]

MINUTE = 60.0

FIRST_MINUTES = 360.0
"""Time limit of an epoch before any is measured: an epoch of six hours is too long for a search."""

LEAST_MINUTES = 30.0
"""Smallest time limit that is derived from measured epochs."""

MULTIPLE = 50.0
"""The time limit is this multiple of the slowest measured epoch.

A training whose attack has 20 steps takes about 20 times as long as one without an attack, and on a busy
machine an epoch takes a multiple of its usual time.
"""

LONGEST_GAP = 10.0
"""Seconds that count at most between two calls of :meth:`HangDetector.overdue`.

While this process is stopped (Ctrl-Z, a suspended machine), so are its trainings, or their reports wait.
"""

SHARE_UNTIL_NOTE = 0.1
"""Share of the time limit after which the user is told that a training has not reported an epoch."""

LEAST_UNTIL_NOTE = 300.0
"""Smallest number of seconds before the user is told."""

TRIES = 2
"""How often a training may exceed the time limit; it fails the last time."""


@dataclass(frozen=True, slots=True)
class Overdue:
    """A training that has exceeded the time limit of an epoch.

    Attributes:
        number: The trial's number.
        reason: What happened, as the reason of a failure.
        final: Whether the trial fails; else it continues from its checkpoint, on a new worker.
    """

    number: int
    reason: str
    final: bool


@dataclass(slots=True)
class _Wait:
    """The wait for the next report of a training.

    Attributes:
        since: Watched seconds at the last report.
        allowance: Number of epochs that the next report may take.
        noted: Whether the user was told.
    """

    since: float
    allowance: int = 1
    noted: bool = False


class HangDetector:
    """Finds trainings that have not reported an epoch for too long.

    Args:
        minutes: Time limit of an epoch in minutes; None for :data:`MULTIPLE` times the slowest epoch that
            this object has measured, at least :data:`LEAST_MINUTES`, and :data:`FIRST_MINUTES` before any is
            measured.
        note: Called with a sentence about a training that is slow, once for each epoch.
        clock: Returns seconds since a fixed moment.
    """

    def __init__(
        self,
        minutes: float | None = None,
        note: Callable[[str], None] = lambda sentence: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._minutes, self._note, self._clock = minutes, note, clock
        self._watched, self._last = 0.0, clock()
        self._slowest: float | None = None
        self._waits: dict[int, _Wait] = {}
        self._exceeded: dict[int, int] = {}
        self._reasons: dict[int, str] = {}

    @property
    def limit(self) -> float:
        """The time limit of an epoch, in seconds."""
        if self._minutes is not None:
            return MINUTE * self._minutes
        if self._slowest is None:
            return MINUTE * FIRST_MINUTES
        return max(MINUTE * LEAST_MINUTES, MULTIPLE * self._slowest)

    def reason(self, number: int) -> str:
        """Return the reason why a training was ended for good; empty if it was not."""
        return self._reasons.get(number, "")

    def unreported(self) -> float:
        """Return the seconds since their last reports, of all trainings that run."""
        return sum(self._watched - wait.since for wait in self._waits.values())

    def report(self, number: int, allowance: int = 1) -> None:
        """Record that a training has reported.

        Args:
            number: The trial's number.
            allowance: Number of epochs that the next report may take: more than 1 after the last epoch, if
                the final attack follows.
        """
        self._advance()
        wait = self._waits.get(number)
        if wait is not None:
            seconds = (self._watched - wait.since) / wait.allowance
            self._slowest = max(self._slowest or 0.0, seconds)
        self._waits[number] = _Wait(self._watched, allowance)

    def forget(self, number: int) -> None:
        """Let the wait of a training begin anew."""
        self._waits.pop(number, None)

    def overdue(self, training: Collection[int]) -> list[Overdue]:
        """Return the trainings that have exceeded the time limit since the last call.

        It is called every few seconds. The wait of a returned training begins anew.

        Args:
            training: Numbers of the trials that have a worker. A trial that waits for one is not late.
        """
        self._advance()
        for number in [number for number in self._waits if number not in training]:
            del self._waits[number]
        late = []
        for number in training:
            wait = self._waits.setdefault(number, _Wait(self._watched))
            seconds, limit = self._watched - wait.since, wait.allowance * self.limit
            if seconds > limit:
                late.append(self._exceed(number, limit))
                self._waits[number] = _Wait(self._watched, wait.allowance)
            elif not wait.noted and seconds > max(LEAST_UNTIL_NOTE, SHARE_UNTIL_NOTE * limit):
                wait.noted = True
                self._note(
                    f"trial {number} has not reported an epoch for {duration(seconds)}; the time limit is "
                    f"{duration(limit)} (search.max_epoch_minutes)"
                )
        return late

    def _exceed(self, number: int, limit: float) -> Overdue:
        count = self._exceeded[number] = self._exceeded.get(number, 0) + 1
        times = " twice" if count >= TRIES else ""
        reason = f"the training hung: no epoch within {duration(limit)}{times} (search.max_epoch_minutes)"
        if count >= TRIES:
            self._reasons[number] = reason
        return Overdue(number, reason, count >= TRIES)

    def _advance(self) -> None:
        now = self._clock()
        self._watched += min(max(0.0, now - self._last), LONGEST_GAP)
        self._last = now
