"""Ray Tune's scheduler: asks the conductor after each epoch whether a trial goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from morel_search.search.controller import Decision, SearchController

__all__ = ["StudyScheduler"]

KILL_SECONDS = 3
"""How long a trial that is being stopped may take to come to an end; its last epoch's checkpoint is there already. Ray: 10 s."""


class StudyScheduler(FIFOScheduler):  # type: ignore[misc]  # Ray ships no types
    """A thin layer: the rungs live in the :class:`SearchController` and come back from the study, as Ray keeps nothing of a scheduler.

    Args:
        controller: The search.
        on_epoch: Called with a trial's number and the result of each new epoch.
        errors: Receives what went wrong here, as for the searcher.
    """

    def __init__(
        self,
        controller: SearchController,
        on_epoch: Callable[[int, dict[str, Any]], None],
        errors: list[Exception],
    ) -> None:
        super().__init__()
        self._controller, self._on_epoch, self._errors = controller, on_epoch, errors

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """An epoch is over, or, with the final report, the trial."""
        if hasattr(tune_controller, "_actor_force_cleanup_timeout"):
            tune_controller._actor_force_cleanup_timeout = KILL_SECONDS
        decision: str = TrialScheduler.CONTINUE
        if not result.get("final"):
            number = trial.config["job"].number
            try:
                if (
                    self._errors
                    or self._controller.report(number, result["history"]) is not Decision.CONTINUE
                ):
                    decision = TrialScheduler.STOP
                self._on_epoch(number, result["history"][-1])
            except Exception as error:
                self._errors.append(error)
                decision = TrialScheduler.STOP
        return decision

    def __getstate__(self) -> dict[str, Any]:
        """Nothing of this is Ray's to keep."""
        return {}
