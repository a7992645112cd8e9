"""The watch over a search that needs no reports: its time limits, and trainings that hang."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ray.tune import Stopper

from morel_search.cluster.lifeline import working
from morel_search.cluster.ray_processes import kill_actor
from morel_search.search.controller import SearchController
from morel_search.search.hang_detector import HangDetector

if TYPE_CHECKING:
    from ray.tune.experiment import Trial

__all__ = ["SearchWatch"]

SECONDS_BETWEEN_LOOKS = 1.0


class SearchWatch(Stopper):  # type: ignore[misc]  # Ray ships no types
    """Ends the search at its time limit, and kills the workers of trainings that hang.

    Ray Tune calls :meth:`stop_all` several times a second, whether a trial reports or not.

    Args:
        controller: The search.
        detector: Finds the trainings that hang.
        errors: List of errors that end the search; shared with the searcher.
        note: Called with a sentence for the user when a training is moved to a new worker.
        clock: Returns seconds since a fixed moment.
    """

    def __init__(
        self,
        controller: SearchController,
        detector: HangDetector,
        errors: list[Exception],
        note: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._controller, self._errors = controller, errors
        self.detector, self._note, self._clock = detector, note, clock
        self._trials: dict[int, Trial] = {}
        self._set_aside = False
        self._next_look = 0.0

    def __call__(self, trial_id: str, result: dict[str, object]) -> bool:
        """Return False: the scheduler decides on single trials."""
        del trial_id, result
        return False

    def add(self, trial: Trial) -> None:
        """Watch a trial."""
        self._trials[trial.config["job"].number] = trial

    def set_aside(self, trial: Trial) -> None:
        """Watch a trial no longer: its worker waits for the run folder, and the search does not wait for it.

        Ray Tune does not try it again, because another trial has its number from now on.
        """
        trial.max_failures = 0
        number = trial.config["job"].number
        if self._trials.get(number) is trial:
            del self._trials[number]
            self.detector.forget(number)
        self._set_aside = True

    def stop_all(self) -> bool:
        """Kill workers that hang; return whether the search ends now, because of its time or an error.

        It also ends when it is complete, if a worker waits for the run folder.
        """
        if self._errors or (self._set_aside and self._controller.complete):
            return True
        if self._clock() < self._next_look:
            return False
        self._next_look = self._clock() + SECONDS_BETWEEN_LOOKS
        self._kill_hanging()
        try:
            with working():
                if self._controller.check_time(self.detector.unreported()):
                    self._controller.pause_all()
                    return True
        except Exception as error:  # Ray Tune would attribute it to a trial
            self._errors.append(error)
            return True
        return False

    def _kill_hanging(self) -> None:
        self._trials = {number: trial for number, trial in self._trials.items() if not trial.is_finished()}
        actors = {
            number: trial.temporary_state.ray_actor
            for number, trial in self._trials.items()
            if trial.temporary_state.ray_actor is not None
        }
        for overdue in self.detector.overdue(actors):
            trial = self._trials[overdue.number]
            if overdue.final:
                trial.max_failures = 0  # Ray Tune does not try again
            else:
                self._note(f"trial {overdue.number} is restarted on a new worker: {overdue.reason}")
            kill_actor(actors[overdue.number])

    def __getstate__(self) -> dict[str, object]:
        """Return nothing for Ray to save: the study holds the state of the search."""
        return {}
