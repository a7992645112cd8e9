"""A password in the URL of a database is shown nowhere: messages, files for display, the report."""

from __future__ import annotations

import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

import optuna
import pytest
from run_folders import make_run, make_space
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError

from morel_search._format import without_passwords
from morel_search.analysis.report.page import write_report
from morel_search.errors import RunFolderError
from morel_search.search import optuna_private
from morel_search.search.study import TrialStore
from morel_search.training.compute_settings import FLOAT32
from morel_search.workflows.preflight import PreflightResult
from morel_search.workflows.run_settings import new_settings

URL = "postgresql://user:secret@host/study"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (URL, "postgresql://user:***@host/study"),
        (f"cannot open {URL}: no route", "cannot open postgresql://user:***@host/study: no route"),
        ("mysql+pymysql://user:se/cr:et@host:3306/a", "mysql+pymysql://user:***@host:3306/a"),
        ("postgresql://user:sec@ret@host/a", "postgresql://user:***@host/a"),
        ("redis://:secret@host", "redis://:***@host"),
        ("mysql://host/a?user=me&password=secret&ssl=on", "mysql://host/a?user=me&password=***&ssl=on"),
        ("s3://b/p?access_key=AK&secret_key=sk&region=x", "s3://b/p?access_key=***&secret_key=***&region=x"),
        ("https://h/a?X-Amz-Signature=ab&token=t&sort_keys=1", "https://h/a?X-Amz-Signature=***&token=***&sort_keys=1"),
        ("https://h/a?sslpassword=x&API_KEY=y&key=z&monkey=1", "https://h/a?sslpassword=***&API_KEY=***&key=***&monkey=1"),
        ("two: a://b:secret@c and d://e:secret@f", "two: a://b:***@c and d://e:***@f"),
        ("postgresql://user@host:5432/study", "postgresql://user@host:5432/study"),
        ("sqlite:////home/a:b/study.db", "sqlite:////home/a:b/study.db"),
        ("ray://host:10001", "ray://host:10001"),
        ("train.lr=0.1 a@b 3:4@5", "train.lr=0.1 a@b 3:4@5"),
        ("", ""),
    ],
)  # fmt: skip
def test_only_passwords_are_masked(text: str, shown: str) -> None:
    assert without_passwords(text) == shown
    assert without_passwords(shown) == shown


def test_a_study_that_cannot_be_opened() -> None:
    """SQLite refuses a URL with a host, and its message repeats the URL."""
    with pytest.raises(RunFolderError) as refused:
        TrialStore("sqlite://user:secret@host/study.db", "run")
    assert "sqlite://user:***@host/study.db" in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the URL with the password lead to an SQLite file."""
    path = tmp_path / "study.db"
    TrialStore.of_file(path, "run").close()
    storage = optuna.storages.RDBStorage
    monkeypatch.setattr(
        "morel_search.search.study.RDBStorage", lambda url, **more: storage(f"sqlite:///{path}", **more)
    )
    monkeypatch.setattr(optuna_private, "create_engine", lambda url: create_engine(f"sqlite:///{path}"))
    return path


def test_a_study_of_an_older_optuna(database: Path) -> None:
    storage = optuna.storages.RDBStorage(f"sqlite:///{database}")
    older = next(version for version in storage.get_all_versions() if version != storage.get_head_version())
    storage.engine.dispose()
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (older,))
    connection.close()
    with pytest.raises(
        RunFolderError, match=r"optuna storage upgrade --storage postgresql://user:\*\*\*@"
    ) as refused:
        TrialStore(URL, "run")
    assert "secret" not in str(refused.value)


def test_a_study_of_a_newer_morel_search_or_with_other_objectives(database: Path) -> None:
    study = optuna.load_study(study_name="run", storage=f"sqlite:///{database}")
    study.set_user_attr("format", 99)
    optuna.create_study(study_name="single", storage=f"sqlite:///{database}")
    for name in ("run", "single"):
        with pytest.raises(RunFolderError) as refused:
            TrialStore(URL, name)
        assert "postgresql://user:***@host/study" in str(refused.value)
        assert "secret" not in str(refused.value)


def test_a_study_that_cannot_be_written(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = TrialStore(URL, "run")

    def fail(*arguments: Any) -> None:
        raise OperationalError("INSERT", {}, Exception(f"connection to {URL} was lost"))

    monkeypatch.setattr(optuna.Study, "set_user_attr", fail)
    with pytest.raises(RunFolderError) as failed:
        record.set_identity({})
    assert str(failed.value).endswith("connection to postgresql://user:***@host/study was lost")


def test_the_command_in_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["run", "--space", "digits.yaml", f"--set=x={URL}"])
    settings = new_settings("made", make_space(), PreflightResult(1437, 360, (1, 8, 8), 10, 1000, FLOAT32))
    assert settings.command[-1] == "--set=x=postgresql://user:***@host/study"


def test_the_report_of_a_folder_of_an_earlier_version(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=20)
    settings = json.loads(run.settings.read_text(encoding="utf-8"))
    settings["command"] = ["python", "-m", "morel_search.run", "--set", f"data.train={URL}"]
    settings["overrides"] = [f"data.train={URL}"]
    settings["space"]["data"]["train"] = URL
    run.write_json(run.settings, settings)
    page = write_report(run).read_text(encoding="utf-8").partition("<body")[2]
    assert page.count("postgresql://user:***@host/study") == 3
    assert "secret@" not in page


def test_a_database_whose_driver_is_missing_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)  # as if it were not installed
    with pytest.raises(
        RunFolderError, match=r"user:\*\*\*@host/study cannot be opened: the Python package psycopg2"
    ):
        TrialStore(URL.replace("postgresql", "postgresql+psycopg2"), "study")


@pytest.mark.parametrize("part", ["?token", "://a:b", "?a&token", "://"])
def test_a_long_text_ends(part: str) -> None:
    """A stranger's settings may have 32 MiB; with a time that grows with the square, this takes an hour."""
    text = part * (2**20 // len(part))
    assert without_passwords(text) == text
