"""Torch runs code of its compiler's folder, so nobody else can write there, or keep torch from starting."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from morel_search._compile_cache import VARIABLE, _remove, use_private_folder


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that torch takes by itself."""
    monkeypatch.setenv(VARIABLE, "")  # restores the variable after the test
    monkeypatch.delenv(VARIABLE)
    monkeypatch.setenv("LOGNAME", "ann/lee")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path / "torchinductor_ann_lee"


def test_the_folder_is_the_one_that_torch_takes(usual: Path) -> None:
    cache = pytest.importorskip("torch._inductor.runtime.cache_dir_utils")
    assert cache.default_cache_dir() == str(usual)


def test_a_new_folder_is_private(usual: Path) -> None:
    before = os.umask(0)
    try:
        use_private_folder()
    finally:
        os.umask(before)
    assert os.environ[VARIABLE] == str(usual)
    assert stat.S_IMODE(usual.stat().st_mode) == 0o700


def test_the_user_s_own_folder_is_used_again(usual: Path) -> None:
    usual.mkdir(mode=0o755)
    (usual / "compiled").touch()
    use_private_folder()
    assert os.environ[VARIABLE] == str(usual)
    assert (usual / "compiled").exists()


@pytest.mark.parametrize("planted", ["file", "link", "writable", "stranger"])
def test_a_folder_that_others_have_made_is_not_used(
    usual: Path, planted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if planted == "file":
        usual.touch()
    elif planted == "link":
        (usual.parent / "elsewhere").mkdir()
        usual.symlink_to(usual.parent / "elsewhere")
    else:
        usual.mkdir()
        usual.chmod(0o777 if planted == "writable" else 0o755)
    if planted == "stranger":
        monkeypatch.setattr(os, "getuid", lambda: 12345)
    use_private_folder()
    folder = Path(os.environ[VARIABLE])
    assert folder.parent == usual.parent
    assert folder != usual
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    _remove(folder, os.getpid() + 1)
    assert folder.exists()
    _remove(folder, os.getpid())
    assert not folder.exists()


def test_a_folder_that_the_environment_names_is_respected(
    usual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "/given")
    use_private_folder()
    assert os.environ[VARIABLE] == "/given"
    assert not usual.exists()


def test_without_a_folder_for_temporary_files_torch_explains(
    usual: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(usual / "missing"))
    use_private_folder()
    assert VARIABLE not in os.environ
