"""Ray Tune's own files: an error of the file system is one sentence, any other error stays as it is."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ray import tune

from morel_search.cluster.tuner import job_maker, search
from morel_search.config import load_space
from morel_search.errors import RunFolderError
from morel_search.search.controller import SearchController
from morel_search.search.study import TrialStore

SPACE = Path(__file__).parents[1] / "search_spaces" / "digits.yaml"


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    monkeypatch.setattr("morel_search.cluster.placement.places", lambda resources: 1)  # asks Ray
    space, store = load_space(SPACE), TrialStore.of_file(tmp_path / "study.db", "run")
    controller = SearchController.begin(space, store, ())
    return lambda: search(controller, store, ray_folder=tmp_path / "ray", job=job_maker(space, tmp_path))


@pytest.mark.parametrize("place", ["__init__", "fit"])
@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "ray: the disk is full"),
        (OSError(errno.EROFS, "Read-only file system"), "ray: the file system is read-only"),
    ],
)
def test_a_disk_on_which_ray_tune_cannot_write_is_one_sentence(
    begin: Callable[[], bool], monkeypatch: pytest.MonkeyPatch, place: str, error: OSError, text: str
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(tune.Tuner, "__init__", lambda *_, **__: None)
    monkeypatch.setattr(tune.Tuner, place, fail)
    with pytest.raises(RunFolderError, match=f"cannot write .*{text}"):
        begin()


def test_a_lost_connection_is_not_called_a_disk(
    begin: Callable[[], bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ConnectionError("lost")

    monkeypatch.setattr(tune.Tuner, "__init__", fail)
    with pytest.raises(ConnectionError):
        begin()
