"""The exported study: Optuna's own functions read the numbers of the tables from it."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import warnings
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from optuna.visualization import (
    plot_intermediate_values,
    plot_parallel_coordinate,
    plot_param_importances,
    plot_pareto_front,
    plot_slice,
)
from run_folders import CONTROLS, POINT, make_run
from sqlalchemy import event
from verified_runs import verified_run

from morel_search.__main__ import main
from morel_search.analysis import optuna_study
from morel_search.analysis.optuna_bulk import insert_trials
from morel_search.analysis.optuna_study import SEARCHED, write_optuna_file
from morel_search.analysis.run_data import read_run_data
from morel_search.analysis.verification_reader import read_verification
from morel_search.errors import RunFolderError
from morel_search.results.folder import RunFolder, open_run_folder

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def no_noise() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run with controls outside the space, inactive parameters, stopped, failed and infeasible trials."""
    folder = tmp_path_factory.mktemp("exported")
    made = make_run(
        folder, trials=24, pruned=4, failures=2, rungs=(2, 4), constraints={"robust_accuracy": ">= 3/10"}
    )
    write_optuna_file(read_run_data(made), None, folder / "out.db", replace=False)
    return made


def rows_of(path: Path) -> dict[str, list[tuple[object, ...]]]:
    """The content of every table of a database, without the ids of rows."""
    with closing(sqlite3.connect(path)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        content = {}
        for name in names:
            table = pd.read_sql_query(f"SELECT * FROM {name}", database)
            key = [column for column in table if column.endswith("_id") and column not in KEYS]
            content[name] = sorted(map(tuple, table.drop(columns=key).astype(object).to_numpy()), key=repr)
    return content


KEYS = ("study_id", "trial_id")


def test_the_rows_are_those_that_optuna_writes(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Optuna's own ``add_trial`` is the truth: states, times, parameters, values, epochs and attributes."""

    def slowly(storage: RDBStorage, name: str, trials: list[optuna.trial.FrozenTrial]) -> None:
        study = optuna.load_study(study_name=name, storage=storage)
        study.add_trials(trials)

    monkeypatch.setattr(optuna_study, "insert_trials", slowly)
    write_optuna_file(read_run_data(run), None, tmp_path / "slow.db", replace=False)
    expected, fast = rows_of(tmp_path / "slow.db"), rows_of(run.path.parent / "out.db")
    assert expected.keys() == fast.keys()
    for name, rows in expected.items():
        assert fast[name] == rows, name
    assert all(expected[name] for name in ("trial_intermediate_values", "trial_system_attributes"))


def test_the_number_of_statements_does_not_grow_with_the_trials(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []
    for repeated in (1, 5):
        statements: list[str] = []
        storage = RDBStorage(f"sqlite:///{tmp_path / f'{repeated}.db'}")
        optuna.create_study(study_name="s", storage=storage, directions=["maximize"] * 2)
        event.listen(storage.engine, "before_cursor_execute", lambda *given: statements.append(given[2]))
        insert_trials(storage, "s", load(run).trials * repeated)
        counts.append(sum(statement.startswith("INSERT") for statement in statements))
        storage.engine.dispose()
    assert counts[0] == counts[1] <= 6


def load(run: RunFolder, *, searched: bool = False) -> optuna.Study:
    name = f"{run.name}: {SEARCHED}" if searched else run.name
    return optuna.load_study(study_name=name, storage=f"sqlite:///{run.path.parent / 'out.db'}")


def test_every_trial_has_its_number_state_values_and_parameters(run: RunFolder) -> None:
    table, epochs, study = run.read_trials(), run.read_epochs(), load(run)
    assert [trial.number for trial in study.trials] == table["number"].tolist()
    assert [direction.name for direction in study.directions] == ["MAXIMIZE"] * 2
    for row, trial in zip(table.to_dict("records"), study.trials, strict=True):
        assert trial.state.name == row["state"]
        if row["state"] == "COMPLETE":
            assert trial.values == [row[column] for column in POINT]
        else:
            assert trial.values is None
        expected = {
            str(column).removeprefix("param_"): value
            for column, value in row.items()
            if str(column).startswith("param_") and not pd.isna(value) and value != ""
        }
        shown = {**trial.params, **trial.user_attrs.get("outside_log_scale", {})}
        assert shown == expected, "active parameters in real units, and no other"
        assert trial.user_attrs.get("failure", "") == row["failure"]
        assert trial.user_attrs["origin"] == row["origin"]
        assert trial.duration is not None
        assert trial.duration.total_seconds() == pytest.approx(row["seconds"], abs=1e-5)
        own = epochs[epochs["number"] == row["number"]]
        assert trial.intermediate_values == dict(zip(own["epoch"], own["robust_accuracy"], strict=True))


def test_controls_have_parameters_and_only_a_log_scale_cannot_hold_zero(run: RunFolder) -> None:
    trials = {trial.user_attrs["name"]: trial for trial in load(run).trials if "name" in trial.user_attrs}
    assert set(trials) == set(CONTROLS)
    for name, expected in CONTROLS.items():
        outside = {
            key: value for key, value in expected.items() if value == 0 and key in ("k_robust", "alpha")
        }
        assert trials[name].user_attrs.get("outside_log_scale", {}) == outside
        assert trials[name].params == {key: value for key, value in expected.items() if key not in outside}
    epsilon = trials["none"].distributions["epsilon"]
    assert (epsilon.low, epsilon.high) == (0.0, 0.3), "wide enough for every control"
    assert trials["none"].distributions["accuracy_loss"].choices == ("trades", "mart", "loat", "pgd", "none")


def test_the_study_of_the_searched_trials_has_the_ranges_of_the_space(run: RunFolder) -> None:
    study, table = load(run, searched=True), run.read_trials()
    searched = table[table["origin"] == "search"]
    assert len(study.trials) == len(table), "a trial has its number in both studies"
    for trial in study.trials[: len(CONTROLS)]:
        assert (trial.state, trial.params) == (TrialState.FAIL, {})
        assert trial.user_attrs["left_out"].startswith("control ")
    shown = study.trials[len(CONTROLS) :]
    assert [trial.user_attrs["seed"] for trial in shown] == searched["seed"].tolist()
    distribution = shown[0].distributions
    assert (distribution["epsilon"].low, distribution["epsilon"].high) == (0.01, 0.3)
    assert (distribution["k_robust"].low, distribution["k_robust"].log) == (0.01, True)
    assert distribution["accuracy_loss"].choices == ("trades", "mart", "loat", "pgd")


def test_optuna_s_front_is_that_of_the_run(run: RunFolder) -> None:
    study, front = load(run), run.read_front()
    assert len(read_run_data(run).infeasible) > 0
    assert {trial.number for trial in study.best_trials} == set(front["number"])
    infeasible, dominated, best = plot_pareto_front(study).data
    assert sorted(zip(best.x, best.y, strict=True)) == sorted(front[POINT].itertuples(index=False, name=None))
    assert len(infeasible.x) == len(read_run_data(run).infeasible)
    assert (
        len(infeasible.x) + len(dominated.x) + len(best.x) == (run.read_trials()["state"] == "COMPLETE").sum()
    )


def test_optuna_s_slices_and_coordinates_have_real_units(run: RunFolder) -> None:
    study, table = load(run, searched=True), run.read_trials()
    rows = table[(table["origin"] == "search") & (table["state"] == "COMPLETE")]
    figure = plot_slice(study, params=["epsilon", "beta"], target=lambda trial: trial.values[1])
    for name, axis in (("beta", "x"), ("epsilon", "x2")):
        active = rows[rows[f"param_{name}"].notna()]
        shown = [trace for trace in figure.data if trace.xaxis == axis]
        points = [point for trace in shown for point in zip(trace.x, trace.y, strict=True)]
        assert sorted(points) == sorted(
            active[[f"param_{name}", "robust_accuracy"]].itertuples(index=False, name=None)
        )
    figure = plot_parallel_coordinate(
        study, params=["epsilon", "k_robust"], target=lambda trial: trial.values[0]
    )
    # Optuna draws each trial as a line of heights from 0 to 1: the objective, then the parameters.
    lines = np.array([trace.y for trace in figure.data if trace.mode == "lines" and trace.x == (0, 1, 2)])
    expected = [rows["clean_accuracy"], rows["param_epsilon"], np.log10(rows["param_k_robust"])]
    for heights, values in zip(lines.T, expected, strict=True):
        assert np.corrcoef(np.sort(heights), np.sort(values))[0, 1] > 1 - 1e-9


def test_optuna_s_importance_is_that_of_the_tables(run: RunFolder) -> None:
    """The same numbers as for a study that is made from the table by hand."""
    table = run.read_trials()
    rows = table[(table["origin"] == "search") & (table["state"] == "COMPLETE")]
    plain = optuna.create_study()
    for _, row in rows.iterrows():
        params = {"epsilon": row["param_epsilon"], "attack_steps": int(row["param_attack_steps"])}
        ranges = {
            "epsilon": optuna.distributions.FloatDistribution(0.01, 0.3),
            "attack_steps": optuna.distributions.IntDistribution(1, 10),
        }
        trial = optuna.trial.create_trial(value=-row["robust_accuracy"], params=params, distributions=ranges)
        plain.add_trial(trial)
    figure = plot_param_importances(
        load(run, searched=True), params=["epsilon", "attack_steps"], target=lambda trial: -trial.values[1]
    )
    expected = optuna.importance.get_param_importances(plain, params=["epsilon", "attack_steps"])
    assert dict(zip(figure.data[0].y, figure.data[0].x, strict=True)) == pytest.approx(expected)
    every = optuna.importance.get_param_importances(load(run, searched=True))
    assert set(every) == {parameter.name for parameter in read_run_data(run).parameters}


def test_optuna_draws_the_epochs_of_every_trial(run: RunFolder) -> None:
    figure = plot_intermediate_values(load(run))
    assert len(figure.data) == (run.read_trials()["state"] != "FAIL").sum()


def test_the_grid_of_the_example_is_in_real_units(tmp_path: Path) -> None:
    example = open_run_folder(ROOT / "results" / "example")
    data = read_run_data(example)
    write_optuna_file(data, read_verification(data), tmp_path / "out.db", replace=False)
    study = optuna.load_study(study_name="example", storage=f"sqlite:///{tmp_path / 'out.db'}")
    shown = [trial.params["epsilon"] for trial in study.trials if "epsilon" in trial.params]
    assert len(shown) == data.trials["param_epsilon"].notna().sum()
    assert shown == data.trials["param_epsilon"].dropna().tolist()
    assert max(shown) <= 0.3
    verified = example.read_verified().set_index("number")
    known = {trial.number: trial.user_attrs for trial in study.trials if "verdict" in trial.user_attrs}
    assert set(known) == set(verified.index[verified["images"] > 0])
    for number, attributes in known.items():
        assert attributes["verdict"] == verified["verdict"][number]
        assert attributes["verified_robust_low"] == verified["robust_low"][number]


def test_a_running_search_keeps_the_numbers(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=6, failures=0, controls=False, status="running")
    run.write_table(run.trials, run.read_trials().query("number not in [1, 4]"))
    write_optuna_file(read_run_data(run), None, tmp_path / "out.db", replace=False)
    states = [trial.state.name for trial in load(run).trials]
    assert states == ["COMPLETE", "RUNNING", "COMPLETE", "COMPLETE", "RUNNING", "COMPLETE"]


def test_choices_keep_their_types_and_whole_numbers_their_grid(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=4, failures=0, controls=False)
    settings = json.loads(run.settings.read_text(encoding="utf-8"))
    settings["space"]["parameters"] += [
        {"name": "width", "type": "categorical", "choices": [16, 32]},
        {"name": "flag", "type": "categorical", "choices": [True, None]},
        {"name": "size", "type": "int", "low": 8, "high": 64, "step": 8},
    ]
    run.write_json(run.settings, settings)
    table = run.read_trials()
    table["param_width"], table["param_size"] = [16, 32, np.nan, 16], [8, 64, 16, 24]
    table["param_flag"] = ["True", "None", "True", ""]
    run.write_table(run.trials, table)
    write_optuna_file(read_run_data(run), None, tmp_path / "out.db", replace=False)
    trials = load(run).trials
    assert [trial.params.get("width") for trial in trials] == [16, 32, None, 16]
    assert [trial.params.get("flag") for trial in trials] == [True, "None", True, None]
    assert [trial.params["size"] for trial in trials] == [8, 64, 16, 24]
    assert trials[0].distributions["size"].step == 8


def test_an_export_is_replaced_on_demand_and_nothing_else_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path, trials=2, failures=0, controls=False)
    assert main(["export", str(run.path)]) == 0
    assert capsys.readouterr().out.strip() == str(run.path / "optuna.db")
    assert main(["export", str(run.path)]) == 2
    assert "--replace writes it again" in capsys.readouterr().err
    assert main(["export", str(run.path), "--replace"]) == 0
    study = sqlite3.connect(run.study)
    study.execute("CREATE TABLE trials (number)")
    study.close()
    before = run.study.read_bytes()
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    for path in (run.study, tmp_path / "notes.txt"):
        assert main(["export", str(run.path), "--optuna", str(path), "--replace"]) == 2
        assert "is not an export" in capsys.readouterr().err
    assert run.study.read_bytes() == before
    assert {path.name for path in run.path.glob("*optuna*")} == {"optuna.db"}


@pytest.mark.parametrize(
    ("column", "value", "sentence"),
    [
        ("number", 10**12, "it has 4 trials, and one has the number 1000000000000"),
        ("state", "RUNNING", "a state must be COMPLETE, PRUNED, FAIL, got 'RUNNING'"),
        ("state", "x", "a state must be COMPLETE, PRUNED, FAIL, got 'x'"),
    ],
)
def test_a_damaged_table_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str, value: object, sentence: str
) -> None:
    run = make_run(tmp_path, trials=4, failures=0, controls=False)
    table = run.read_trials()
    table.loc[3, column] = value
    run.write_table(run.trials, table)
    assert main(["export", str(run.path)]) == 2
    assert sentence in capsys.readouterr().err
    assert not (run.path / "optuna.db").exists()


def test_a_duration_beyond_the_calendar_is_left_out(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=4, failures=0, controls=False)
    run.write_table(run.trials, run.read_trials().assign(seconds=[1.0, 1e300, 2.0, 1e15]))
    write_optuna_file(read_run_data(run), None, tmp_path / "out.db", replace=False)
    durations = [trial.duration for trial in load(run).trials]
    assert [duration.total_seconds() for duration in durations if duration] == [1, 2]


def test_the_place_of_the_search_s_own_store_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path, trials=4, failures=0, controls=False)
    run.study.unlink(missing_ok=True)
    assert main(["export", str(run.path), "--optuna", str(run.study)]) == 2
    assert "is the place of the search's own store" in capsys.readouterr().err
    assert not run.study.exists()


def test_an_empty_run_is_an_empty_study(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=0, controls=False)
    write_optuna_file(read_run_data(run), None, tmp_path / "out.db", replace=False)
    assert load(run).trials == []


def test_odd_paths_and_no_torch_and_ray(tmp_path: Path) -> None:
    run, _ = verified_run(tmp_path)
    path = tmp_path / "a?b#%41 ü.db"
    code = (
        "import sys; from morel_search.export import main; "
        f"code = main([{str(run.path)!r}, '--optuna', {str(path)!r}]); "
        "print('loaded:', sorted({'torch', 'ray'} & set(sys.modules))); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded: []\n")
    assert path.read_bytes().startswith(b"SQLite format 3")
    with pytest.raises(RunFolderError, match="cannot write"):
        write_optuna_file(read_run_data(run), None, tmp_path / "absent" / "out.db", replace=False)
