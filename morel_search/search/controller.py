"""The controller of a search, without Ray: hands out trials, stops trials early, records their outcomes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial

from optuna.trial import FrozenTrial, TrialState

from morel_search._values import SettingValue
from morel_search.config import Space
from morel_search.search.distributions import decode, distributions, params_key
from morel_search.search.early_stopping import EarlyStopping
from morel_search.search.outcome import Outcome, outcome_of, read_outcome, violations_of
from morel_search.search.pareto import Front, Member
from morel_search.search.proposer import Proposer
from morel_search.search.seeds import derive_seed
from morel_search.search.stopping_criterion import StoppingCriterion
from morel_search.search.study import TrialStore
from morel_search.search.trial import Assignment, TrialPlan, assignment_of, read_plan
from morel_search.search.warm_start import enqueue_configurations, enqueue_controls
from morel_search.training.selection import EpochResult

__all__ = ["Decision", "FinishedTrial", "SearchController"]

SECONDS_BETWEEN_NOTES = 60
"""Interval at which the elapsed time is written to the study; a killed search loses at most this much."""


class Decision(Enum):
    """The decision on a running trial after an epoch.

    A stopped trial has finished; a paused trial is resumed by the next start of the search.
    """

    CONTINUE = "continue"
    STOP = "stop"
    PAUSE = "pause"


@dataclass(frozen=True, slots=True)
class FinishedTrial:
    """A trial that has finished.

    Attributes:
        assignment: The trial.
        outcome: Its outcome.
        on_front: Whether one of its points is on the front.
        dominated: Members of the front that its points dominate, and that have left the front.
    """

    assignment: Assignment
    outcome: Outcome
    on_front: bool
    dominated: Sequence[Member]


@dataclass(slots=True)
class _RunningTrial:
    """A running trial and the results of its epochs, by epoch."""

    assignment: Assignment
    results: dict[int, EpochResult] = field(default_factory=dict)

    @property
    def history(self) -> list[EpochResult]:
        return [self.results[epoch] for epoch in sorted(self.results)]


class SearchController:
    """Hands out trials until the budget is spent, stops inferior trials early, and records all outcomes.

    Waiting trials are handed out first (controls, enqueued configurations, and trials that an earlier start
    has not finished), then new proposals. All trials count towards the budget, also failed ones, so that
    every search ends.

    The constructor only reads the study; :meth:`begin` also writes the trials that come first.

    Args:
        space: The space.
        store: The study on disk, which no other object writes to. Its unfinished trials are waiting trials.
        clock: Returns seconds since a fixed moment.

    Attributes:
        space: The space.
        front: The Pareto front of the COMPLETE trials that satisfy the constraints.
        early_stopping: Early stopping.
        criterion: The budget and the limits of the search.
        controls: Numbers of the controls.
        planned: Number of trials in the study.
        finished: Number of finished trials in the study.
    """

    def __init__(self, space: Space, store: TrialStore, clock: Callable[[], float] = time.monotonic) -> None:
        trials = store.trials()
        origins = {trial.number: read_plan(trial).origin for trial in trials}
        outcomes = {trial.number: read_outcome(trial) for trial in trials if trial.state.is_finished()}
        noted, unfinished = store.spent()
        self.space, self._store = space, store
        self.front, self.early_stopping = Front(), EarlyStopping(space)
        self.controls = {number for number, origin in origins.items() if origin == "control"}
        self.planned, self.finished = len(trials), len(outcomes)
        self._distributions = distributions(space)
        self._proposer = Proposer(
            space.search,
            self._distributions,
            partial(params_key, space),
            partial(decode, space),
            self.early_stopping.levels,
        )
        self.criterion = StoppingCriterion(
            space.search,
            space.resources.gpu,
            extra_trials=sum(origin in ("control", "enqueued") for origin in origins.values()),
            elapsed=max([noted, *(outcome.elapsed for outcome in outcomes.values())]),
            unfinished=unfinished,
            clock=clock,
        )
        self._noted = 0.0  # the value of ``elapsed`` that was written to the study last
        self._running: dict[int, _RunningTrial] = {}
        self._waiting = deque(trial for trial in trials if trial.number not in outcomes)
        self._recall(trials, outcomes)

    @classmethod
    def begin(
        cls,
        space: Space,
        store: TrialStore,
        enqueued: Sequence[Mapping[str, SettingValue]] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> SearchController:
        """Begin or resume a search: write the trials that come first to the study.

        Args:
            space: The space.
            store: The study on disk.
            enqueued: Configurations to begin with; those that the study already has are left out.
            clock: Returns seconds since a fixed moment.
        """
        store.requeue_running()
        enqueue_controls(space, store)
        enqueue_configurations(space, store, enqueued)
        return cls(space, store, clock)

    @property
    def done(self) -> bool:
        """Whether no trial is left to hand out."""
        if self.criterion.too_many_failures or self.criterion.time_limit:
            return True
        return not self._waiting and (
            bool(self.criterion.stagnation) or self.planned >= self.criterion.budget
        )

    @property
    def complete(self) -> bool:
        """Whether the search has ended: all trials of the budget have finished, or a limit was reached."""
        return not self._running and (bool(self.criterion.time_limit) or (self.done and not self._waiting))

    def next(self) -> Assignment | None:
        """Return the next trial, which is RUNNING in the study from now on; None if there is none."""
        if not self.done:
            self._check_time()
        if self.done:
            return None
        assignment = self._resume() if self._waiting else self._propose()
        self._running[assignment.number] = _RunningTrial(assignment)
        self.criterion.set_training_seconds(assignment.number, 0.0)
        return assignment

    def report(self, number: int, results: Sequence[EpochResult]) -> Decision:
        """Record finished epochs of a running trial and decide on it.

        Args:
            number: The trial's number.
            results: Results of at least one epoch, in order; epochs that were reported before may be among
                them.
        """
        running = self._running[number]
        if results[0].epoch == 1:  # it starts anew, or continues from a checkpoint and reports all epochs
            running.results.clear()
        running.results.update({result.epoch: result for result in results})
        history, assignment = running.history, running.assignment
        self.criterion.set_training_seconds(number, sum(result.seconds for result in history))
        self._check_time()
        epochs, exempt = assignment.train.epochs, assignment.plan.origin == "control"
        if self.early_stopping.advance(number, history, epochs, exempt=exempt):
            return Decision.STOP
        unfinished = results[-1].epoch < epochs
        return Decision.PAUSE if self.criterion.time_limit and unfinished else Decision.CONTINUE

    def check_time(self, unreported: float) -> bool:
        """Return whether the time of the search is used up, also if no training reports.

        Args:
            unreported: Seconds of the running trainings since their last reports.
        """
        self._check_time(unreported)
        return bool(self.criterion.time_limit)

    def pause(self, number: int) -> None:
        """Pause a running trial; the next start of the search resumes it."""
        self._running.pop(number)
        self.early_stopping.leave(number)

    def requeue(self, number: int) -> None:
        """Let a running trial wait for another machine; it is handed out before any new proposal."""
        self._running.pop(number)
        self._store.requeue(number)
        self._waiting.append(self._store.trials()[number])

    def pause_all(self) -> None:
        """Pause the trials that still run, because the search ends."""
        for number in list(self._running):
            self.pause(number)

    def finish(self, number: int, history: Sequence[EpochResult], failure: str) -> FinishedTrial:
        """Record the outcome of a running trial.

        Args:
            number: The trial's number.
            history: Results of all epochs; if empty, those that were reported before.
            failure: The reason if the training failed, else empty.
        """
        running = self._running.pop(number)
        assignment = running.assignment
        outcome = outcome_of(
            history or running.history,
            failure,
            self.space.search.select_epoch,
            progress=self.early_stopping.leave(number),
            violations=partial(violations_of, self.space, assignment.settings),
            elapsed=self.criterion.elapsed,
        )
        self._store.finish(number, outcome)
        self._proposer.finish(number, outcome)
        self.finished += 1
        dominated = self._add_to_front(number, outcome)
        self.criterion.finish(number, outcome, self.front.hypervolume)
        on_front = any((number, epoch) in self.front for epoch, _, _ in outcome.points)
        return FinishedTrial(assignment, outcome, on_front, dominated)

    def note_time(self) -> None:
        """Write the elapsed time to the study, so that limits hold over all starts of the search."""
        self._noted = self.criterion.elapsed
        self._store.set_spent(self._noted, self.criterion.unfinished_seconds)

    def _check_time(self, unreported: float = 0.0) -> None:
        self.criterion.check_time(unreported)
        if self._running and self.criterion.elapsed - self._noted >= SECONDS_BETWEEN_NOTES:
            self.note_time()

    def _recall(self, trials: Sequence[FrozenTrial], outcomes: Mapping[int, Outcome]) -> None:
        """Add the trials of earlier starts to the rungs, the proposer, the front and the limits."""
        for trial in trials:
            outcome = outcomes.get(trial.number)
            if outcome is not None:
                self.early_stopping.recall(trial.number, outcome.history)
            if read_plan(trial).in_space:
                self._proposer.add(trial.number, trial.params, outcome)
        for number, outcome in sorted(outcomes.items(), key=lambda item: item[1].elapsed):
            self._add_to_front(number, outcome)
            self.criterion.recall(number, outcome, self.front.hypervolume)
        self.criterion.check_stagnation()
        if not self.complete:
            self.criterion.check_time()

    def _add_to_front(self, number: int, outcome: Outcome) -> list[Member]:
        """Add a COMPLETE trial without violations to the front; return the members that it dominates."""
        if outcome.state != TrialState.COMPLETE or outcome.violation > 0:
            return []
        return self.front.add_trial(number, outcome.points)

    def _resume(self) -> Assignment:
        trial = self._waiting.popleft()
        self._store.start(trial.number)
        return assignment_of(self.space, trial.number, read_plan(trial), trial.params)

    def _propose(self) -> Assignment:
        proposal = self._proposer.propose(self.planned)
        origin = "replicate" if proposal.replicate else "search"
        plan = TrialPlan(origin, "", derive_seed(self.space.search.seed, self.planned), True)
        number = self._store.plan(plan, proposal.params, self._distributions, running=True)
        assert number == self.planned, "the study numbers trials as the controller does"
        self.planned += 1
        return assignment_of(self.space, number, plan, proposal.params)
