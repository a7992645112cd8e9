"""Which trial is next, and what a finished one means: the search without Ray."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from morel_search.config import Space
from morel_search.search.distributions import decode, distributions, encode, signature
from morel_search.search.points import Point, dominates
from morel_search.search.proposer import Proposer, derive_seed
from morel_search.search.record import Outcome, StudyRecord, TrialPlan, outcome_of, plan_of
from morel_search.training.selection import EpochResult, chosen_epoch
from morel_search.training.settings import TrainSettings

__all__ = ["Assignment", "Conductor", "FinishedTrial"]


@dataclass(frozen=True, slots=True)
class Assignment:
    """A trial that is to run now."""

    number: int
    plan: TrialPlan
    values: Mapping[str, Any]
    train: TrainSettings


@dataclass(frozen=True, slots=True)
class FinishedTrial:
    """A trial that is over."""

    assignment: Assignment
    outcome: Outcome
    on_front: bool


class Conductor:
    """Hands out trials until the budget is spent and writes down what comes back.

    Waiting trials go first (the controls, and what an earlier start left), then new proposals. Every trial counts towards the budget,
    failed ones too, so the search always ends; ``max_failures`` failures in a row end it at once.

    Args:
        space: What to search.
        record: The study on disk; this object is its only writer.
    """

    def __init__(self, space: Space, record: StudyRecord) -> None:
        self.space, self._record = space, record
        self._distributions = distributions(space)
        self._proposer = Proposer(space.search, self._distributions, lambda params: signature(space, decode(space, params)))
        self._control_of = {control.name: control for control in space.controls}
        self._running: dict[int, Assignment] = {}
        self._failures_in_a_row = 0
        self.stopped_because = ""
        self._plan_controls()
        self._waiting = deque(trial for trial in record.park())
        self.points: dict[int, Point] = {}
        self.controls = {trial.number for trial in record.trials() if plan_of(trial).origin == "control"}
        for trial in record.trials():
            self._recall(trial)
        self.planned = len(record.trials())
        self.finished = self.planned - len(self._waiting)

    @property
    def budget(self) -> int:
        """Trials in all, failed ones counted: those that the search proposes, and the controls."""
        return self.space.search.trials + len(self.space.controls)

    @property
    def done(self) -> bool:
        """Whether nothing is left to hand out."""
        return bool(self.stopped_because) or (not self._waiting and self.planned >= self.budget)

    @property
    def complete(self) -> bool:
        """Whether every trial of the budget is over."""
        return self.done and not self._running and not self._waiting

    def next(self) -> Assignment | None:
        """The trial to run now, written down as RUNNING; None when there is none."""
        if self.done:
            return None
        if self._waiting:
            trial = self._waiting.popleft()
            self._record.start(trial.number)
            assignment = self._assign(trial.number, plan_of(trial), trial.params)
        else:
            assignment = self._propose()
        self._running[assignment.number] = assignment
        return assignment

    def finish(self, number: int, history: Sequence[Mapping[str, Any]], failure: str) -> FinishedTrial:
        """Write down how a trial ended.

        Args:
            number: A running trial's number.
            history: Each epoch's :class:`EpochResult` as a mapping.
            failure: The reason, where the training failed.
        """
        assignment = self._running.pop(number)
        outcome = judge(history, failure, self.space.search.point)
        self._record.finish(number, outcome)
        self._proposer.finish(number, outcome.values)
        self.finished += 1
        on_front = outcome.values is not None and not any(dominates(other, outcome.values) for other in self.points.values())
        if outcome.values is not None:
            self.points[number] = outcome.values
        self._count_failure(outcome)
        return FinishedTrial(assignment, outcome, on_front)

    def train_settings(self, trial: FrozenTrial) -> TrainSettings:
        """What a trial of the study is or was trained with."""
        return self._assign(trial.number, plan_of(trial), trial.params).train

    def _count_failure(self, outcome: Outcome) -> None:
        self._failures_in_a_row = 0 if outcome.values is not None else self._failures_in_a_row + 1
        if self._failures_in_a_row >= self.space.search.max_failures and not self.stopped_because:
            self.stopped_because = f"{self._failures_in_a_row} trials in a row failed, the last one with: {outcome.failure}"

    def _plan_controls(self) -> None:
        """Write down the controls that are not in the study yet; an earlier start may have been stopped in the middle of it."""
        trials = self._record.trials()
        planned = {plan_of(trial).name for trial in trials}
        for number, control in enumerate((one for one in self.space.controls if one.name not in planned), start=len(trials)):
            params = encode(self.space, self.space.control_settings(control)) if self._varies_only_parameters(control.overrides) else None
            plan = TrialPlan("control", control.name, derive_seed(self.space.search.seed, number), params is not None)
            self._record.plan(plan, params or {}, self._distributions, running=False)

    def _varies_only_parameters(self, overrides: Mapping[str, Any]) -> bool:
        """Whether a control differs from the base settings in searched parameters alone, so that its values say all about it."""
        searched = {parameter.name for parameter in self.space.parameters}
        return all(name in searched or getattr(self.space.train, name) == value for name, value in overrides.items())

    def _recall(self, trial: FrozenTrial) -> None:
        """Make an earlier trial known to the sampler."""
        outcome = outcome_of(trial)
        if trial.state == TrialState.COMPLETE and outcome.values is not None:
            self.points[trial.number] = outcome.values
        if plan_of(trial).in_space:
            self._proposer.add(trial.number, trial.params, trial.state, outcome.values)

    def _propose(self) -> Assignment:
        number = self.planned
        proposal = self._proposer.propose(number)
        plan = TrialPlan("replicate" if proposal.replicate else "search", "", derive_seed(self.space.search.seed, number), True)
        written = self._record.plan(plan, proposal.params, self._distributions, running=True)
        assert written == number, "another program writes to this study"
        self.planned += 1
        return self._assign(number, plan, proposal.params)

    def _assign(self, number: int, plan: TrialPlan, params: Mapping[str, Any]) -> Assignment:
        if plan.origin == "control":
            control = self._control_of[plan.name]
            return Assignment(number, plan, dict(control.overrides), self.space.control_settings(control))
        values = decode(self.space, params)
        return Assignment(number, plan, values, self.space.train_settings(values))


def judge(history: Sequence[Mapping[str, Any]], failure: str, point: str) -> Outcome:
    """What a training's epochs amount to: the chosen epoch's accuracies, or the reason why there are none."""
    results = [EpochResult(**result) for result in history]
    seconds = sum(result.seconds for result in results)
    chosen, last = chosen_epoch(results, point), chosen_epoch(results, "last")
    values, last_values = _values(chosen), _values(last)
    if not failure and values is None:
        failure = "the training reported no accuracy"
    if not failure and not all(math.isfinite(value) for value in values or ()):
        failure = f"the accuracies are not finite: {values}"
    stored = tuple(dict(result) for result in history)
    failure = failure.encode("utf-8", "backslashreplace").decode()  # a lone surrogate cannot be stored
    if failure:
        return Outcome(history=stored, seconds=seconds, failure=failure)
    return Outcome(values=values, epoch=chosen.epoch if chosen else None, last_values=last_values, history=stored, seconds=seconds)


def _values(result: EpochResult | None) -> tuple[float, float] | None:
    if result is None or result.clean_accuracy is None or result.robust_accuracy is None:
        return None
    return result.clean_accuracy, result.robust_accuracy
