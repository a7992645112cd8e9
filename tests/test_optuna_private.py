"""The private parts of Optuna: fails first, and says which part, when a release of Optuna changes one."""

from __future__ import annotations

import ast
import inspect
import sqlite3
from pathlib import Path

import optuna
import pytest
from optuna.samplers import NSGAIIISampler, NSGAIISampler

from morel_search.errors import RunFolderError
from morel_search.search import optuna_private as private
from morel_search.search.study import TrialStore

ROOT = Path(__file__).parents[1]
OWNER = ROOT / "morel_search" / "search" / "optuna_private.py"
NAMES = {
    "_SearchSpaceTransform",
    "_child_generation_strategy",
    "_elite_population_selection_strategy",
    "_population_size",
    "_search_space",
    "_storage",
    "_study_id",
    "_trial_id",
}

COLUMNS = {
    "TRIALS": {"trial_id", "number", "study_id", "state", "datetime_start", "datetime_complete"},
    "PARAMS": {"param_id", "trial_id", "param_name", "param_value", "distribution_json"},
    "VALUES": {"trial_value_id", "trial_id", "objective", "value", "value_type"},
    "USER_ATTRIBUTES": {"trial_user_attribute_id", "trial_id", "key", "value_json"},
    "SYSTEM_ATTRIBUTES": {"trial_system_attribute_id", "trial_id", "key", "value_json"},
}


@pytest.mark.parametrize("name", COLUMNS)
def test_the_tables_have_the_columns_that_are_written(name: str) -> None:
    assert set(getattr(private, name).columns.keys()) == COLUMNS[name]


def test_the_schema_is_the_one_that_the_rows_were_written_for(tmp_path: Path) -> None:
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'study.db'}")
    assert storage.get_current_version() == storage.get_head_version()
    assert optuna.__version__.startswith("5.0."), (
        "the pin of optuna has moved: run these tests, then move this line"
    )


def test_ids_and_storage_of_a_study() -> None:
    study = optuna.create_study(directions=["maximize", "maximize"])
    study.add_trial(optuna.create_trial(values=[0.5, 0.5]))
    (trial,) = study.trials
    assert private.storage_of(study).get_trial(private.trial_id_of(trial)).number == trial.number
    assert private.storage_of(study).get_study_name_from_id(private.study_id_of(study)) == study.study_name


def test_the_unit_cube() -> None:
    space = {
        "x": optuna.distributions.FloatDistribution(1e-2, 1e2, log=True),
        "n": optuna.distributions.IntDistribution(1, 5),
        "c": optuna.distributions.CategoricalDistribution(["a", "b", "c"]),
    }
    cube = private.UnitCube(space)
    middle = cube.transform({"x": 1.0, "n": 3, "c": "b"})
    assert middle.tolist() == pytest.approx([0.5, 0.5, 0, 1, 0])
    assert cube.untransform(middle) == {"x": pytest.approx(1.0), "n": 3, "c": "b"}


def test_constraints_are_stored_as_optuna_stores_them() -> None:
    study = optuna.create_study(directions=["maximize", "maximize"])
    trial = study.ask()
    trial.set_constraint("clean_accuracy >= 4/5", 0.25)
    (stored,) = study.trials
    expected = private.constraint_attributes({"clean_accuracy >= 4/5": 0.25})
    assert {key: value for key, value in stored.system_attrs.items() if key in expected} == expected


@pytest.mark.parametrize("kind", [NSGAIISampler, NSGAIIISampler])
def test_the_strategies_of_the_genetic_samplers(kind: type) -> None:
    sampler = kind(population_size=4, seed=0)
    study = optuna.create_study(directions=["maximize", "maximize"], sampler=sampler)
    space = {"x": optuna.distributions.FloatDistribution(0, 1)}
    for index in range(8):
        values = [index / 8, 1 - index / 8]
        study.add_trial(optuna.create_trial(values=values, params={"x": index / 8}, distributions=space))
    assert private.inferred_space(sampler, study) == space
    parents = private.elite_of(sampler, study, study.trials, 4)
    assert len(parents) == 4
    child = private.child_of(sampler, study, space, parents)
    assert set(child) <= {"x"}
    strategy = sampler._child_generation_strategy
    assert list(inspect.signature(strategy).parameters) == ["study", "search_space", "parent_population"]


def test_no_other_module_uses_a_private_part_of_optuna() -> None:
    for path in (ROOT / "morel_search").rglob("*.py"):
        if path == OWNER:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            place = f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "optuna":
                parts = [*(node.module or "").split("."), *(alias.name for alias in node.names)]
                assert not any(part.startswith("_") for part in parts), place
            if isinstance(node, ast.Attribute) and node.attr in NAMES:
                own = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
                assert own, f"{place} uses {node.attr}"


def with_revision(path: Path, revision: str) -> bytes:
    """Change the schema revision of a study's file; return the file's bytes."""
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.close()
    return path.read_bytes()


def test_a_study_of_a_newer_optuna_is_refused_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    TrialStore.of_file(path, "run").close()
    before = with_revision(path, "v9.0.0.a")
    with pytest.raises(RunFolderError, match=r"schema v9\.0\.0\.a.*install optuna .* or newer"):
        TrialStore.of_file(path, "run")
    assert path.read_bytes() == before


def test_a_study_of_an_older_optuna_is_refused_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "study.db"
    store = optuna.storages.RDBStorage(f"sqlite:///{path}")
    older = next(version for version in store.get_all_versions() if version != store.get_head_version())
    store.engine.dispose()
    before = with_revision(path, older)
    with pytest.raises(RunFolderError, match="optuna storage upgrade --storage sqlite:///"):
        TrialStore.of_file(path, "run")
    assert path.read_bytes() == before


def test_a_study_of_this_optuna_opens_again(tmp_path: Path) -> None:
    TrialStore.of_file(tmp_path / "study.db", "run").close()
    TrialStore.of_file(tmp_path / "study.db", "run").close()
