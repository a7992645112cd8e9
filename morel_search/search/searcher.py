"""Ray Tune's searcher: asks the conductor, and brings it what trials report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from morel_search.search.conductor import Assignment, Conductor, FinishedTrial
from morel_search.search.job import Job

__all__ = ["StudySearcher"]

LOST = "the trial's process died (killed, out of memory, or its machine was lost)"


class StudySearcher(Searcher):  # type: ignore[misc]  # Ray ships no types
    """A thin layer between Ray Tune and the :class:`Conductor`.

    No metric is declared to Ray: it knows one at a time, and a trial that reports none would end the experiment.

    Args:
        conductor: The search.
        job: Makes the job of an assignment.
        on_finished: Called after a trial was recorded.
    """

    def __init__(
        self,
        conductor: Conductor,
        job: Callable[[Assignment], Job],
        on_finished: Callable[[FinishedTrial], None],
    ) -> None:
        super().__init__()
        self._conductor, self._job, self._on_finished = conductor, job, on_finished
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's config, or FINISHED."""
        assignment = self._conductor.next()
        if assignment is None:
            finished: str = Searcher.FINISHED
            return finished
        self._numbers[trial_id] = assignment.number
        return {"job": self._job(assignment)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: the scheduler tells the conductor, as Ray leaves out the searcher when it stops a trial."""

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A trial is over: by its final report, stopped early, or with its process; else the search is being stopped, and it waits."""
        number = self._numbers.pop(trial_id, None)
        if number is None:
            return
        if result is not None and result.get("final"):
            finished = self._conductor.finish(number, result["history"], result["failure"])
        elif self._conductor.stopped_early(number):
            finished = self._conductor.finish(number, (), "")
        elif error:
            finished = self._conductor.finish(number, (), LOST)
        else:
            return
        self._on_finished(finished)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the searcher's state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see :meth:`save`."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing of this is Ray's to keep: the study holds it all, and a database connection cannot be pickled."""
        return {}
