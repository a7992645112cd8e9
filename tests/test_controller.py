"""The search without Ray: its trials, its records, and restarts. A formula replaces the trainings."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from morel_search.config import Space, load_space
from morel_search.errors import RunFolderError
from morel_search.search.controller import SearchController
from morel_search.search.distributions import configuration_key, decode, distributions, encode
from morel_search.search.outcome import outcome_of, read_outcome
from morel_search.search.study import TrialStore
from morel_search.search.trial import Assignment, read_plan
from morel_search.search.warm_start import enqueued_configurations
from morel_search.training.selection import EpochResult
from morel_search.workflows.tables import epochs_table, trials_table

ROOT = Path(__file__).parents[1]


def digits(*overrides: str) -> Space:
    return load_space(ROOT / "search_spaces" / "digits.yaml", overrides)


def epoch(number: int, clean: float | None, robust: float | None) -> EpochResult:
    losses = dict.fromkeys(("loss", "accuracy_loss", "robust_loss", "cosine_loss", "contrastive_loss"), 1.0)
    return EpochResult(
        epoch=number,
        **losses,
        lr=0.1,
        train_accuracy=0.5,
        clean_accuracy=clean,
        robust_accuracy=robust,
        seconds=1.0,
    )


def formula(assignment: Assignment, penalty: float = 0.0) -> list[EpochResult]:
    """A trade-off in epsilon: a larger epsilon lowers the clean accuracy and raises the robust accuracy."""
    strength = min(1.0, float(assignment.train.epsilon) / 0.3)
    clean, robust = 0.99 - 0.2 * strength**2, 0.7 * strength
    return [epoch(1, 0.5, 0.1), epoch(2, clean - penalty, robust - penalty)]


def run_all(controller: SearchController, limit: int = 10**6) -> list[int]:
    numbers = []
    while limit and (assignment := controller.next()) is not None:
        controller.finish(assignment.number, formula(assignment), "")
        numbers.append(assignment.number)
        limit -= 1
    return numbers


def params_of(record: TrialStore) -> list[Mapping[str, Any]]:
    return [trial.params for trial in record.trials()]


def test_controls_first_then_the_budget_and_nothing_is_left_running(tmp_path: Path) -> None:
    space = digits("search.trials=15", "search.population=5")
    record = TrialStore.of_file(tmp_path / "study.db", "run")
    controller = SearchController.begin(space, record)
    assert run_all(controller) == list(range(21))
    assert controller.complete
    assert [read_plan(trial).name for trial in record.trials()[:6]] == [
        "trades",
        "mart",
        "pgd",
        "none",
        "morel",
        "morel_alpha0",
    ]
    assert {trial.state for trial in record.trials()} == {TrialState.COMPLETE}
    table = trials_table(record, space)
    assert list(table["number"]) == list(range(21))
    assert list(table["epoch"]) == [2] * 21
    assert len(epochs_table(record.trials())) == 42


def test_a_search_killed_twice_and_continued_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    space = digits("search.trials=20", "search.population=6", "controls=[]")
    whole = TrialStore.of_file(tmp_path / "whole.db", "run")
    run_all(SearchController.begin(space, whole))
    broken = TrialStore.of_file(tmp_path / "broken.db", "run")
    for limit in (4, 9):
        controller = SearchController.begin(space, broken)
        run_all(controller, limit)
        controller.next()  # RUNNING in the study when the driver is killed
    run_all(SearchController.begin(space, broken))
    assert params_of(broken) == params_of(whole)
    assert [trial.values for trial in broken.trials()] == [trial.values for trial in whole.trials()]


def test_a_trial_of_a_killed_start_is_handed_out_again_with_its_number_and_values(tmp_path: Path) -> None:
    space = digits("search.trials=3", "controls=[]", "search.population=2")
    record = TrialStore.of_file(tmp_path / "study.db", "run")
    first = SearchController.begin(space, record).next()
    assert record.trials()[0].state == TrialState.RUNNING
    again = SearchController.begin(space, record)
    assert again.next() == first
    assert first is not None
    assert first.number == 0


def content(path: Path) -> list[str]:
    """All rows of a database."""
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_constructing_a_controller_writes_nothing_to_the_study(tmp_path: Path) -> None:
    space = digits("search.trials=3", "search.population=2", "search.start_from=[{epsilon: 1/5}]")
    path = tmp_path / "study.db"
    record = TrialStore.of_file(path, "run")
    before = content(path)
    assert SearchController(space, record).planned == 0
    assert content(path) == before
    running = SearchController.begin(space, record, enqueued_configurations(space)).next()
    assert running is not None
    before = content(path)
    controller = SearchController(space, record)
    assert (controller.planned, controller.finished, controller.criterion.budget) == (7, 0, 10)
    assert content(path) == before  # the running trial is still RUNNING
    assert record.trials()[0].state == TrialState.RUNNING
    assert controller.next() == running  # and is handed out first


def test_failures_in_a_row_end_the_search_with_a_reason(tmp_path: Path) -> None:
    space = digits("search.trials=50", "search.max_failures=3", "controls=[]")
    record = TrialStore.of_file(tmp_path / "study.db", "run")
    controller = SearchController.begin(space, record)
    for _ in range(3):
        assignment = controller.next()
        assert assignment is not None
        controller.finish(assignment.number, [], "out of memory: 12 GiB")
    assert controller.next() is None
    assert (
        controller.criterion.too_many_failures
        == "3 trials in a row failed, the last one with: out of memory: 12 GiB"
    )
    assert [trial.state for trial in record.trials()] == [TrialState.FAIL] * 3
    assert read_outcome(record.trials()[0]).failure == "out of memory: 12 GiB"


def test_more_trials_can_be_given_to_a_finished_search(tmp_path: Path) -> None:
    record = TrialStore.of_file(tmp_path / "study.db", "run")
    run_all(SearchController.begin(digits("search.trials=2", "search.population=2"), record))
    controller = SearchController.begin(digits("search.trials=4", "search.population=2"), record)
    assert run_all(controller) == [8, 9]
    assert controller.complete


def test_no_two_trials_of_a_search_are_the_same_unless_called_replicates(tmp_path: Path) -> None:
    space = digits("search.trials=60", "search.population=4", "search.children=8", "controls=[]")
    record = TrialStore.of_file(tmp_path / "study.db", "run")
    run_all(SearchController.begin(space, record))
    seen = [
        configuration_key(space, decode(space, trial.params))
        for trial in record.trials()
        if read_plan(trial).origin == "search"
    ]
    assert len(seen) == len(set(seen))
    assert len(seen) > 50


def test_configurations_that_failed_before_a_restart_are_not_proposed_again(tmp_path: Path) -> None:
    file = tmp_path / "small.yaml"
    file.write_text(
        "data: {name: digits}\nnetwork: {name: small_cnn}\nparameters:\n  attack_steps: {type: int, low: "
        "1, high: 20}\n"
        "search: {trials: 20, population: 2, max_failures: 100}\ncontrols: []\n"
    )
    space = load_space(file)
    record = TrialStore.of_file(tmp_path / "study.db", "run")
    for _ in range(10):  # ten starts, two failures each
        controller = SearchController.begin(space, record)
        for assignment in (controller.next(), controller.next()):
            assert assignment is not None
            controller.finish(assignment.number, [], "out of memory")
    assert (
        len(
            {trial.params["attack_steps"] for trial in record.trials() if read_plan(trial).origin == "search"}
        )
        == 20
    )


def test_a_start_that_is_interrupted_while_it_plans_the_controls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = digits("search.trials=2", "search.population=2")
    record = TrialStore.of_file(tmp_path / "study.db", "run")
    write, written = record.plan, []

    def stop_after_two(*arguments: Any, **named: Any) -> int:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(write(*arguments, **named))
        return written[-1]

    monkeypatch.setattr(record, "plan", stop_after_two)
    with pytest.raises(KeyboardInterrupt):
        SearchController.begin(space, record)
    monkeypatch.undo()
    run_all(SearchController.begin(space, record))
    assert [read_plan(trial).name for trial in record.trials()] == [
        "trades",
        "mart",
        "pgd",
        "none",
        "morel",
        "morel_alpha0",
        "",
        "",
    ]


def test_a_full_disk_is_reported_in_one_sentence(tmp_path: Path) -> None:
    """SQLite's limit on the size of a file replaces the disk: its error is the same, SQLITE_FULL."""
    space = digits("search.trials=400", "controls=[]")
    record = TrialStore.of_file(tmp_path / "study.db", "run")
    controller = SearchController.begin(space, record)
    with record._storage.engine.connect() as connection:
        pages = connection.exec_driver_sql("pragma page_count").scalar_one()

    from sqlalchemy import event

    @event.listens_for(record._storage.engine, "begin")
    def limit(connection: Any) -> None:
        connection.exec_driver_sql(f"pragma max_page_count = {pages + 4}")

    with pytest.raises(RunFolderError, match=r"the study cannot be written: .*full"):
        run_all(controller)


@pytest.mark.parametrize(
    "sampler", ["nsga2", "nsga3", "tpe", "random", pytest.param("gp", marks=pytest.mark.slow)]
)
def test_every_sampler_searches_and_continues(tmp_path: Path, sampler: str) -> None:
    space = digits("search.trials=14", "search.population=4", f"search.sampler={sampler}")
    whole = TrialStore.of_file(tmp_path / "whole.db", "run")
    run_all(SearchController.begin(space, whole))
    broken = TrialStore.of_file(tmp_path / "broken.db", "run")
    run_all(SearchController.begin(space, broken), 12)
    run_all(SearchController.begin(space, broken))
    assert params_of(broken) == params_of(whole)


def test_a_space_of_two_points_gives_replicates_with_seeds_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "two.yaml"
    file.write_text(
        "data: {name: digits}\nnetwork: {name: small_cnn}\nparameters:\n  accuracy_loss: {type: "
        "categorical, choices: [trades, mart]}\n"
        "search: {trials: 5, population: 2}\ncontrols: []\n"
    )
    record = TrialStore.of_file(tmp_path / "study.db", "run")
    run_all(SearchController.begin(load_space(file), record))
    plans = [read_plan(trial) for trial in record.trials()]
    assert sorted(plan.origin for plan in plans) == ["replicate"] * 3 + ["search"] * 2
    assert len({plan.seed for plan in plans}) == 5


def test_nsga2_moves_towards_the_front(tmp_path: Path) -> None:
    """The optimum of k_robust is 0.2; late trials are closer to it than early ones."""
    space = digits("search.trials=80", "search.population=10", "search.children=8", "controls=[]")
    record = TrialStore.of_file(tmp_path / "study.db", "run")
    controller = SearchController.begin(space, record)
    distances = []
    while (assignment := controller.next()) is not None:
        distance = abs(assignment.train.k_robust - 0.2)  # a second parameter, with its optimum at 0.2
        controller.finish(assignment.number, formula(assignment, penalty=0.3 * distance), "")
        distances.append(distance)
    assert sum(distances[-20:]) / 20 < 0.5 * sum(distances[:10]) / 10


@pytest.mark.parametrize(("point", "epoch_number"), [("last", 3), ("best_robust", 2), ("best_sum", 1)])
def test_the_selected_epoch(point: str, epoch_number: int) -> None:
    history = [epoch(1, 0.9, 0.50), epoch(2, 0.7, 0.55), epoch(3, 0.8, 0.30)]
    outcome = outcome_of(history, "", point)
    assert outcome.epoch == epoch_number
    assert outcome.last_values == (0.8, 0.30)


@pytest.mark.parametrize(
    "history", [[], [epoch(1, None, None)], [epoch(1, float("nan"), 0.5)], [epoch(1, 0.5, float("inf"))]]
)
def test_a_training_without_finite_accuracies_is_a_failure_with_a_reason(history: list[EpochResult]) -> None:
    outcome = outcome_of(history, "", "last")
    assert outcome.values is None
    assert outcome.failure


def test_values_are_the_same_after_encoding_and_decoding(tmp_path: Path) -> None:
    space = digits()
    values = {
        "accuracy_loss": "loat",
        "beta": 3.5,
        "loat_theta": 0.5,
        "k_robust": 0.25,
        "alpha": 0.125,
        "temperature": 0.5,
        "epsilon": Fraction(7, 50),
        "attack_steps": 3,
        "step_ratio": 2.0,
    }
    settings = space.trial_settings(values)
    params = encode(space, settings)
    assert params is not None
    assert decode(space, params) == values
    assert set(params) == set(distributions(space))


def test_a_configuration_outside_the_space_is_not_encoded() -> None:
    space = digits()
    control = next(control for control in space.controls if control.name == "none")
    assert encode(space, space.control_trial(control)) is None
