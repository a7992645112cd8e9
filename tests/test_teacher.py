"""``train.teacher``: what is read and refused, its copy in the run folder, and one network from a mixture."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from config_files import changed, faults, load
from trained_runs import DATA, EVALUATION, NETWORK, RUNGS, TRAIN, make_trained_run, train_trial

from morel_search import load_model
from morel_search._consent import ALL_CODE, NO_CODE
from morel_search.analysis.report.sections.reproduce import reproduce_section
from morel_search.analysis.run_data import read_run_data
from morel_search.cluster.placement import with_absolute_paths
from morel_search.cluster.trainable import Job, train_job
from morel_search.cluster.tuner import job_maker
from morel_search.config.describe import changes
from morel_search.errors import NetworkError, RunFolderError, UntrustedCodeError
from morel_search.models.build import mixture_settings
from morel_search.models.checkpoint import save_model
from morel_search.models.teacher import LoadedTeacher, load_teacher, search_consent
from morel_search.pick import main as pick
from morel_search.results.folder import RunFolder
from morel_search.train import main as train
from morel_search.training.compute_settings import FLOAT32
from morel_search.training.networks import build_network
from morel_search.training.networks.mixture import Mixture
from morel_search.training.settings import NetworkSettings, TrainSettings
from morel_search.workflows.preflight import inspect
from morel_search.workflows.request import Request
from morel_search.workflows.search import _begin, _open
from morel_search.workflows.teacher_copy import copy_teacher, copy_to_read, with_teacher_noted

SHAPE, CLASSES = (1, 8, 8), [*"0123456789"]

TEACHERS = """
import torch
from torch import nn

class Small(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.linear = nn.Linear(64, num_classes)

    def forward(self, x):
        return self.linear(x.flatten(1))

def good():
    torch.manual_seed(4)
    return Small()

def few():
    return Small(num_classes=3)

def infinite():
    model = Small()
    nn.init.constant_(model.linear.bias, float("inf"))
    return model

def failing():
    raise OSError("no weights here")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "own_teachers.py").write_text(TEACHERS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def network_folder(path: Path, seed: int, **settings: Any) -> Path:
    """A folder as ``front/NUMBER`` of a run."""
    network = settings.pop("network", NETWORK)
    shape, classes = settings.pop("shape", SHAPE), settings.pop("classes", CLASSES)
    torch.manual_seed(seed)
    path.mkdir(parents=True)
    save_model(path / "model.pt", build_network(network, shape, len(classes)), network, shape, classes)
    described = {"name": network.name, "options": dict(network.options)}
    (path / "settings.json").write_text(json.dumps({"format": 1, "number": 3, "network": described}))
    return path


def mixture_folder(path: Path, first: float = 0.3) -> Path:
    """A folder as ``mixtures/NAME`` of a run."""
    members = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        members.append(build_network(NETWORK, SHAPE, 10))
    weights = [first, 1 - first]
    settings = mixture_settings([NETWORK, NETWORK], ["1", "2"], weights, "probabilities")
    path.mkdir(parents=True)
    save_model(path / "model.pt", Mixture(members, weights), settings, SHAPE, CLASSES)
    described = {"name": settings.name, "options": dict(settings.options)}
    content = {"format": 1, "network": described, "mixture": {"members": [], "form": "probabilities"}}
    (path / "settings.json").write_text(json.dumps(content))
    return path


def taught(teacher: object, **changes: Any) -> TrainSettings:
    settings = {"accuracy_loss": "rslad", "k_robust": 0.0, "gamma": 0.0, **changes}
    return replace(TRAIN, teacher=str(teacher), **settings)


def loaded(teacher: object, consent: Any = NO_CODE, **changes: Any) -> LoadedTeacher:
    found = load_teacher(taught(teacher, **changes), SHAPE, CLASSES, consent)
    assert found is not None
    return found


def test_a_folder_is_the_same_teacher_as_its_export(folder: Path) -> None:
    run = make_trained_run(folder / "results", _trial(folder))
    front = run.front_models / "1"
    assert pick([str(run.path), "--member", "1", "--out", "picked"]) == 0
    assert loaded(front).sha256 == loaded("picked").sha256
    images = torch.rand(3, *SHAPE)
    torch.testing.assert_close(loaded("picked").model(images), load_model(front)(images))


def test_weights_and_their_mixing_are_part_of_the_fingerprint(folder: Path) -> None:
    teachers = [network_folder(folder / "a", 0), network_folder(folder / "b", 1)]
    teachers += [mixture_folder(folder / "c"), mixture_folder(folder / "d", 0.4)]
    assert len({loaded(teacher).sha256 for teacher in teachers}) == 4
    assert loaded(teachers[0]).sha256 == loaded(network_folder(folder / "e", 0)).sha256
    assert [loaded(teacher).passes for teacher in teachers] == [1, 1, 2, 2]


def test_a_loss_without_a_teacher_reads_none(folder: Path) -> None:
    assert load_teacher(taught("missing", accuracy_loss="pgd"), SHAPE, CLASSES, NO_CODE) is None


def test_a_teacher_of_code_needs_consent_and_is_known_again() -> None:
    first = loaded("own_teachers:good", ALL_CODE)
    assert loaded("own_teachers:good", search_consent(["own_teachers:good"])).sha256 == first.sha256
    with pytest.raises(UntrustedCodeError, match=r"train\.teacher names the code own_teachers:good"):
        loaded("own_teachers:good")


def test_code_in_the_folder_of_a_teacher_needs_consent(folder: Path) -> None:
    path = network_folder(folder / "own", 0)
    settings = NetworkSettings(name="own_teachers:Small")
    model = build_network(settings, SHAPE, 10)
    save_model(path / "model.pt", model, settings, SHAPE, CLASSES)
    with pytest.raises(UntrustedCodeError, match=r"own_teachers:Small; a search runs only code that its"):
        loaded(path, search_consent({"teacher": str(path)}))
    assert loaded(path, search_consent({"network": {"name": "own_teachers:Small"}})).passes == 1


def sentence(teacher: object, **changes: Any) -> str:
    with pytest.raises(NetworkError) as raised:
        loaded(teacher, ALL_CODE, **changes)
    text = str(raised.value)
    assert "\n" not in text
    assert len(text) < 500
    assert "train.teacher" in text
    return text


def test_each_mistake_is_one_sentence(folder: Path) -> None:
    assert "missing does not exist: no such folder" in sentence("missing")
    (folder / "empty").mkdir()
    assert "empty has no settings.json" in sentence("empty")
    assert "own_teachers.py is not a folder" in sentence("own_teachers.py")
    assert "not a path that can be used" in sentence("a\0b")
    assert "not a path that can be used" in sentence("x" * 5000)
    large = network_folder(folder / "large", 0, shape=(1, 16, 16))
    assert "takes images of 1 x 16 x 16, and the images of data are 1 x 8 x 8" in sentence(large)
    few = network_folder(folder / "few", 0, classes=["a", "b"])
    assert "has other classes than data (2 and 10), or the same ones in another order" in sentence(few)
    turned = network_folder(folder / "turned", 0, classes=CLASSES[::-1])
    assert "has other classes than data (10 and 10), or the same ones in another order" in sentence(turned)
    assert "must give logits of shape (N, 10)" in sentence("own_teachers:few")
    assert "logits that are not finite" in sentence("own_teachers:infinite")
    assert "no weights here" in sentence("own_teachers:failing")
    assert "cannot be imported" in sentence("own_teachers:missing")
    good = network_folder(folder / "good", 0)
    assert "is another network than that of train.teacher_sha256" in sentence(good, teacher_sha256="0" * 64)
    (good / "model.pt").write_bytes(b"damaged")
    assert "cannot be used" in sentence(good)
    (good / "model.pt").unlink()
    assert "cannot be used" in sentence(good)


def space_of(folder: Path, *overrides: str, **sections: Any) -> Any:
    words = ["network.name=small_cnn", "network.options={width: 4}", "data.limit=300", *overrides]
    return load(folder, changed(**sections), words)


def test_the_space_file_must_name_a_teacher_where_a_training_needs_one(folder: Path) -> None:
    wanted = "train.teacher: must be given: accuracy_loss rslad needs a teacher"
    losses = {"accuracy_loss": {"type": "categorical", "choices": ["pgd", "rslad"]}}
    for content in (
        changed(train={"accuracy_loss": "rslad"}),
        changed(parameters=losses),
        changed(controls={"mine": {"accuracy_loss": "rslad"}}),
    ):
        (fault,) = faults(folder, content)
        assert fault.startswith(wanted)


def test_a_teacher_is_neither_searched_nor_set_for_a_control(folder: Path) -> None:
    choices = {"type": "categorical", "choices": ["a", "b"]}
    (fault,) = faults(folder, changed(parameters={"teacher": choices}))
    assert fault.startswith("parameters.teacher: cannot be searched: it is the same for all trainings")
    (fault,) = faults(folder, changed(controls={"mine": {"teacher": "a"}}))
    assert fault.startswith("controls.mine.teacher: is the same for all trainings of a search")
    content = changed(parameters={"beta": {"type": "float", "low": 1, "high": 2, "when": {"teacher": "a"}}})
    (fault,) = faults(folder, content)
    assert "teacher is the same for all trainings of a search" in fault
    (fault,) = faults(folder, changed(), ["parameters.teacher.choices=[a, b]"])
    assert "teacher cannot be searched: it is the same for all trainings of a search" in fault


def test_a_setting_of_the_teacher_that_does_nothing_is_a_warning(folder: Path) -> None:
    space = space_of(folder, "train.teacher=a", "train.accuracy_loss=pgd")
    assert any(text.startswith("train.teacher has no effect: accuracy_loss is") for text in space.warnings)
    weight = {"teacher_weight": {"type": "float", "low": 0, "high": 1}}
    space = space_of(folder, parameters=weight)
    assert any("parameters.teacher_weight has no effect" in text for text in space.warnings)
    space = space_of(folder, "train.teacher=a", "train.accuracy_loss=ard", parameters=weight)
    assert not any("teacher" in text for text in space.warnings)


def request_of(folder: Path, teacher: object, *overrides: str) -> Request:
    space = space_of(folder, f"train.teacher={teacher}", "train.accuracy_loss=rslad", *overrides)
    return Request(space=space, name="run", results=folder / "results")


def test_the_checks_before_a_search_read_the_teacher_and_tell_its_cost(folder: Path) -> None:
    mixture = mixture_folder(folder / "mixture")
    result = inspect(request_of(folder, mixture).space)
    assert result.teacher_sha256 == loaded(mixture).sha256
    weights = sum(weight.numel() for weight in loaded(mixture).model.parameters())
    assert (
        f"the teacher {mixture} has {weights:,} weights; a training that uses it makes one more forward pass "
        "of each of its 2 networks in each step"
    ) in result.notes
    with pytest.raises(NetworkError, match=r"train\.teacher missing cannot be used: missing does not exist"):
        inspect(request_of(folder, "missing").space)
    assert inspect(request_of(folder, "missing", "train.accuracy_loss=pgd").space).teacher_sha256 is None


def test_a_resumed_search_refuses_another_teacher_and_needs_no_longer_the_first(folder: Path) -> None:
    source = network_folder(folder / "source", 0)
    request = request_of(folder, source)
    first = with_teacher_noted(request, inspect(request.space).teacher_sha256)
    run = RunFolder(request.results / "run")
    run.path.mkdir(parents=True)
    copy_teacher(first.space.train, run)
    assert sorted(path.name for path in run.teacher.iterdir()) == ["model.pt", "settings.json"]
    assert (run.teacher / "model.pt").read_bytes() == (source / "model.pt").read_bytes()

    resumed = replace(request, resume=True)
    assert copy_to_read(resumed) is None  # the first folder is there, and compared
    shutil.rmtree(source)
    network_folder(folder / "source", 1)
    other = with_teacher_noted(resumed, inspect(resumed.space, copy_to_read(resumed)).teacher_sha256)
    (difference,) = changes(first.space.identity(), other.space.identity())
    assert difference.startswith("train.teacher_sha256 was ")
    shutil.rmtree(source)
    again = with_teacher_noted(resumed, inspect(resumed.space, copy_to_read(resumed)).teacher_sha256)
    assert changes(first.space.identity(), again.space.identity()) == []
    assert copy_to_read(request) is None  # a new run reads no copy of an earlier one


def _trial(folder: Path, seed: int = 7) -> Path:
    path = folder / f"trial-{seed}"
    train_trial(path, seed=seed)
    return path / "model.pt"


def job_of(folder: Path, settings: TrainSettings, copy: Path | None) -> Job:
    return Job(
        number=0,
        seed=7,
        train=settings,
        network=NETWORK,
        data=with_absolute_paths(DATA),
        evaluation=EVALUATION,
        select_epoch="last",
        device="cpu",
        threads=1,
        folder=str(folder),
        compute=FLOAT32,
        rungs=RUNGS,
        teacher="" if copy is None else str(copy),
    )


def test_a_trial_reads_the_copy_of_the_run(folder: Path) -> None:
    source = network_folder(folder / "source", 0)
    settings = taught(source, teacher_sha256=loaded(source).sha256, epochs=1)
    first = train_job(job_of(folder / "1", settings, None), lambda report: None)
    run = RunFolder(folder / "run")
    run.path.mkdir()
    copy_teacher(settings, run)
    shutil.rmtree(source)
    second = train_job(job_of(folder / "2", settings, run.teacher), lambda report: None)
    assert first[-1].loss == second[-1].loss
    with pytest.raises(NetworkError, match="cannot be used"):
        train_job(job_of(folder / "3", settings, folder / "gone"), lambda report: None)
    shutil.copy(network_folder(folder / "other", 1) / "model.pt", run.teacher / "model.pt")
    with pytest.raises(NetworkError, match="is another network than that of"):
        train_job(job_of(folder / "4", settings, run.teacher), lambda report: None)


def settings_in(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((path / "settings.json").read_text())
    return content


def test_train_makes_one_network_from_a_mixture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_trained_run(folder / "results", _trial(folder))
    mixture = mixture_folder(run.mixture_models / "1+2@30")
    assert train([str(run.front_models / "1"), "--teacher", str(mixture)]) == 0
    made = run.path / "picked" / "1-rslad-1+2@30-seed7"
    assert f"teacher: {mixture}" in capsys.readouterr().out
    given = settings_in(made)
    assert given["network"]["name"] == "small_cnn"
    assert given["train"]["accuracy_loss"] == "rslad"
    assert given["train"]["teacher"] == str(mixture)
    assert given["train"]["teacher_sha256"] == loaded(mixture).sha256
    assert Fraction(given["train"]["epsilon"]) == Fraction(2, 51)
    card = (made / "README.md").read_text()
    assert "The accuracy objective distils the teacher" in card
    assert sum(own.numel() for own in load_model(made).parameters()) == sum(
        own.numel() for own in load_model(run.front_models / "1").parameters()
    )
    # It is the training that the settings describe, and it can be repeated from the new folder.
    assert train([str(made), "--out", "again"]) == 0
    weights = (made / "model.safetensors").read_bytes()
    assert weights == (folder / "again" / "model.safetensors").read_bytes()
    assert train([str(run.front_models / "1"), "--teacher", str(mixture), "--loss", "ard"]) == 0
    other = run.path / "picked" / "1-ard-1+2@30-seed7"
    assert weights != (other / "model.safetensors").read_bytes()


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], *words: str) -> None:
    capsys.readouterr()
    assert train(arguments) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1, error
    for word in words:
        assert word in error


def test_mistakes_of_train_are_one_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_trained_run(folder / "results", _trial(folder))
    front = str(run.front_models / "1")
    refused(capsys, [front, "--loss", "ard"], "--loss ard needs a teacher", "--teacher")
    refused(capsys, [front, "--teacher", "missing"], "missing does not exist: no such folder")
    refused(capsys, [front, "--teacher", "own_teachers:few"], "must give logits of shape (N, 10)")
    mixture = mixture_folder(folder / "mixture")
    refused(capsys, [str(mixture)], "is a mixture, which was not trained", "--teacher")
    assert not (run.path / "picked").exists()


def test_a_network_of_a_distilling_run_is_trained_again_with_the_copy(folder: Path) -> None:
    source = network_folder(folder / "source", 0)
    settings = taught(source, teacher_sha256=loaded(source).sha256, epochs=1, epsilon=Fraction(1, 50))
    train_job(job_of(folder / "trial", settings, None), lambda report: None)
    first = folder / "trial" / "model.pt"
    run = make_trained_run(folder / "results", first, train=settings, select_epoch="last", epochs=(1, 1, 1))
    copy_teacher(settings, run)
    known = run.read_settings()
    section = {"epochs": 1, "teacher_sha256": settings.teacher_sha256}
    run.write_settings(replace(known, space={**known.space, "train": section}))
    page = reproduce_section(read_run_data(run)).html
    assert "/small/space.yaml --seed 0 --set train.teacher=" in page
    assert "/small/teacher\n" in page
    shutil.rmtree(source)
    assert train([str(run.front_models / "1"), "--out", "again"]) == 0
    weights = load_model("again").state_dict()
    first_weights = load_model(run.front_models / "1").state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in first_weights.items())
    assert pick([str(run.path), "--member", "1"]) == 0
    assert train([str(run.path / "picked" / "1"), "--out", "once more"]) == 0
    assert asdict(settings)["teacher"] == settings_in(folder / "once more")["train"]["teacher"]
    # The copy is not taken for another teacher.
    other = network_folder(folder / "other", 5)
    assert train([str(run.front_models / "1"), "--teacher", str(other), "--out", "picked"]) == 0
    shutil.copytree("picked", run.path / "picked" / "other")
    assert train([str(run.path / "picked" / "other"), "--out", "fourth"]) == 0
    fourth = load_model("fourth").state_dict()
    assert all(torch.equal(value, fourth[name]) for name, value in load_model("picked").state_dict().items())


def test_a_search_begins_with_the_copy_and_its_trials_read_it(folder: Path) -> None:
    """All steps of a search but Ray: the run folder, the study, a trial, and a start that continues it."""
    source = network_folder(folder / "source", 0)
    few = ("train.epochs=1", "evaluation.steps=2", "evaluation.final_steps=0", "controls=[pgd]")
    request = request_of(folder, "source", *few)

    def begun(request: Request) -> tuple[RunFolder, list[Job]]:
        result = inspect(request.space, copy_to_read(request))
        request = with_teacher_noted(request, result.teacher_sha256)
        run = _open(request, result)
        with run.lock():
            controller, record = _begin(request, run)
            try:
                make = job_maker(request.space, run.checkpoints, FLOAT32, "", str(run.teacher))
                assignments = [controller.next(), controller.next()]
                return run, [make(assignment) for assignment in assignments if assignment is not None]
            finally:
                record.close()

    run, (control, trial) = begun(request)
    digest = loaded(source).sha256
    assert run.read_settings().section("train")["teacher_sha256"] == digest
    shutil.rmtree(source)
    for job in (control, trial):
        assert job.train.teacher_sha256 == digest
        assert len(train_job(job, lambda report: None)) == 1
    assert (control.train.accuracy_loss, trial.train.accuracy_loss) == ("pgd", "rslad")
    resumed = replace(request, resume=True)
    again, _ = begun(resumed)
    assert again.path == run.path
    network_folder(folder / "source", 1)
    with pytest.raises(RunFolderError, match=r"other settings.*train\.teacher_sha256 was"):
        begun(resumed)
