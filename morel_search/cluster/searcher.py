"""Ray Tune's searcher: takes trials from the search controller and returns their results to it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from ray.tune.search import Searcher

from morel_search.cluster.lifeline import working
from morel_search.cluster.ray_private import MACHINE_LOST
from morel_search.cluster.trainable import Job
from morel_search.cluster.trial_report import TrialReport
from morel_search.errors import RunFolderError
from morel_search.search.controller import FinishedTrial, SearchController
from morel_search.search.trial import Assignment

__all__ = ["StudySearcher"]

LOST = "the trial's process died (killed or out of memory)"

MOVES = 5
"""How often a trial is moved away from machines that were lost.

After that it is recorded as failed, so that a training that brings its machine down cannot go on for ever.
"""


class StudySearcher(Searcher):  # type: ignore[misc]  # Ray ships no types
    """A thin layer between Ray Tune and the :class:`SearchController`.

    No metric is declared to Ray Tune: it allows one at a time, and a trial that does not report it would end
    the experiment.

    Args:
        controller: The search.
        job: Returns the job of an assignment.
        on_finished: Called after a trial is recorded.
        hung: Returns why the training of a trial was ended because it hung; empty if it was not.
        errors: List to which errors raised here are appended. Ray Tune would attribute such an error to the
            trial and run that trial again; instead, the search ends, and
            :func:`morel_search.cluster.tuner.search` raises the first error of the list.
        losses: Ray's id of each trial that lost a process to the reason of the last loss, which may be empty.
        limit: Returns how many trials can run at the same time on the machines that the cluster has now.
        note: Called with a sentence for the user when a trial is moved to another machine.
    """

    def __init__(
        self,
        controller: SearchController,
        job: Callable[[Assignment], Job],
        on_finished: Callable[[FinishedTrial], None],
        errors: list[Exception],
        losses: Mapping[str, str],
        hung: Callable[[int], str],
        limit: Callable[[], int],
        note: Callable[[str], None],
    ) -> None:
        super().__init__()
        self._errors, self._losses = errors, losses
        self._limit, self._note = limit, note
        self._moves: Counter[int] = Counter()
        self._controller, self._job, self._on_finished = controller, job, on_finished
        self._hung = hung
        self._numbers: dict[str, int] = {}
        self._unshared: dict[str, str] = {}
        """Ray's id of each trial whose worker waits for the run folder to the reason."""

    def suggest(self, trial_id: str) -> dict[str, Job] | str | None:
        """Return the config of the next trial.

        None if none can start now, and ``Searcher.FINISHED`` when there will be none.
        """
        assignment = None
        try:
            taken = len(self._numbers) + len(self._unshared)
            if taken and not self._errors and taken >= self._limit():
                if not self._numbers:
                    raise RunFolderError(next(iter(self._unshared.values())))
                return None
            with working():
                if not self._errors:
                    assignment = self._controller.next()
        except Exception as error:
            self._errors.append(error)
        if assignment is None:
            if self._numbers and not self._errors:
                return None  # a running trial may lose its machine, and begin again
            finished: str = Searcher.FINISHED
            return finished
        self._numbers[trial_id] = assignment.number
        return {"job": self._job(assignment)}

    def on_trial_result(self, trial_id: str, result: dict[str, object]) -> None:
        """Move a trial whose machine does not share the run folder; the scheduler reports epochs.

        Its worker keeps its place and waits for the folder. Ray Tune skips this method when it stops a trial.
        """
        report = TrialReport.from_ray(result)
        if not report.wrong_machine or trial_id not in self._numbers:
            return
        number = self._numbers.pop(trial_id)
        self._unshared[trial_id] = report.failure
        try:
            with working():
                self._requeue(number, report.failure)
        except Exception as problem:
            self._errors.append(problem)

    def on_trial_complete(
        self, trial_id: str, result: dict[str, object] | None = None, error: bool = False
    ) -> None:
        """Record a trial that ended: with its final report, stopped early, or because its process died.

        A trial that ended in none of these ways is paused, because the search is being stopped.
        """
        self._unshared.pop(trial_id, None)
        number = self._numbers.pop(trial_id, None)
        if number is None:
            return
        try:
            with working():
                lost = (self._hung(number) or self._losses.get(trial_id) or LOST) if error else ""
                finished = self._finish(number, TrialReport.from_ray(result), lost)
                if finished is not None:
                    self._on_finished(finished)
        except Exception as problem:
            self._errors.append(problem)

    def _finish(self, number: int, report: TrialReport, lost: str) -> FinishedTrial | None:
        if report.folder_error:
            self._controller.pause(number)
            raise RunFolderError(report.failure)
        if report.final:
            return self._controller.finish(number, report.history, report.failure)
        if self._controller.early_stopping.stopped(number):
            return self._controller.finish(number, (), "")
        if lost == MACHINE_LOST and self._moves[number] < MOVES:
            self._moves[number] += 1
            self._requeue(number, lost)
            return None
        if lost == MACHINE_LOST:
            lost = f"{lost}, after {MOVES} moves to other machines"
        if lost:
            return self._controller.finish(number, (), lost)
        self._controller.pause(number)
        return None

    def _requeue(self, number: int, reason: str) -> None:
        """Let a trial begin on another machine."""
        self._note(f"trial {number} is moved to another machine: {reason}")
        self._controller.requeue(number)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: the study holds the state of the search."""

    def restore(self, checkpoint_path: str) -> None:
        """Do nothing: see :meth:`save`."""

    def __getstate__(self) -> dict[str, object]:
        """Return nothing for Ray to save.

        The study holds the state, and a database connection cannot be pickled.
        """
        return {}
