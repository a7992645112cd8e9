"""Ray Tune's searcher: asks the conductor, and brings it what trials report."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from morel_search.cluster.trainable import Job
from morel_search.search.controller import Assignment, FinishedTrial, SearchController

__all__ = ["StudySearcher"]

LOST = "the trial's process died (killed, out of memory, or its machine was lost)"


class StudySearcher(Searcher):  # type: ignore[misc]  # Ray ships no types
    """A thin layer between Ray Tune and the :class:`SearchController`.

    No metric is declared to Ray: it knows one at a time, and a trial that reports none would end the
    experiment.

    Args:
        controller: The search.
        job: Makes the job of an assignment.
        on_finished: Called after a trial was recorded.
        errors: Receives what went wrong here. Ray would take it for the trial's fault and run that trial
            again; so the search ends, and whoever started it raises the first of these.
    """

    def __init__(
        self,
        controller: SearchController,
        job: Callable[[Assignment], Job],
        on_finished: Callable[[FinishedTrial], None],
        errors: list[Exception],
    ) -> None:
        super().__init__()
        self._errors = errors
        self._controller, self._job, self._on_finished = controller, job, on_finished
        self._numbers: dict[str, int] = {}

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next trial's config, or FINISHED."""
        assignment = None
        try:
            if not self._errors:
                assignment = self._controller.next()
        except Exception as error:
            self._errors.append(error)
        if assignment is None:
            finished: str = Searcher.FINISHED
            return finished
        self._numbers[trial_id] = assignment.number
        return {"job": self._job(assignment)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Nothing: the scheduler tells the conductor, as Ray leaves out the searcher when it stops a trial."""

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """A trial is over: by its final report, stopped early, or with its process; else the search is being stopped, and it waits."""
        number = self._numbers.pop(trial_id, None)
        if number is None:
            return
        try:
            finished = self._finish(number, result or {}, error)
            if finished is not None:
                self._on_finished(finished)
        except Exception as problem:
            self._errors.append(problem)

    def _finish(self, number: int, result: dict[str, Any], error: bool) -> FinishedTrial | None:
        if result.get("final"):
            return self._controller.finish(number, result["history"], result["failure"])
        if self._controller.stopped_early(number):
            return self._controller.finish(number, (), "")
        if error:
            return self._controller.finish(number, (), LOST)
        self._controller.pause(number)
        return None

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the study is the searcher's state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: see :meth:`save`."""

    def __getstate__(self) -> dict[str, Any]:
        """Nothing of this is Ray's to keep: the study holds it all, and a database connection cannot be pickled."""
        return {}
