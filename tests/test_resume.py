"""A resumed search must know every trial that its folder holds as finished; nothing else is cleared."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from morel_search.config import Space, load_space
from morel_search.errors import ResourceError, RunFolderError
from morel_search.results import deletion
from morel_search.results.folder import RunFolder
from morel_search.results.new_run import check_new_run, remove_unbegun
from morel_search.results.settings import RunSettings
from morel_search.search.controller import FinishedTrial, SearchController
from morel_search.search.study import TrialStore
from morel_search.training.compute_settings import FLOAT32
from morel_search.training.selection import EpochResult
from morel_search.workflows import preflight, search
from morel_search.workflows.artifacts import RunArtifacts
from morel_search.workflows.request import Request
from morel_search.workflows.resume import check_study_file, open_study
from morel_search.workflows.verify import networks_of

ROOT = Path(__file__).parents[1]
LOSSES = dict.fromkeys(("loss", "accuracy_loss", "robust_loss", "cosine_loss", "contrastive_loss"), 1.0)


def space_of(seed: int = 0) -> Space:
    file = ROOT / "search_spaces" / "digits.yaml"
    return load_space(file, ["controls=[trades]", f"search.seed={seed}"])


class Search:
    """A search whose trainings are given points; the weights of a trial are a file with its number."""

    def __init__(self, run: RunFolder, *, resume: bool = False, seed: int = 0) -> None:
        self.run, space = run, space_of(seed)
        self.store = open_study(run, resume=resume)
        self.controller = SearchController.begin(space, self.store)
        self.artifacts = RunArtifacts(space, run, self.store, self.controller)

    def train(self, clean: float, robust: float, seconds: float = 1.0, *, weights: bool = True) -> None:
        assignment = self.controller.next()
        assert assignment is not None
        if weights:
            self.run.write_text(f"ray/checkpoints/{assignment.number}/model.pt", f"{assignment.number}")
        points = {"clean_accuracy": clean, "robust_accuracy": robust, "seconds": seconds}
        epoch = EpochResult(epoch=1, **LOSSES, lr=0.1, train_accuracy=0.5, **points)
        finished: FinishedTrial = self.controller.finish(assignment.number, [epoch], "")
        self.artifacts.finished(finished)

    def end(self) -> None:
        self.artifacts.finish("stopped", test=False)
        self.store.close()


def new_run(path: Path) -> RunFolder:
    run = RunFolder(path)
    path.mkdir()
    run.write_settings(RunSettings(name="run"))
    return run


def weights(run: RunFolder, kind: str) -> dict[str, str]:
    return {file.parent.name: file.read_text() for file in (run.path / kind).glob("*/model.pt")}


def content(run: RunFolder) -> dict[str, bytes]:
    return {
        str(file.relative_to(run.path)): file.read_bytes()
        for file in run.path.rglob("*")
        if file.is_file() and file.name != "study.db"
    }


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    search = Search(new_run(tmp_path_factory.mktemp("template") / "run"))
    for point in ((0.5, 0.5), (0.9, 0.6), (0.6, 0.9)):
        search.train(*point)
    search.end()
    return search.run.path


@pytest.fixture
def run(template: Path, tmp_path: Path) -> RunFolder:
    """A run with a control (trial 0) and two members of the front (trials 1 and 2)."""
    return RunFolder(Path(shutil.copytree(template, tmp_path / "run")))


def delete_tables(run: RunFolder) -> None:
    for table in (run.trials, run.epochs, run.front):
        table.unlink()


def delete_networks(run: RunFolder) -> None:
    shutil.rmtree(run.front_models)
    shutil.rmtree(run.control_models)


def leave_only_checkpoints(run: RunFolder) -> None:
    delete_tables(run)
    delete_networks(run)


@pytest.mark.parametrize("loss", [lambda _: None, delete_tables, delete_networks, leave_only_checkpoints])
@pytest.mark.parametrize("empty", [False, True])
def test_finished_trials_without_a_study_are_refused_and_stay(
    run: RunFolder, loss: Callable[[RunFolder], None], empty: bool
) -> None:
    loss(run)
    run.study.unlink()
    if empty:
        run.study.touch()
    before = content(run)
    for refused in (lambda: check_study_file(run), lambda: open_study(run, resume=True)):
        with pytest.raises(RunFolderError, match=rf"study.db is {'empty' if empty else 'missing'}.* --name"):
            refused()
    assert content(run) == before


def test_a_run_that_has_finished_nothing_needs_no_study(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    (run.checkpoints / "0").mkdir(parents=True)
    for name in ("model.pt", "state.pt"):  # a training that was interrupted
        (run.checkpoints / "0" / name).touch()
    Search(run, resume=True).end()


def test_an_older_copy_of_the_study_is_refused(run: RunFolder, tmp_path: Path) -> None:
    shutil.copyfile(run.study, tmp_path / "older.db")
    search = Search(run, resume=True)
    search.train(0.95, 0.95)
    search.end()
    shutil.copyfile(tmp_path / "older.db", run.study)
    before = content(run)
    with pytest.raises(RunFolderError, match=r"does not know trial 3, which .*trials.csv holds"):
        open_study(run, resume=True)
    delete_tables(run)
    with pytest.raises(RunFolderError, match=r"does not know trial 3, which .*front/ holds"):
        open_study(run, resume=True)
    assert {**before, **content(run)} == before


@pytest.mark.parametrize(("seed", "seconds"), [(1, 1.0), (0, 1.5)])
def test_the_study_of_another_run_is_refused(
    run: RunFolder, tmp_path: Path, seed: int, seconds: float
) -> None:
    """It has as many trials, of another seed or of the same seed; durations are never the same."""
    (tmp_path / "other").mkdir()
    other = Search(new_run(tmp_path / "other" / "run"), seed=seed)
    for point in ((0.5, 0.5), (0.9, 0.6), (0.6, 0.9)):
        other.train(*point, seconds=seconds)
    other.end()
    shutil.copyfile(other.run.study, run.study)
    with pytest.raises(RunFolderError, match=r"does not know trial 0, which .*trials.csv holds"):
        open_study(run, resume=True)


def test_the_study_of_a_run_with_another_name_is_refused(run: RunFolder, tmp_path: Path) -> None:
    run.study.unlink()
    TrialStore.of_file(run.study, "other").close()
    with pytest.raises(RunFolderError, match="does not have the study 'run' of this run, but 'other'"):
        open_study(run, resume=True)


def test_a_renamed_folder_keeps_its_study(run: RunFolder, tmp_path: Path) -> None:
    run.path.rename(tmp_path / "renamed")
    search = Search(RunFolder(tmp_path / "renamed"), resume=True)
    assert search.controller.finished == 3
    search.end()


def test_a_torn_table_is_written_again_from_the_study(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run.trials.read_text()
    run.trials.write_text(whole[:-30])
    Search(run, resume=True).end()
    assert run.trials.read_text() == whole
    assert "trials.csv is damaged" in capsys.readouterr().err


@pytest.mark.parametrize("lost", ["front", "ray", "controls"])
def test_weights_that_are_left_in_one_place_are_enough(run: RunFolder, lost: str) -> None:
    before = weights(run, "front"), weights(run, "controls")
    assert before == ({"1": "1", "2": "2"}, {"0": "0"})
    shutil.rmtree(run.path / lost)
    search = Search(run, resume=True)
    search.end()
    assert (weights(run, "front"), weights(run, "controls")) == before
    assert not search.artifacts.missing_networks()


def test_a_control_that_leaves_the_front_keeps_its_weights(tmp_path: Path) -> None:
    search = Search(new_run(tmp_path / "run"))
    search.train(0.5, 0.5)
    search.end()
    assert weights(search.run, "front") == {"0": "0"}
    shutil.rmtree(search.run.ray)
    search = Search(search.run, resume=True)
    search.train(0.9, 0.9)
    search.end()
    assert (weights(search.run, "front"), weights(search.run, "controls")) == ({"1": "1"}, {"0": "0"})


def test_weights_are_not_deleted_before_those_of_their_successors_exist(run: RunFolder) -> None:
    search = Search(run, resume=True)
    search.train(0.95, 0.95, weights=False)  # the whole front is dominated
    search.end()
    assert weights(run, "front") == {"1": "1", "2": "2"}
    assert (run.checkpoints / "1" / "model.pt").exists()
    assert search.artifacts.missing_networks() == [3]
    run.write_text("ray/checkpoints/3/model.pt", "3")
    Search(run, resume=True).end()
    assert weights(run, "front") == {"3": "3"}


def test_a_study_without_room_for_controls_has_nothing_running(run: RunFolder) -> None:
    """Trials that a killed driver left RUNNING wait before anything else is written."""
    with closing(sqlite3.connect(run.study)) as connection, connection:
        connection.execute("update trials set state = 'RUNNING' where number = 2")
    store = TrialStore.of_file(run.study, "run")
    store.plan = None  # type: ignore[method-assign, assignment]  # nothing can be added
    with pytest.raises(TypeError):
        SearchController.begin(load_space(ROOT / "search_spaces/digits.yaml"), store)
    assert store.trials()[2].state.name == "WAITING"
    store.close()


def test_a_first_epoch_without_its_checkpoint_does_not_prevent_a_resume(run: RunFolder) -> None:
    """The weights are written before the checkpoint; a kill or a full disk can come between."""
    search = Search(run, resume=True)
    assert search.controller.next() is not None
    run.write_text("ray/checkpoints/3/model.pt", "3")
    search.store.close()
    search = Search(run, resume=True)
    search.train(0.7, 0.7)
    search.end()
    assert weights(run, "front") == {"1": "1", "2": "2", "3": "3"}


def test_a_checkpoint_of_a_trial_that_the_study_never_had_is_refused(run: RunFolder) -> None:
    run.write_text("ray/checkpoints/3/model.pt", "3")
    with pytest.raises(RunFolderError, match=r"does not know trial 3, which .*checkpoints/ holds"):
        open_study(run, resume=True)


def test_a_run_that_another_process_continues_is_refused_before_anything_starts(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading the images and starting Ray can take a minute."""
    monkeypatch.setattr(preflight, "inspect", lambda _: pytest.fail("the images were read first"))
    request = Request(space=space_of(), name=run.path.name, results=run.path.parent, resume=True)
    with run.lock(), pytest.raises(RunFolderError, match="in use"):
        search.execute(request)


def test_one_command_starts_a_run_and_continues_it(run: RunFolder, tmp_path: Path) -> None:
    request = Request(space=space_of(), name="run", results=tmp_path)
    assert request.decided() == request
    assert replace(request, or_start=True).decided().resume
    assert not replace(request, or_start=True, name="new").decided().resume
    assert replace(request, or_start=True, name="new", resume=True).decided().resume is False
    with pytest.raises(RunFolderError):
        replace(request, or_start=True, name="../run").decided()
    unfinished = (".probe", "..probe.12.0123abcd.tmp", ".space.yaml.12.0123abcd.tmp")
    for left in ((), unfinished, ("space.yaml", ".settings.json.12.0123abcd.tmp")):  # killed at once
        (tmp_path / "new").mkdir()
        for name in left:
            (tmp_path / "new" / name).write_text("trials: 3\n")
        assert not replace(request, or_start=True, name="new").decided().resume
        remove_unbegun(RunFolder(tmp_path / "new"), tmp_path / "space.yaml", "trials: 3\n")
        assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").touch()
    for name in ("mine", "run", "absent"):
        before = sorted((tmp_path / name).rglob("*"))
        remove_unbegun(RunFolder(tmp_path / name), tmp_path / "space.yaml", "")
        assert sorted((tmp_path / name).rglob("*")) == before
    (tmp_path / "own").mkdir()
    own = tmp_path / "own/space.yaml"
    own.touch()
    remove_unbegun(RunFolder(tmp_path / "own"), own, "")
    assert own.exists(), "the user's space file is no remainder of a start"
    remove_unbegun(RunFolder(tmp_path / "own"), tmp_path / "other.yaml", "trials: 3\n")
    assert own.exists(), "nor is one that this search does not use"


@pytest.mark.parametrize("place", ["ray", "front", "link", "."])
def test_a_run_inside_a_run_is_refused(run: RunFolder, tmp_path: Path, place: str) -> None:
    """The search of ``run`` would delete one in ``run/ray/tune`` when it starts, and ``run/front/12``."""
    (tmp_path / "link").symlink_to(run.front_models)
    results = tmp_path / "link" if place == "link" else run.path / place
    with pytest.raises(RunFolderError, match=f"would be inside the run {run.path}, .* set --results"):
        check_new_run(results, "12")
    check_new_run(tmp_path, "12")


@pytest.mark.parametrize("place", ["trials", "scores"])
def test_what_finished_has_its_tables_and_its_page_whatever_fails_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    begun = Search(new_run(tmp_path / "run"))

    def trials(*_: object) -> bool:
        for point in ((0.5, 0.5), (0.9, 0.6), (0.6, 0.9)):
            begun.train(*point)
        if place == "trials":
            raise ResourceError("the cluster is gone")
        return True

    def scores(_: object) -> None:
        raise ResourceError("the cluster is gone")

    monkeypatch.setattr(search, "_run_trials", trials)
    monkeypatch.setattr(RunArtifacts, "_test", scores)
    request = Request(space=space_of(), name="run", results=tmp_path, verbosity=0)
    with pytest.raises(ResourceError, match="the cluster is gone"):
        search._search(request, begun.run, begun.controller, begun.store, FLOAT32)
    begun.store.close()
    run = begun.run
    assert len(run.read_trials()) == 3
    assert set(weights(run, "front")) == {"1", "2"}
    assert run.read_settings().status == "stopped"
    assert "The trade-off" in run.report.read_text()


def test_a_network_that_left_the_front_and_cannot_be_deleted_is_not_verified(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = new_run(tmp_path / "run")
    begun = Search(run)
    for point in ((0.5, 0.5), (0.9, 0.6), (0.6, 0.9)):
        begun.train(*point)
    run.write_text("front/77/model.pt", "an earlier member")
    run.write_text("front/my notes/model.pt", "mine")

    def refuse(_: object, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(deletion.shutil, "rmtree", refuse)
    begun.end()
    assert f"warning: cannot delete {run.front_models / '77'}: permission denied" in capsys.readouterr().err
    assert set(weights(run, "front")) == {"1", "2", "77", "my notes"}
    assert set(networks_of(run)) == {"0", "1", "2"}, "the control, and the members of the front"


def test_only_networks_are_deleted_in_the_folder_of_the_front(tmp_path: Path) -> None:
    run = new_run(tmp_path / "run")
    begun = Search(run)
    for point in ((0.5, 0.5), (0.9, 0.6)):
        begun.train(*point)
    for name in ("77", "77-3", "my notes", "77 copy"):
        run.write_text(f"front/{name}/model.pt", name)
    begun.end()
    assert set(weights(run, "front")) == {"1", "my notes", "77 copy"}


def test_what_the_user_has_put_into_the_folder_of_the_front_is_not_deleted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Training front/12 again with ``--out front/12-2`` gives a folder with the name of a member."""
    begun = Search(new_run(tmp_path / "run"))
    for point in ((0.5, 0.5), (0.9, 0.6)):
        begun.train(*point)
    run = begun.run
    mine = {"77-2/model.safetensors": "mine", "77-2/settings.json": "{}", "78/notes.txt": "mine"}
    gone = {"79/model.pt", "79/settings.json", "79/.DS_Store", "79/model.pt.tmp", "80/settings.json"}
    for name, text in {**mine, **dict.fromkeys(("78/model.pt", *gone), "78")}.items():
        run.write_text(f"front/{name}", text)
    begun.end()
    left = {str(file.relative_to(run.front_models)) for file in run.front_models.rglob("*") if file.is_file()}
    assert left == {"1/model.pt", "1/settings.json", "78/model.pt", *mine}
    error = capsys.readouterr().err
    assert "78 is kept, because it holds notes.txt; its network is not on the front any more" in error
    assert "77" not in error
    assert set(networks_of(run)) == {"0", "1"}
