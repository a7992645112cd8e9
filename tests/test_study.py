"""The study on disk: its rows are those that Optuna itself writes."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from morel_search.errors import RunFolderError
from morel_search.search.outcome import Outcome, read_outcome
from morel_search.search.study import TrialStore
from morel_search.search.trial import TrialPlan, read_plan
from morel_search.training.selection import EpochResult

SPACE = {
    "x": FloatDistribution(1e-3, 10, log=True),
    "n": IntDistribution(1, 9),
    "c": CategoricalDistribution(["a", None, 3]),
}
PLAN = TrialPlan("search", "", 17, True)
WHOLE = Outcome(
    values=(0.1 + 0.2, 1 / 3),
    epoch=2,
    points=((2, 0.1 + 0.2, 1 / 3),),
    violations={"clean_accuracy >= 0.8": 0.5},
    seconds=3.5,
)


def optunas_own(path: Path) -> optuna.Study:
    """The same trials, written through Optuna's public interface."""
    study = optuna.create_study(
        study_name="run", storage=f"sqlite:///{path}", directions=["maximize", "maximize"]
    )
    for params in ({"x": 0.5, "n": 3, "c": None}, {"x": 1e-3, "n": 9, "c": "a"}, {"x": 10.0, "n": 1, "c": 3}):
        study.enqueue_trial(params)
    trials = [study.ask(SPACE) for _ in range(3)]
    trials[0].set_constraint("clean_accuracy >= 0.8", 0.5)
    study.tell(trials[0], WHOLE.values)
    study.tell(trials[1], state=TrialState.PRUNED)
    study.tell(trials[2], state=TrialState.FAIL)
    return study


def own(path: Path) -> optuna.Study:
    record = TrialStore.of_file(path, "run")
    for params in ({"x": 0.5, "n": 3, "c": None}, {"x": 1e-3, "n": 9, "c": "a"}, {"x": 10.0, "n": 1, "c": 3}):
        record.plan(PLAN, params, SPACE, running=True)
    record.finish(0, WHOLE)
    record.finish(1, Outcome(points=((3, 0.5, 0.5),), rung=3, stopped=True))
    record.finish(2, Outcome(failure="diverged in epoch 1"))
    record.close()
    return optuna.load_study(study_name="run", storage=f"sqlite:///{path}")


def test_optuna_reads_the_same_trials(tmp_path: Path) -> None:
    expected, written = optunas_own(tmp_path / "expected.db"), own(tmp_path / "written.db")
    for trial, other in zip(expected.trials, written.trials, strict=True):
        for name in (
            "number",
            "state",
            "values",
            "params",
            "distributions",
            "constraints",
            "intermediate_values",
        ):
            assert getattr(trial, name) == getattr(other, name), name
        assert other.datetime_start is not None
        assert other.datetime_complete is not None
        assert other.datetime_complete >= other.datetime_start
    assert [trial.number for trial in expected.best_trials] == [trial.number for trial in written.best_trials]
    assert read_outcome(written.trials[0]) == WHOLE
    assert read_plan(written.trials[0]) == PLAN


def test_the_same_rows_in_every_table(tmp_path: Path) -> None:
    """All of Optuna's tables, without times, attributes of its sampling, and attributes of this project."""
    optunas_own(tmp_path / "expected.db")
    own(tmp_path / "written.db")
    tables: dict[str, list[Any]] = {}
    for name in ("expected", "written"):
        with sqlite3.connect(tmp_path / f"{name}.db") as connection:
            rows = {
                "trials": connection.execute(
                    "select trial_id, number, study_id, state from trials order by trial_id"
                ).fetchall(),
                "params": connection.execute(
                    "select trial_id, param_name, param_value, distribution_json from trial_params"
                ).fetchall(),
                "values": connection.execute(
                    "select trial_id, objective, value, value_type from trial_values"
                ).fetchall(),
                "constraints": connection.execute(
                    "select trial_id, key, value_json from trial_system_attributes "
                    "where key like 'constraints%'"
                ).fetchall(),
            }
        tables[name] = [sorted(rows[key]) for key in sorted(rows)]
    assert tables["written"] == tables["expected"]


def test_an_outcome_is_stored_as_dataclasses_write_it() -> None:
    history = tuple(
        EpochResult(
            epoch=epoch,
            loss=1 / 3,
            accuracy_loss=0.5,
            robust_loss=0.5,
            cosine_loss=0.5,
            contrastive_loss=0.5,
            lr=0.1,
            train_accuracy=0.5,
            clean_accuracy=None if epoch == 1 else 0.5,
            robust_accuracy=None if epoch == 1 else 0.25,
            seconds=1.5,
            final_robust_accuracy=0.2,
        )
        for epoch in (1, 2)
    )
    outcome = Outcome(history=history, points=((2, 0.5, 0.2),), violations={"seconds <= 1": 0.5}, rung=2)
    assert json.dumps(outcome.to_dict()) == json.dumps(asdict(outcome))


def test_equal_distributions_keep_their_own_text(tmp_path: Path) -> None:
    """``True`` and 1 are equal in Python, but not in the study."""
    record = TrialStore.of_file(tmp_path / "study.db", "run")
    for choice in (True, 1):
        record.plan(PLAN, {"c": choice}, {"c": CategoricalDistribution([choice])}, running=True)
    record.close()
    with sqlite3.connect(tmp_path / "study.db") as connection:
        rows = connection.execute("select distribution_json from trial_params order by trial_id").fetchall()
    assert [json.loads(text)["attributes"]["choices"] for (text,) in rows] == [[True], [1]]


def test_a_study_that_another_program_writes_to_is_refused(tmp_path: Path) -> None:
    record = TrialStore.of_file(tmp_path / "study.db", "run")
    record.plan(PLAN, {"x": 0.5, "n": 3, "c": None}, SPACE, running=True)
    other = optuna.load_study(study_name="run", storage=f"sqlite:///{tmp_path / 'study.db'}")
    other.ask()
    with pytest.raises(RunFolderError, match="another program"):
        record.plan(PLAN, {"x": 0.5, "n": 3, "c": None}, SPACE, running=True)
    other.tell(0, (0.5, 0.5))
    with pytest.raises(RunFolderError, match="another program"):
        record.finish(0, WHOLE)


def test_an_interrupted_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The trial has the same state and attributes as before the write."""
    import morel_search.search.optuna_rows as rows

    record = TrialStore.of_file(tmp_path / "study.db", "run")
    record.plan(PLAN, {"x": 0.5, "n": 3, "c": None}, SPACE, running=True)
    write, calls = rows._write_attributes, []

    def break_off(*arguments: Any) -> None:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(rows, "_write_attributes", break_off)
    with pytest.raises(KeyboardInterrupt):
        record.finish(0, WHOLE)
    monkeypatch.undo()
    trial = record.trials()[0]
    assert trial.state == TrialState.RUNNING
    assert "outcome" not in trial.user_attrs
    record.finish(0, WHOLE)
    assert record.trials()[0].state == TrialState.COMPLETE


def with_attribute(path: Path, table: str, key: str, value: object) -> None:
    """Change one attribute in the database of a study."""
    with sqlite3.connect(path) as connection:
        changed = connection.execute(
            f"update {table} set value_json = ? where key = ?", (json.dumps(value), key)
        ).rowcount
    assert changed


def test_a_study_of_a_newer_format_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    record = TrialStore.of_file(path, "run")
    record.set_identity({"a": 1})
    record.close()
    TrialStore.of_file(path, "run").close()
    with_attribute(path, "study_user_attributes", "format", 2)
    before = path.read_bytes()
    with pytest.raises(RunFolderError, match=r"newer morel_search \(format 2; .* up to 1\)"):
        TrialStore.of_file(path, "run")
    assert path.read_bytes() == before


def test_unknown_fields_are_of_a_newer_version_and_missing_fields_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    own(path)
    plan, outcome = asdict(PLAN), asdict(WHOLE)
    with_attribute(path, "trial_user_attributes", "plan", {**plan, "later": 1})
    with_attribute(path, "trial_user_attributes", "outcome", {**outcome, "later": 1})
    trial = optuna.load_study(study_name="run", storage=f"sqlite:///{path}").trials[0]
    with pytest.raises(RunFolderError, match=r"newer morel_search: .* later"):
        read_plan(trial)
    with pytest.raises(RunFolderError, match=r"newer morel_search: .* later"):
        read_outcome(trial)
    del plan["seed"], outcome["history"]
    with_attribute(path, "trial_user_attributes", "plan", plan)
    with_attribute(path, "trial_user_attributes", "outcome", outcome)
    trial = optuna.load_study(study_name="run", storage=f"sqlite:///{path}").trials[0]
    with pytest.raises(RunFolderError, match="not written by morel_search"):
        read_plan(trial)
    with pytest.raises(RunFolderError, match="not written by morel_search"):
        read_outcome(trial)


def test_a_study_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """Without format number and gradients, with the old names ``seed``, ``spared`` and ``search.point``."""
    path = tmp_path / "study.db"
    own(path)
    record = TrialStore.of_file(path, "run")
    record.set_identity({"search": {"point": "last"}})
    record.close()
    with sqlite3.connect(path) as connection:
        connection.execute("delete from study_user_attributes where key = 'format'")
    losses = dict.fromkeys(("loss", "accuracy_loss", "robust_loss", "cosine_loss", "contrastive_loss"), 1.0)
    scores = {"train_accuracy": 0.5, "clean_accuracy": 0.5, "robust_accuracy": None}
    epoch = {"epoch": 1, **losses, "lr": 0.1, **scores, "seconds": 2.0}
    outcome = {**asdict(WHOLE), "history": [epoch]}
    del outcome["exempt_at"]
    with_attribute(path, "trial_user_attributes", "plan", {**asdict(PLAN), "origin": "seed"})
    with_attribute(path, "trial_user_attributes", "outcome", {**outcome, "spared": 3})
    record = TrialStore.of_file(path, "run")
    assert record.identity() == {"search": {"select_epoch": "last"}}
    assert read_plan(record.trials()[0]).origin == "enqueued"
    assert read_outcome(record.trials()[0]).exempt_at == 3
    assert read_outcome(record.trials()[0]).history == (EpochResult(**epoch),)
    record.close()
    later = {**outcome, "spared": 3, "history": [{**epoch, "later": 1}]}
    with_attribute(path, "trial_user_attributes", "outcome", later)
    with pytest.raises(RunFolderError, match=r"newer morel_search: .* later"):
        read_outcome(TrialStore.of_file(path, "run").trials()[0])


@pytest.mark.parametrize("value", ['{"a": 1', "[1] 2", '"\\z"'])
def test_damaged_content_of_a_study_is_one_sentence(tmp_path: Path, value: str) -> None:
    path = tmp_path / "study.db"
    record = TrialStore.of_file(path, "run")
    record.set_identity({"train": {}})
    record.close()
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE study_user_attributes SET value_json = ?", (value,))
    with pytest.raises(RunFolderError, match=r"the study at .*study\.db cannot be opened: ") as error:
        TrialStore.of_file(path, "run")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("stored", ["5", "[[1, 2, 3]]", "{", '[["a", 1, 0.5, 0.5]]'])
def test_damaged_test_scores_of_a_study_are_one_sentence(tmp_path: Path, stored: str) -> None:
    record = TrialStore.of_file(tmp_path / "study.db", "run")
    record._study.set_user_attr("tested", stored)
    with pytest.raises(RunFolderError, match=r"the study at .*study\.db is damaged: \w+: "):
        record.tested()
