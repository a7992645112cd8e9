"""Ray Tune's scheduler: asks the search controller after each epoch whether a trial continues."""

from __future__ import annotations

from collections.abc import Callable

from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from morel_search.cluster.lifeline import working
from morel_search.cluster.ray_private import loss_reason, set_kill_seconds, watch_losses
from morel_search.cluster.trainable import Job
from morel_search.cluster.trial_report import TrialReport
from morel_search.cluster.watch import SearchWatch
from morel_search.search.controller import Decision, SearchController
from morel_search.training.selection import EpochResult

__all__ = ["StudyScheduler"]


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]  # Ray ships no types
    """A thin layer between Ray Tune and the :class:`SearchController`, which decides.

    The scheduler itself has no state to save.

    Args:
        controller: The search.
        on_epoch: Called with a trial's number and the result of each new epoch.
        errors: List to which errors raised here are appended; shared with :class:`StudySearcher`.
        watch: The watch over the trials; it learns of their reports.
        losses: Ray's id of each trial that lost a process to the reason of the last loss, which may be empty;
            shared with :class:`StudySearcher`.
    """

    def __init__(
        self,
        controller: SearchController,
        on_epoch: Callable[[int, EpochResult], None],
        errors: list[Exception],
        watch: SearchWatch,
        losses: dict[str, str],
    ) -> None:
        super().__init__()
        self._controller, self._on_epoch = controller, on_epoch
        self._errors, self._watch, self._losses = errors, watch, losses

    def on_trial_add(self, tune_controller: object, trial: Trial) -> None:
        """Watch the trial; it is new, or begins again on another worker.

        Ray Tune is prepared for the loss of a trial's process: it does not expect every one of them.
        """
        super().on_trial_add(tune_controller, trial)
        self._watch.add(trial)
        watch_losses(tune_controller, self._lost)
        set_kill_seconds(tune_controller)

    def _lost(self, trial_id: str, error: Exception) -> None:
        self._losses[trial_id] = loss_reason(error)

    def on_trial_result(
        self,
        tune_controller: object,  # noqa: ARG002  # Ray's interface
        trial: Trial,
        result: dict[str, object],
    ) -> str:
        """Report new epochs to the controller and return whether the trial continues or is stopped."""
        decision: str = TrialScheduler.CONTINUE
        try:
            report = TrialReport.from_ray(result)
            if report.wrong_machine:
                self._watch.set_aside(trial)
            elif not report.final:
                number = trial.config["job"].number
                self._watch.detector.report(number, _next_allowance(trial.config["job"], report))
                with working():
                    if (
                        self._errors
                        or self._controller.report(number, report.history) is not Decision.CONTINUE
                    ):
                        decision = TrialScheduler.STOP
                    self._on_epoch(number, report.history[-1])
        except Exception as error:
            self._errors.append(error)
            decision = TrialScheduler.STOP
        return decision

    def __getstate__(self) -> dict[str, object]:
        """Return nothing for Ray to save: the study holds the state of the search."""
        return {}


def _next_allowance(job: Job, report: TrialReport) -> int:
    """Return the number of epochs that the next report may take.

    After the last epoch, the final attack measures the selected epochs: one, or with the rule ``front`` at
    most all.
    """
    if report.history[-1].epoch < job.train.epochs or not job.evaluation.final_steps:
        return 1
    return 1 + (job.train.epochs if job.select_epoch == "front" else 1)
