"""Which trial is next, which goes on, and what a finished one means: the search without Ray."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from morel_search.config import Space
from morel_search.search.distributions import configuration_key, decode, distributions, encode
from morel_search.search.early_stopping import EarlyStopping
from morel_search.search.outcome import Outcome, outcome_of, read_outcome, violations_of
from morel_search.search.pareto import Front, Member
from morel_search.search.proposer import Proposer
from morel_search.search.seeds import derive_seed
from morel_search.search.stopping_criterion import StoppingCriterion
from morel_search.search.study import TrialStore
from morel_search.search.trial import TrialPlan, read_plan
from morel_search.search.warm_start import enqueued_params
from morel_search.training.settings import TrainSettings

__all__ = ["Assignment", "Decision", "FinishedTrial", "SearchController"]


SECONDS_BETWEEN_NOTES = 60
"""A search that is killed forgets at most so much of its time."""

STARTS = 0x57A2
"""Sets the draw of what the configurations to begin with leave open apart from other draws."""


class Decision(Enum):
    """What becomes of a running trial after an epoch: it goes on, it is stopped for good, or it waits for another start."""

    CONTINUE = "go on"
    STOP = "stop"
    PAUSE = "halt"


@dataclass(frozen=True, slots=True)
class Assignment:
    """A trial that is to run now."""

    number: int
    plan: TrialPlan
    values: Mapping[str, Any]
    train: TrainSettings


@dataclass(frozen=True, slots=True)
class FinishedTrial:
    """A trial that is over.

    Attributes:
        assignment: What it was.
        outcome: What it gave.
        on_front: Whether one of its points is on the front now.
        beaten: Members that had to leave the front for it.
    """

    assignment: Assignment
    outcome: Outcome
    on_front: bool
    beaten: Sequence[Member]


class SearchController:
    """Hands out trials until the budget is spent, stops those that are behind, and writes down what comes back.

    Waiting trials go first (the controls, the configurations to begin with, and what an earlier start left),
    then new proposals. Every trial counts towards the budget, failed ones too, so the search always ends;
    ``max_failures`` failures in a row end it at once, and so do the limits of the settings.

    Args:
        space: What to search.
        record: The study on disk; this object is its only writer.
        starts: Configurations to begin with; those that the study knows already are left out.
        clock: Seconds from some fixed moment.
    """

    def __init__(
        self,
        space: Space,
        record: TrialStore,
        starts: Sequence[Mapping[str, Any]] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.space, self._record, self._clock = space, record, clock
        self._distributions = distributions(space)
        self._proposer = Proposer(space.search, self._distributions, self._configuration_key)
        self._control_of = {control.name: control for control in space.controls}
        self.stopping = EarlyStopping(space)
        self._stopping_criterion = StoppingCriterion(space.search, space.resources.gpu)
        self._running: dict[int, Assignment] = {}
        self._histories: dict[int, dict[int, Mapping[str, Any]]] = {}
        self._failures_in_a_row = 0
        self._trained = 0.0
        self.stopped_because = ""
        self._out_of_time = self._stale = ""
        self.front = Front()
        self._plan_controls()
        self._waiting = deque(record.requeue_running())
        trials = record.trials()
        self.controls = {trial.number for trial in trials if read_plan(trial).origin == "control"}
        self._given = sum(read_plan(trial).origin in ("control", "enqueued") for trial in trials)
        for trial in trials:
            self._recall(trial)
        self.planned = len(trials)
        self.finished = self.planned - len(self._waiting)
        over = {trial.number: read_outcome(trial) for trial in trials if trial.state.is_finished()}
        for number, outcome in sorted(over.items(), key=lambda one: one[1].elapsed):
            self._settle(number, outcome)
        self._stale = self._stopping_criterion.stale()
        spent, self._left = record.spent()
        self._began = self._noted = self._clock() - max(
            [spent, *(outcome.elapsed for outcome in over.values())]
        )
        self._enqueue(starts)
        if not self.complete:
            self._check_time()

    @property
    def budget(self) -> int:
        """Trials in all, failed ones counted: those that the search proposes, the controls and the configurations to begin with."""
        return self.space.search.trials + self._given

    @property
    def elapsed(self) -> float:
        """Seconds of the search, those of earlier starts counted."""
        return self._clock() - self._began

    @property
    def done(self) -> bool:
        """Whether nothing is left to hand out."""
        nothing_new = bool(self._stale) or self.planned >= self.budget
        return bool(self.stopped_because or self._out_of_time) or (not self._waiting and nothing_new)

    @property
    def ended_because(self) -> str:
        """Which limit ended the search; empty where none did."""
        return self._out_of_time or self._stale

    @property
    def complete(self) -> bool:
        """Whether the search has come to its end: every trial of the budget is over, or a limit was reached."""
        return not self._running and (bool(self._out_of_time) or (self.done and not self._waiting))

    def next(self) -> Assignment | None:
        """The trial to run now, written down as RUNNING; None when there is none."""
        if not self.done:
            self._check_time()
        if self.done:
            return None
        if self._waiting:
            trial = self._waiting.popleft()
            self._record.start(trial.number)
            assignment = self._assign(trial.number, read_plan(trial), trial.params)
        else:
            assignment = self._propose()
        self._running[assignment.number] = assignment
        self._histories[assignment.number] = {}
        self._left.pop(assignment.number, None)
        return assignment

    def report(self, number: int, history: Sequence[Mapping[str, Any]]) -> Decision:
        """A running trial has finished epochs.

        Args:
            number: Its number.
            history: These epochs' :class:`EpochResult` as mappings; epochs that are known already may be
                among them.
        """
        known, running = self._histories[number], self._running[number]
        epochs = [int(result["epoch"]) for result in history]
        if (
            epochs[0] == 1
        ):  # begun anew, as its checkpoint was lost or torn, or continued: what it says is all there is
            known.clear()
        known.update(zip(epochs, history, strict=True))
        self._check_time()
        course = [known[epoch] for epoch in sorted(known)]
        if self.stopping.advance(
            number, course, running.train.epochs, exempt=running.plan.origin == "control"
        ):
            return Decision.STOP
        return (
            Decision.PAUSE if self._out_of_time and epochs[-1] < running.train.epochs else Decision.CONTINUE
        )

    def pause(self, number: int) -> None:
        """A running trial does not run any more and is not over: it waits for another start."""
        self._running.pop(number)
        self._left[number] = self._seconds_of(self._histories.pop(number))
        self.stopping.leave(number)

    def stopped_early(self, number: int) -> bool:
        """Whether the last report of a running trial was answered with STOP."""
        return self.stopping.stopped(number)

    def finish(self, number: int, history: Sequence[Mapping[str, Any]], failure: str) -> FinishedTrial:
        """Write down how a trial ended.

        Args:
            number: A running trial's number.
            history: Each epoch's :class:`EpochResult` as a mapping; what was reported before counts where
                this is empty.
            failure: The reason, where the training failed.
        """
        assignment, known = self._running.pop(number), self._histories.pop(number)
        history = history or [known[epoch] for epoch in sorted(known)]
        progress = self.stopping.leave(number)
        outcome = outcome_of(
            history,
            failure,
            self.space.search.select_epoch,
            progress=progress,
            violations=lambda measured: self._violations(assignment.train, measured),
            elapsed=self.elapsed,
        )
        self._record.finish(number, outcome)
        self._proposer.finish(number, outcome)
        self.finished += 1
        beaten = self._settle(number, outcome)
        self._stale = self._stale or self._stopping_criterion.stale()
        self._count_failure(outcome)
        on_front = any((number, epoch) in self.front for epoch, _, _ in outcome.points)
        return FinishedTrial(assignment, outcome, on_front, beaten)

    def train_settings(self, trial: FrozenTrial) -> TrainSettings:
        """What a trial of the study is or was trained with."""
        return self._assign(trial.number, read_plan(trial), trial.params).train

    def note_time(self) -> None:
        """Write down how long the search has taken, so that limits hold over all its starts."""
        running = {number: self._seconds_of(known) for number, known in self._histories.items()}
        self._record.set_spent(self.elapsed, {**self._left, **running})
        self._noted = self._clock()

    def _check_time(self) -> None:
        running = sum(self._seconds_of(known) for known in self._histories.values()) + sum(
            self._left.values()
        )
        self._out_of_time = self._stopping_criterion.spent(self.elapsed, self._trained + running)
        if self._clock() - self._noted >= SECONDS_BETWEEN_NOTES and self._running:
            self.note_time()

    @staticmethod
    def _seconds_of(history: Mapping[int, Mapping[str, Any]]) -> float:
        return sum(float(result["seconds"]) for result in history.values())

    def _violations(self, settings: TrainSettings, measured: Mapping[str, float]) -> dict[str, float]:
        """By how much the constraints are broken; a searched setting that is switched off breaks none."""
        searched = {parameter.name: getattr(settings, parameter.name) for parameter in self.space.parameters}
        active = self.space.active(searched)
        values = {
            constraint.name: getattr(settings, constraint.name)
            for constraint in self.space.constraints
            if not constraint.measured
        }
        values |= {name: None for name in values if name in searched and name not in active}
        return violations_of(self.space.constraints, {**values, **measured})

    def _settle(self, number: int, outcome: Outcome) -> list[Member]:
        """Count what a trial took and put its points on the front.

        Which other trials' points had to leave it.
        """
        beaten = self._place(number, outcome)
        self._trained += outcome.seconds
        self._stopping_criterion.finished(self.front.hypervolume)
        return beaten

    def _place(self, number: int, outcome: Outcome) -> list[Member]:
        """Put a trial's points on the front, where they belong there and keep to the constraints."""
        if outcome.state != TrialState.COMPLETE or outcome.violation > 0:
            return []
        beaten = [
            one
            for epoch, clean, robust in outcome.points
            for one in self.front.add((number, epoch), (clean, robust))
        ]
        return [one for one in beaten if one[0] != number]

    def _count_failure(self, outcome: Outcome) -> None:
        self._failures_in_a_row = self._failures_in_a_row + 1 if outcome.failure else 0
        if self._failures_in_a_row >= self.space.search.max_failures and not self.stopped_because:
            self.stopped_because = (
                f"{self._failures_in_a_row} trials in a row failed, the last one with: {outcome.failure}"
            )

    def _plan_controls(self) -> None:
        """Write down the controls that are not in the study yet.

        An earlier start may have been stopped in the middle of it.
        """
        trials = self._record.trials()
        planned = {read_plan(trial).name for trial in trials}
        for number, control in enumerate(
            (one for one in self.space.controls if one.name not in planned), start=len(trials)
        ):
            params = (
                encode(self.space, self.space.control_settings(control))
                if self._varies_only_parameters(control.overrides)
                else None
            )
            plan = TrialPlan(
                "control", control.name, derive_seed(self.space.search.seed, number), params is not None
            )
            self._record.plan(plan, params or {}, self._distributions, running=False)

    def _enqueue(self, starts: Sequence[Mapping[str, Any]]) -> None:
        """Write down the configurations to begin with that are not in the study yet."""
        for start in starts:
            params = enqueued_params(
                self.space, self._distributions, start, derive_seed(self.space.search.seed, STARTS)
            )
            if self._proposer.known(params):
                continue
            plan = TrialPlan("enqueued", "", derive_seed(self.space.search.seed, self.planned), True)
            number = self._record.plan(plan, params, self._distributions, running=False)
            self._proposer.add(number, params)
            self._waiting.append(self._record.trials()[number])
            self.planned += 1
            self._given += 1

    def _varies_only_parameters(self, overrides: Mapping[str, Any]) -> bool:
        """Whether a control differs from the base settings in searched parameters alone, so that its values say all about it."""
        searched = {parameter.name for parameter in self.space.parameters}
        return all(
            name in searched or getattr(self.space.train, name) == value for name, value in overrides.items()
        )

    def _configuration_key(self, params: Mapping[str, Any]) -> Any:
        return configuration_key(self.space, decode(self.space, params))

    def _recall(self, trial: FrozenTrial) -> None:
        """Make an earlier trial known to the sampler and the rungs."""
        outcome = read_outcome(trial)
        finished = trial.state.is_finished()
        if finished:
            self.stopping.recall(trial.number, outcome.history)
        if read_plan(trial).in_space:
            self._proposer.add(trial.number, trial.params, outcome if finished else None)

    def _propose(self) -> Assignment:
        number = self.planned
        proposal = self._proposer.propose(number)
        plan = TrialPlan(
            "replicate" if proposal.replicate else "search",
            "",
            derive_seed(self.space.search.seed, number),
            True,
        )
        written = self._record.plan(plan, proposal.params, self._distributions, running=True)
        assert written == number, "the record counts as the conductor does"
        self.planned += 1
        return self._assign(number, plan, proposal.params)

    def _assign(self, number: int, plan: TrialPlan, params: Mapping[str, Any]) -> Assignment:
        if plan.origin == "control":
            control = self._control_of[plan.name]
            return Assignment(number, plan, dict(control.overrides), self.space.control_settings(control))
        values = decode(self.space, params)
        return Assignment(number, plan, values, self.space.train_settings(values))
