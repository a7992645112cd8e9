"""Early stopping, limits, enqueued configurations and constraints in the search without Ray.

Learning curves replace trainings.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from morel_search.config import Space, load_space
from morel_search.errors import RunFolderError, SpaceError
from morel_search.results.new_run import create_run_folder
from morel_search.results.tables import front_columns
from morel_search.search.controller import Decision, FinishedTrial, SearchController
from morel_search.search.distributions import decode
from morel_search.search.early_stopping import EarlyStopping, RungProgress
from morel_search.search.outcome import outcome_of, read_outcome
from morel_search.search.study import TrialStore
from morel_search.search.trial import Assignment, read_plan
from morel_search.search.warm_start import enqueued_configurations
from morel_search.training.selection import EpochResult
from morel_search.workflows.tables import front_table, trials_table

ROOT = Path(__file__).parents[1]
EPOCHS = 9


def digits(*overrides: str) -> Space:
    base = [
        f"train.epochs={EPOCHS}",
        "search.population=6",
        "search.trials=40",
        "controls=[trades]",
        "early_stopping.run_through=0",
        "search.children=1",
    ]
    return load_space(ROOT / "search_spaces" / "digits.yaml", [*base, *overrides])


def epoch(number: int, clean: float, robust: float, seconds: float = 1.0) -> EpochResult:
    losses = dict.fromkeys(("loss", "accuracy_loss", "robust_loss", "cosine_loss", "contrastive_loss"), 1.0)
    return EpochResult(
        epoch=number,
        **losses,
        lr=0.1,
        train_accuracy=0.5,
        clean_accuracy=clean,
        robust_accuracy=robust,
        seconds=seconds,
    )


def curve(assignment: Assignment) -> list[EpochResult]:
    """A trade-off in epsilon, an optimum in k_robust, and accuracies that rise with the epochs."""
    strength = min(1.0, float(assignment.train.epsilon) / 0.3)
    loss = abs(assignment.train.k_robust - 0.2)
    return [
        epoch(
            number,
            (0.99 - 0.3 * strength**2 - loss) * number / EPOCHS,
            (0.7 * strength - 0.5 * loss) * number / EPOCHS,
        )
        for number in range(1, EPOCHS + 1)
    ]


def run_one(
    controller: SearchController,
    assignment: Assignment,
    curve_of: Callable[[Assignment], list[EpochResult]] = curve,
) -> Any:
    history = curve_of(assignment)
    for result in history:
        decision = controller.report(assignment.number, [result])
        if decision is Decision.STOP:
            assert controller.early_stopping.stopped(assignment.number)
            return controller.finish(assignment.number, (), "")
        if decision is Decision.PAUSE:
            return None
    return controller.finish(assignment.number, history, "")


def run_all(controller: SearchController, workers: int = 1) -> list[FinishedTrial]:
    running: deque[Assignment] = deque()
    finished = []
    while True:
        while len(running) < workers and (assignment := controller.next()) is not None:
            running.append(assignment)
        if not running:
            return finished
        done = run_one(controller, running.popleft())
        if done is None:
            return finished
        finished.append(done)


def start(
    tmp_path: Path, space: Space, name: str = "study", **named: Any
) -> tuple[SearchController, TrialStore]:
    record = TrialStore.of_file(tmp_path / f"{name}.db", "run")
    return SearchController.begin(space, record, **named), record


def test_inferior_trials_are_stopped_and_never_on_the_front(tmp_path: Path) -> None:
    space = digits()
    controller, record = start(tmp_path, space)
    finished = run_all(controller)
    assert controller.early_stopping.levels == (1, 3)
    trials = record.trials()
    assert len(finished) == len(trials) == 41
    stopped = [trial for trial in trials if trial.state == TrialState.PRUNED]
    whole = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    assert len(stopped) >= 5
    assert len(stopped) + len(whole) == 41
    for trial in stopped:
        outcome = read_outcome(trial)
        assert trial.values is None
        assert outcome.values is None
        assert outcome.rung == len(outcome.history)
        assert outcome.rung in (1, 3)
        assert outcome.points == ((outcome.rung, *outcome.last_values),)
    numbers = {trial.number for trial in whole}
    assert {number for number, _ in controller.front} <= numbers
    table = trials_table(record, space)
    assert (
        table.loc[table["state"] == "PRUNED", ["clean_accuracy", "robust_accuracy", "epoch"]]
        .isna()
        .all(axis=None)
    )
    assert table.loc[table["state"] == "PRUNED", "last_clean_accuracy"].notna().all()
    assert set(table.loc[table["state"] == "PRUNED", "rung"]) <= {1, 3}


def test_stopping_can_be_switched_off(tmp_path: Path) -> None:
    controller, record = start(tmp_path, digits("early_stopping.enabled=false", "search.trials=20"))
    run_all(controller)
    assert controller.early_stopping.levels == ()
    assert {trial.state for trial in record.trials()} == {TrialState.COMPLETE}


def test_controls_are_never_stopped(tmp_path: Path) -> None:
    space = digits("controls=[trades, none, mart]", "search.trials=15", "early_stopping.min_peers=3")
    controller, record = start(tmp_path, space)
    waiting = [controller.next() for _ in range(18)]
    assert [assignment.plan.origin for assignment in waiting if assignment][:3] == ["control"] * 3
    for assignment in [*waiting[3:], *waiting[:3]]:  # the controls reach every rung last
        assert assignment is not None
        worst = [epoch(number, 0.1, 0.0) for number in range(1, EPOCHS + 1)]
        run_one(
            controller,
            assignment,
            curve if assignment.plan.origin == "search" else lambda _, worst=worst: worst,
        )
    assert [trial.state for trial in record.trials()[:3]] == [TrialState.COMPLETE] * 3
    assert all(read_outcome(trial).exempt_at is None for trial in record.trials()[:3])


def test_a_share_of_the_trials_is_exempt_and_marked(tmp_path: Path) -> None:
    controller, record = start(tmp_path, digits("early_stopping.run_through=1", "early_stopping.keep=1/3"))
    run_all(controller)
    assert {trial.state for trial in record.trials()} == {TrialState.COMPLETE}
    exempt = [read_outcome(trial).exempt_at for trial in record.trials()]
    assert sum(rung is not None for rung in exempt) >= 10
    stopping = EarlyStopping(digits("early_stopping.run_through=0.25"))
    through = [stopping.runs_through(number) for number in range(2000)]
    assert 0.2 < sum(through) / len(through) < 0.3


@pytest.mark.parametrize("workers", [1, 4])
def test_rungs_and_proposals_come_back_from_the_study(tmp_path: Path, workers: int) -> None:
    """With one worker, a repeatedly killed search takes the same decisions; with several, it ends too."""
    space = digits("search.children=4")
    whole, record = start(tmp_path, space, "whole")
    run_all(whole, workers)
    broken = TrialStore.of_file(tmp_path / "broken.db", "run")
    for limit in (3, 5, 11, 2, 7):
        controller = SearchController.begin(space, broken)
        for _ in range(limit):
            assignment = controller.next()
            assert assignment is not None
            run_one(controller, assignment)
        for _ in range(workers):
            controller.next()  # RUNNING when the driver is killed
    controller = SearchController.begin(space, broken)
    run_all(controller, workers)
    assert controller.complete
    assert not any(trial.state in (TrialState.RUNNING, TrialState.WAITING) for trial in broken.trials())
    assert [trial.number for trial in broken.trials()] == list(range(41))
    if workers == 1:
        assert [trial.params for trial in broken.trials()] == [trial.params for trial in record.trials()]
        assert [trial.state for trial in broken.trials()] == [trial.state for trial in record.trials()]
        assert [read_outcome(trial).points for trial in broken.trials()] == [
            read_outcome(trial).points for trial in record.trials()
        ]


def test_a_resumed_trial_reports_its_past_epochs_and_is_decided_once(tmp_path: Path) -> None:
    space = digits("early_stopping.min_peers=3", "controls=[]")
    controller, record = start(tmp_path, space)
    assignments = [controller.next() for _ in range(8)]
    for assignment in assignments[:7]:
        assert assignment is not None
        run_one(controller, assignment)
    again = SearchController.begin(space, record)
    assignment = again.next()
    assert assignment is not None
    assert assignment.number == 7
    assert (
        again.report(7, [epoch(1, 0.0, 0.0)]) is Decision.STOP
    )  # it had reached the rung without a decision
    finished = again.finish(7, (), "")
    assert finished.outcome.stopped
    assert finished.outcome.rung == 1
    assert len(finished.outcome.history) == 1


def test_a_trial_that_continued_at_a_rung_is_not_stopped_there_after_a_restart(tmp_path: Path) -> None:
    space = digits("early_stopping.min_peers=3", "controls=[]")
    controller, record = start(tmp_path, space)
    slow = controller.next()
    assert slow is not None
    for _ in range(8):
        assignment = controller.next()
        assert assignment is not None
        run_one(controller, assignment)
    again = SearchController.begin(space, record)
    assert again.next() == slow
    worst = [epoch(number, 0.0, 0.0) for number in range(1, EPOCHS + 1)]
    assert again.report(0, worst[:5]) is Decision.CONTINUE
    for result in worst[5:]:
        assert again.report(0, [result]) is Decision.CONTINUE
    assert again.finish(0, (), "").outcome.state == TrialState.COMPLETE


def test_points_of_a_stopped_trial_are_those_of_its_rung() -> None:
    history = [epoch(1, 0.2, 0.1), epoch(2, 0.9, 0.9)]
    outcome = outcome_of(history, "", "best_sum", progress=RungProgress(rung=1, stopped=True))
    assert outcome.points == ((1, 0.2, 0.1),)


def test_a_training_that_starts_again_replaces_the_lost_one(tmp_path: Path) -> None:
    controller, _ = start(tmp_path, digits("early_stopping.enabled=false"))
    assignment = controller.next()
    assert assignment is not None
    for result in curve(assignment)[:5]:
        controller.report(assignment.number, [result])
    controller.report(assignment.number, [epoch(1, 0.3, 0.3)])
    assert len(controller.finish(assignment.number, (), "the trial's process died").outcome.history) == 1


def test_an_epoch_that_is_reported_twice_counts_once(tmp_path: Path) -> None:
    """After its worker was killed, a trial continues from its checkpoint and reports all epochs again."""
    controller, _ = start(tmp_path, digits("early_stopping.enabled=false"))
    assignment = controller.next()
    assert assignment is not None
    history = curve(assignment)
    for reported in ([history[0]], [history[1]], history[:2], [history[2]]):
        controller.report(assignment.number, reported)
    outcome = controller.finish(assignment.number, (), "the trial's process died").outcome
    assert [result.epoch for result in outcome.history] == [1, 2, 3]
    assert outcome.seconds == 3.0


def test_several_epochs_of_a_trial_can_be_selected(tmp_path: Path) -> None:
    space = digits(
        "search.select_epoch=front", "controls=[]", "search.trials=1", "early_stopping.enabled=false"
    )
    controller, record = start(tmp_path, space)
    assignment = controller.next()
    assert assignment is not None
    scores = [(0.5, 0.1), (0.9, 0.55), (0.95, 0.4), (0.8, 0.6), (0.8, 0.5), (0.9, 0.55)]
    history = [epoch(number, *score) for number, score in enumerate(scores, start=1)]
    finished = controller.finish(assignment.number, history, "")
    assert sorted(finished.outcome.points) == [(3, 0.95, 0.4), (4, 0.8, 0.6), (6, 0.9, 0.55)]
    assert record.trials()[0].values == [0.9, 0.55]
    assert set(controller.front) == {(0, 3), (0, 4), (0, 6)}
    table = front_table(record, space, controller.front, {(0, 4): (0.7, 0.6)})
    cells = table[["number", "epoch", "clean_accuracy", "test_robust_accuracy"]].astype(float).fillna(-1)
    assert cells.to_numpy().tolist() == [[0, 4, 0.8, 0.6], [0, 6, 0.9, -1], [0, 3, 0.95, -1]]


def test_deterministic_failures_are_distinguished(tmp_path: Path) -> None:
    controller, record = start(tmp_path, digits())
    for reason, deterministic_failure in (
        ("out of memory: 2 GiB", True),
        ("diverged in epoch 3: the training loss is nan", True),
        ("no such file", False),
    ):
        assignment = controller.next()
        assert assignment is not None
        outcome = controller.finish(assignment.number, [epoch(1, 0.1, 0.1)], reason).outcome
        assert outcome.deterministic_failure == deterministic_failure
        assert outcome.state == TrialState.FAIL
    assert {trial.state for trial in record.trials() if trial.state.is_finished()} == {TrialState.FAIL}


# --- constraints


def test_a_trial_that_violates_a_constraint_is_not_on_the_front(tmp_path: Path) -> None:
    space = digits("constraints={clean_accuracy: '>= 0.8'}", "early_stopping.enabled=false")
    controller, record = start(tmp_path, space)
    run_all(controller)
    front = {number for number, _ in controller.front}
    for trial in record.trials():
        clean = trial.values[0]
        assert trial.constraints == pytest.approx({"clean_accuracy >= 0.8": 0.8 - clean})
        assert not (trial.number in front and clean < 0.8)
    table = trials_table(record, space)
    assert (table["violation"] > 0).sum() == (table["clean_accuracy"] < 0.8).sum() > 0
    late = [trial.values[0] for trial in record.trials()[-15:]]
    early = [trial.values[0] for trial in record.trials()[:12]]
    assert sum(clean >= 0.8 for clean in late) / 15 > sum(clean >= 0.8 for clean in early) / 12


def test_constraints_on_settings_need_no_training(tmp_path: Path) -> None:
    space = digits("constraints={epsilon: '<= 3/20', k_robust: '>= 0.1'}", "controls=[]")
    controller, record = start(tmp_path, space)
    run_all(controller)
    for trial in record.trials():
        values = decode(space, trial.params)
        assert values["epsilon"] <= Fraction(3, 20)
        assert values["k_robust"] >= 0.1


def test_an_inactive_setting_violates_nothing(tmp_path: Path) -> None:
    """pgd has no beta; that of ``train`` is above the bound, but is not used."""
    controller, record = start(
        tmp_path, digits("constraints={beta: '<= 3'}", "controls=[]", "early_stopping.enabled=false")
    )
    run_all(controller)
    losses = {decode(controller.space, trial.params)["accuracy_loss"] for trial in record.trials()}
    assert losses == {"trades", "mart", "loat", "pgd"}
    assert all(read_outcome(trial).violation == 0 for trial in record.trials())


@pytest.mark.parametrize(
    ("constraint", "name", "low", "high"),
    [
        ("epsilon: '<= 31/200'", "epsilon", Fraction(1, 50), Fraction(7, 50)),
        ("attack_steps: '>= 3'", "attack_steps", 3, 5),
        ("k_robust: '<= 0.005'", "k_robust", 0, 0.005),
    ],
)
def test_bounds_on_settings_narrow_the_search(constraint: str, name: str, low: Any, high: Any) -> None:
    parameter = next(item for item in digits(f"constraints={{{constraint}}}").parameters if item.name == name)
    assert (parameter.low, parameter.high) == (low, high)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{clean_accuracy: '>= 80'}", "between 0 and 1"),
        ("{k_robust: '>= 0.9'}", "less than two values"),
        ("{epochs: '<= 3'}", r"train\.epochs is 9"),
        ("{clean_acuracy: '>= 0.8'}", "did you mean .?clean_accuracy"),
        ("{clean_accuracy: 0.8}", "'>= number'"),
        ("{clean_accuracy: '> 0.8'}", "'>= number'"),
        ("{clean_accuracy: '>= high'}", "must be a number"),
        ("[clean_accuracy]", "must be a mapping"),
        ("{schedule: '>= 1'}", "numeric setting"),
    ],
)
def test_bad_constraints(text: str, words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        digits(f"constraints={text}")


# --- enqueued configurations


def test_enqueued_configurations_are_added_to_the_budget_and_not_repeated(tmp_path: Path) -> None:
    space = digits(
        "search.start_from=[{epsilon: 1/5, k_robust: 0.2}, {epsilon: 1/10}, {epsilon: 1/5, k_robust: 0.2}]",
        "search.trials=5",
    )
    controller, record = start(tmp_path, space, enqueued=enqueued_configurations(space))
    assert controller.criterion.budget == 8
    run_all(controller)
    plans = [read_plan(trial) for trial in record.trials()]
    assert [plan.origin for plan in plans] == ["control", "enqueued", "enqueued", *["search"] * 5]
    assert decode(space, record.trials()[1].params)["epsilon"] == Fraction(1, 5)
    assert decode(space, record.trials()[1].params)["k_robust"] == 0.2
    again = SearchController.begin(space, record, enqueued_configurations(space))
    assert again.criterion.budget == 8
    assert again.complete


def test_the_front_of_another_run(tmp_path: Path) -> None:
    import pandas as pd

    space = digits()
    names = [parameter.name for parameter in space.parameters]
    run = create_run_folder(tmp_path, "earlier")
    rows = [
        {
            "number": 3,
            "origin": "search",
            "epoch": 9,
            "param_epsilon": 0.2,
            "param_k_robust": 0.25,
            "param_accuracy_loss": "loat",
        },
        {
            "number": 5,
            "origin": "search",
            "epoch": 9,
            "param_epsilon": 0.06,
            "param_attack_steps": 3.0,
            "param_beta": None,
        },
        {
            "number": 6,
            "origin": "search",
            "epoch": 9,
            "param_epsilon": 0.9,
        },  # outside, and nothing else is known
    ]
    run.write_table(run.front, pd.DataFrame(rows, columns=front_columns(names)))
    run.write_json(run.settings, {"format": 1})
    configurations = enqueued_configurations(digits(f"search.start_from={run.path}"))
    assert configurations == (
        {"epsilon": Fraction(1, 5), "k_robust": 0.25, "accuracy_loss": "loat"},
        {"epsilon": Fraction(3, 50), "attack_steps": 3},
    )
    with pytest.raises(RunFolderError, match=r"search\.start_from"):
        enqueued_configurations(digits(f"search.start_from={tmp_path / 'nowhere'}"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[{epsilom: 0.1}]", "did you mean epsilon"),
        ("[{epsilon: 1/3}]", "must lie in the range"),
        ("[{epsilon: high}]", "epsilon"),
        ("[3]", "must be a mapping"),
        ("7", "list of mappings"),
        ("''", "is empty"),
    ],
)
def test_bad_enqueued_configurations(text: str, words: str) -> None:
    with pytest.raises(SpaceError, match=words):
        digits(f"search.start_from={text}")


# --- limits


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_hours_are_summed_over_all_starts(tmp_path: Path) -> None:
    space = digits("search.max_hours=1", "controls=[]", "early_stopping.enabled=false")
    clock = Clock()
    controller, record = start(tmp_path, space, clock=clock)
    first = controller.next()
    assert first is not None
    clock.now += 2400
    run_one(controller, first)
    clock = Clock()
    again = SearchController.begin(space, record, clock=clock)
    assert again.criterion.elapsed == pytest.approx(2400)
    second = again.next()
    assert second is not None
    assert again.report(second.number, [epoch(1, 0.1, 0.1)]) is Decision.CONTINUE
    clock.now += 1300
    assert again.report(second.number, [epoch(2, 0.1, 0.1)]) is Decision.PAUSE
    assert again.next() is None
    assert "max_hours" in again.criterion.limit_reached
    again.pause(second.number)
    assert again.complete
    again.note_time()
    assert SearchController.begin(space, record).complete  # the same limit: no trial is handed out
    assert SearchController.begin(space, record, clock=Clock()).criterion.elapsed == pytest.approx(3700)
    more = SearchController.begin(
        digits("search.max_hours=2", "controls=[]", "early_stopping.enabled=false"), record
    )
    third = more.next()
    assert third is not None
    assert third.number == second.number


def test_gpu_hours_include_running_trials(tmp_path: Path) -> None:
    space = digits("search.max_gpu_hours=0.5", "resources.gpu=0.5", "controls=[]")
    controller, record = start(tmp_path, space)
    first, second = controller.next(), controller.next()
    assert first is not None
    assert second is not None
    assert controller.report(first.number, [epoch(1, 0.1, 0.1, seconds=1800)]) is Decision.CONTINUE
    assert controller.report(second.number, [epoch(1, 0.1, 0.1, seconds=1900)]) is Decision.PAUSE
    assert "max_gpu_hours" in controller.criterion.limit_reached
    controller.pause(first.number)
    controller.pause(second.number)
    controller.note_time()
    again = SearchController.begin(space, record)
    assert again.complete
    assert again.next() is None


def test_a_training_after_its_last_epoch_is_not_paused(tmp_path: Path) -> None:
    clock = Clock()
    controller, _ = start(
        tmp_path, digits("search.max_hours=1", "controls=[]", "early_stopping.enabled=false"), clock=clock
    )
    assignment = controller.next()
    assert assignment is not None
    clock.now += 7200
    assert controller.report(assignment.number, curve(assignment)) is Decision.CONTINUE
    controller.finish(assignment.number, (), "")
    assert len(controller.front) == 1
    assert controller.complete


def test_patience_without_a_least_improvement(tmp_path: Path) -> None:
    controller, _ = start(
        tmp_path,
        digits(
            "search.patience=3", "search.min_improvement=0", "controls=[]", "early_stopping.enabled=false"
        ),
    )
    count = 0
    while (assignment := controller.next()) is not None:
        controller.finish(assignment.number, [epoch(1, 0.5, 0.5)], "")
        count += 1
    assert count == 4


def test_waiting_trials_are_finished_after_the_last_proposal(tmp_path: Path) -> None:
    space = digits("search.patience=3", "controls=[]", "early_stopping.enabled=false")
    controller, record = start(tmp_path, space)
    waiting = controller.next()
    for _ in range(4):
        assignment = controller.next()
        assert assignment is not None
        controller.finish(assignment.number, [epoch(1, 0.5, 0.5)], "")
    assert controller.criterion.limit_reached
    assert not controller.complete
    again = SearchController.begin(space, record)
    assert again.next() == waiting
    assert again.next() is None


def test_patience(tmp_path: Path) -> None:
    space = digits(
        "search.patience=5",
        "search.min_improvement=0.01",
        "controls=[]",
        "early_stopping.enabled=false",
        "search.trials=100",
    )
    controller, record = start(tmp_path, space)
    for index in range(12):
        assignment = controller.next()
        assert assignment is not None
        clean = 0.5 + 0.02 * min(index, 6)
        controller.finish(assignment.number, [epoch(1, clean, 0.5)], "")
        assert (controller.criterion.limit_reached != "") == (index == 11), index
        if controller.criterion.limit_reached:
            break
    assert "0.01 in the last 5" in controller.criterion.limit_reached
    assert controller.next() is None
    assert controller.complete
    assert SearchController.begin(space, record).complete
    longer = digits("search.patience=20", "controls=[]", "early_stopping.enabled=false", "search.trials=100")
    assert SearchController.begin(longer, record).next() is not None
