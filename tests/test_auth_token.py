"""Ray's token can be read by its user alone, whoever created it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from morel_search.cluster.auth_token import make_token_private


@pytest.fixture
def token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in [name for name in os.environ if name.startswith("RAY_AUTH_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path / ".ray" / "auth_token"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("auth_mode", [None, "token"])
def test_a_new_token_is_private(token: Path, auth_mode: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if auth_mode is not None:
        monkeypatch.setenv("RAY_AUTH_MODE", auth_mode)
    before = os.umask(0)
    try:
        make_token_private()
    finally:
        os.umask(before)
    text = token.read_text()
    assert len(bytes.fromhex(text)) == 32
    assert mode(token) == 0o600
    make_token_private()
    assert token.read_text() == text
    assert [path.name for path in token.parent.iterdir()] == ["auth_token"]


def test_a_token_that_others_can_read_is_made_private(token: Path) -> None:
    token.parent.mkdir()
    token.write_text("as it is")
    token.chmod(0o644)
    make_token_private()
    assert mode(token) == 0o600
    assert token.read_text() == "as it is"


@pytest.mark.parametrize("name", ["RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"])
def test_what_the_environment_says_is_respected(
    token: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "disabled")
    make_token_private()
    assert not token.exists()


@pytest.mark.parametrize("exists", [False, True])
def test_without_a_home_the_process_has_a_token_of_its_own(
    tmp_path: Path, token: Path, monkeypatch: pytest.MonkeyPatch, *, exists: bool
) -> None:
    """The home folder is a file, or the token is another user's."""
    monkeypatch.setenv("RAY_AUTH_TOKEN", "")  # restores the variable after the test
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    if exists:
        token.parent.mkdir()
        token.touch(0o600)
        monkeypatch.setattr(os, "access", lambda *_: False)  # root can read everything
    else:
        (tmp_path / "file").touch()
        monkeypatch.setenv("HOME", str(tmp_path / "file"))
    make_token_private()
    given = os.environ["RAY_AUTH_TOKEN"]
    assert len(bytes.fromhex(given)) == 32
    make_token_private()
    assert os.environ["RAY_AUTH_TOKEN"] == given


def test_a_token_that_another_process_has_just_created_is_used(
    token: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two first searches of a user that begin at the same time have the same token."""

    def late(path: Path, _: Path) -> None:
        path.write_text("of the other process")
        raise FileExistsError

    monkeypatch.setenv("RAY_AUTH_TOKEN", "")  # restores the variable after the test
    monkeypatch.delenv("RAY_AUTH_TOKEN")
    monkeypatch.setattr(Path, "hardlink_to", late)
    make_token_private()
    assert "RAY_AUTH_TOKEN" not in os.environ
    assert [path.name for path in token.parent.iterdir()] == ["auth_token"]
