"""Networks on the terminal: their names are those of their folders, accuracies have one format."""

from __future__ import annotations

from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import TextIO, cast

import pytest
from run_folders import make_run

from morel_search._cli import print_out
from morel_search.cluster import session
from morel_search.results.names import member_name, member_trial
from morel_search.workflows import ray_client
from morel_search.workflows.progress import accuracies_text
from morel_search.workflows.ray_client import _ConsoleHandle, _Stream
from morel_search.workflows.request import Request
from morel_search.workflows.terminal import front_text


@pytest.mark.parametrize(("several", "name"), [(True, "12-7"), (False, "12")])
def test_a_network_is_named_as_its_folder(several: bool, name: str) -> None:
    assert member_name(12, 7, several) == name
    assert member_name(12, None, several) == "12"
    assert member_trial(name) == 12


@pytest.mark.parametrize("name", ["", "best", "-7", "1.5"])
def test_a_folder_that_is_not_named_after_a_trial_has_none(name: str) -> None:
    assert member_trial(name) is None


@pytest.mark.parametrize("select_epoch", ["front", "best_sum"])
def test_the_table_names_networks_by_the_epoch_selection_rule(tmp_path: Path, select_epoch: str) -> None:
    """With the rule ``front`` the folder is ``front/12-7``, also if no trial is on the front twice."""
    run = make_run(tmp_path, trials=20)
    front = run.read_front().drop_duplicates("number")
    assert not front.empty
    rows = front_text(front, run.read_trials(), select_epoch).splitlines()[3:]
    several = select_epoch == "front"
    names = [member_name(row["number"], row["epoch"], several) for row in front.to_dict("records")]
    assert [row.split()[0] for row in rows] == names


def test_unknown_accuracies_are_a_dash(tmp_path: Path) -> None:
    run = make_run(tmp_path, trials=20)
    front = run.read_front()
    front["test_clean_accuracy"] = front["test_robust_accuracy"] = float("nan")
    first = front.iloc[0]
    row = front_text(front).splitlines()[3]
    assert f" {100 * first['clean_accuracy']:.1f}% " in row
    assert row.split().count("–") == 2
    assert "nan" not in row


def test_accuracies_of_an_epoch() -> None:
    assert accuracies_text(0.928, 0.5) == "clean  92.8%  robust  50.0%"
    assert accuracies_text(None, None) == ""


def test_a_run_on_a_cluster_sends_its_output_as_text() -> None:
    # click takes a file that accepts b"" for a binary one, and would send bytes to the user's terminal.
    sent: list[tuple[str, str]] = []
    console = SimpleNamespace(write=SimpleNamespace(remote=lambda name, text: sent.append((name, text))))
    with redirect_stdout(cast(TextIO, _Stream(cast(_ConsoleHandle, console), "stdout"))):
        print_out("half way \N{EM DASH} 3 of 6")
        print("plain")
    assert "".join(text for _, text in sent) == "half way \N{EM DASH} 3 of 6\nplain\n"
    assert {name for name, _ in sent} == {"stdout"}


def test_a_lost_connection_to_a_cluster_has_the_exit_code_of_a_lost_ray(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ray = pytest.importorskip("ray")

    def lose(*_: object) -> int:
        raise ConnectionError("the connection\n broke")

    monkeypatch.setattr(session, "join_client", lambda _: None)
    monkeypatch.setattr(session, "quiet_ray", lambda: None)
    monkeypatch.setattr(ray, "remote", lambda **_: lambda _: SimpleNamespace(remote=lambda *_: None))
    monkeypatch.setattr(ray_client, "_follow", lose)
    assert ray_client.run_on_cluster(cast(Request, SimpleNamespace(address="ray://10.0.0.1:10001"))) == 3
    assert capsys.readouterr().err == (
        "morel_search: the run on the cluster at ray://10.0.0.1:10001 was lost (the connection broke); "
        "--resume continues it\n"
    )
