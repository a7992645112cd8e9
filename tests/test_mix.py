"""``python -m morel_search.mix``: what it keeps, what it reads, what it says, and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from run_folders import make_run
from trained_runs import DATA, EVALUATION, NETWORK, make_trained_run, train_trial, write_verified

from morel_search import load_model
from morel_search._dominance import dominates
from morel_search.analysis.hypervolume import hypervolume, largest_gains
from morel_search.errors import RunFolderError
from morel_search.mix import main
from morel_search.models.checkpoint import save_model
from morel_search.pick import main as pick
from morel_search.results import deletion
from morel_search.results.folder import RunFolder
from morel_search.results.mixtures import CHOSEN, read_mixtures, write_chosen
from morel_search.results.names import is_mixture_name, mixture_name, network_trials
from morel_search.train import main as train
from morel_search.training.datasets import loading
from morel_search.training.datasets.loading import load_development
from morel_search.training.evaluation import evaluate
from morel_search.workflows import mix_search
from morel_search.workflows.verify import mixtures_of

LOW = ((0.2, 0.01), (0.15, 0.02))
"""Invented accuracies below those of the trained networks, so that mixtures are better than the networks."""


SHORT = replace(EVALUATION, epsilon=Fraction(1, 20), final_steps=3)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the trainings of two seeds."""
    folder = tmp_path_factory.mktemp("trials")
    for seed in (7, 8):
        train_trial(folder / str(seed), seed=seed)
    return folder / "7" / "model.pt"


@pytest.fixture(autouse=True)
def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mix_search, "CANDIDATES", 3)


def make(results: Path, trained: Path, **more: object) -> RunFolder:
    """Make a run of two networks, whose final attack is short, at a small radius."""
    run = make_trained_run(results, trained, figures=LOW, tested=False, **more)  # type: ignore[arg-type]
    shutil.copy(trained.parents[1] / "8" / "model.pt", run.front_models / "1" / "model.pt")
    settings = run.read_settings()
    evaluation = {**settings.section("evaluation"), "epsilon": "1/20", "final_steps": 3}
    run.write_settings(replace(settings, space={**settings.space, "evaluation": evaluation}))
    return run


@pytest.fixture
def run(tmp_path: Path, trained: Path) -> RunFolder:
    return make(tmp_path, trained)


def contents(run: RunFolder) -> dict[str, bytes]:
    return {
        path.relative_to(run.path).as_posix(): path.read_bytes()
        for path in sorted(run.mixture_models.rglob("*"))
        if path.is_file() and path.name != CHOSEN
    }


def refused(capsys: pytest.CaptureFixture[str], arguments: list[str], *words: str) -> None:
    capsys.readouterr()
    assert main([*arguments, "--quiet"]) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1, error
    for word in words:
        assert word in error


def test_the_kept_mixtures_are_networks_with_the_written_accuracies(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run.path)]) == 0
    output = capsys.readouterr().out
    entries = read_mixtures(run)
    assert 1 <= len(entries) <= 3
    validation = load_development(DATA).validation
    parameters = sum(own.numel() for own in load_model(run.front_models / "0").parameters())
    for entry in entries:
        folder = run.mixture_models / entry.name
        assert sorted(path.name for path in folder.iterdir()) == ["model.pt", "settings.json"]
        model = load_model(folder)
        again = evaluate(model, validation, SHORT, final=True)
        assert entry.validation == (again.clean_accuracy, again.robust_accuracy)
        assert (entry.passes, entry.parameters) == (2, 2 * parameters)
        assert set(entry.members) == {"0", "1"}
        assert sum(part.weight for part in entry.parts) == pytest.approx(1)
        assert f"{entry.name}" in output
    points = [entry.validation for entry in entries]
    assert not any(dominates(other, point) for point in points for other in [*points, *LOW])
    assert "not verified; python -m morel_search.verify" in output
    assert "0: 21.0% / 2.0%, 1: 16.0% / 3.0%" in output


def test_weights_are_chosen_without_the_test_split(
    tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test images cannot be read, and all accuracies on them that the folder holds are wrong."""
    honest = make(tmp_path / "honest", trained)
    assert main([str(honest.path), "-q"]) == 0
    poisoned = make(tmp_path / "poisoned", trained)
    front = poisoned.read_front()
    front["test_clean_accuracy"], front["test_robust_accuracy"] = [0.1, 1.0], [0.9, 0.0]
    poisoned.write_table(poisoned.front, front)
    write_verified(poisoned, (0, 0.1, 0.1, "gradients vanish"), (1, 0.9, 0.9, ""))
    digits = loading.READERS["digits"]

    def only_development(settings: object, split: str) -> object:
        assert split == "development", "the test split is read"
        return digits(settings, split)  # type: ignore[arg-type]

    monkeypatch.setitem(loading.READERS, "digits", only_development)  # type: ignore[arg-type]
    assert main([str(poisoned.path), "-q"]) == 0
    assert contents(poisoned) == contents(honest)
    assert contents(honest)


@pytest.mark.parametrize("form", ["probabilities", "logits"])
@pytest.mark.parametrize("members", [("33", "2"), ("12-5", "12-7")])
def test_the_name_of_a_mixture_is_known_from_others(members: tuple[str, str], form: str) -> None:
    assert is_mixture_name(mixture_name(members, (0.3, 0.7), form))
    for name in ("33", "33+2", "33+2@30 copy", "my 33+2@30", "33+2@30.bak", "notes", "12-7", "²+2@30"):
        assert not is_mixture_name(name)


def test_a_second_call_replaces_the_mixtures_of_the_first(run: RunFolder) -> None:
    (run.mixture_models / "9+8@10").mkdir(parents=True)
    notes = run.mixture_models / "my notes" / "notes.txt"
    notes.parent.mkdir()
    notes.write_text("mine", encoding="utf-8")
    assert main([str(run.path), "-q"]) == 0
    assert notes.read_text(encoding="utf-8") == "mine", "it is no mixture"
    shutil.rmtree(notes.parent)
    before = contents(run)
    assert "mixtures/9+8@10" not in {str(Path(name).parent) for name in before}
    assert main([str(run.path), "-q", "--keep", "1"]) == 0
    after = contents(run)
    assert len(after) == 2
    assert after.items() <= before.items()


def test_a_mixture_that_cannot_be_deleted_is_named_and_is_none_of_the_run(
    run: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([str(run.path), "-q"]) == 0
    old = run.mixture_models / "9+8@10"
    shutil.copytree(next(folder for folder in run.mixture_models.iterdir() if folder.is_dir()), old)
    own = run.mixture_models / "mine"
    shutil.copytree(old, own)
    assert old.name not in mixtures_of(run), "no call has chosen it"
    assert "mine" in mixtures_of(run), "a folder with another name is kept, and is not judged by the choice"
    shutil.rmtree(own)

    def refuse(_: object, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(deletion.shutil, "rmtree", refuse)
    capsys.readouterr()
    assert main([str(run.path), "-q", "--keep", "1"]) == 0
    warnings = capsys.readouterr().err.strip().splitlines()
    assert old.is_dir()
    assert (
        f"warning: cannot delete {old}: permission denied; it is no mixture of this run any more"
        in "\n".join(warnings)
    )
    (entry,) = read_mixtures(run)
    assert set(mixtures_of(run)) == {entry.name}, "verify attacks only what the last call chose"
    assert all(line.startswith("warning: cannot delete") for line in warnings)


def test_what_the_user_has_put_beside_the_mixtures_is_not_deleted(run: RunFolder) -> None:
    assert main([str(run.path), "-q"]) == 0
    files = ["9+8@10/notes.txt", "9+8@10/model.pt", "9+8@20/model.safetensors", "9+8@20/settings.json"]
    for name in files:
        run.write_text(run.mixture_models / name, "mine")
    assert main([str(run.path), "-q", "--keep", "1"]) == 0
    assert all((run.mixture_models / name).read_text() == "mine" for name in files)


def test_nothing_is_deleted_before_the_choice_is_written(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main([str(run.path), "-q"]) == 0
    before, names = contents(run), set(mixtures_of(run))

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("morel_search.results.mixtures.write_chosen", killed)
    main([str(run.path), "-q", "--keep", "1"])
    assert contents(run) == before
    assert set(mixtures_of(run)) == names


@pytest.mark.parametrize("text", ["[]", "{", '{"mixtures": [1]}'])
def test_a_damaged_record_of_the_choice_is_one_sentence(run: RunFolder, text: str) -> None:
    run.write_text(run.mixture_models / CHOSEN, text)
    with pytest.raises(RunFolderError, match=r"chosen\.json is damaged: ") as error:
        read_mixtures(run)
    assert len(str(error.value).splitlines()) == 1


def test_without_a_record_of_the_choice_every_folder_is_a_mixture(run: RunFolder) -> None:
    assert main([str(run.path), "-q"]) == 0
    names = set(mixtures_of(run))
    (run.mixture_models / CHOSEN).unlink()
    assert set(mixtures_of(run)) == names == {entry.name for entry in read_mixtures(run)}


def test_no_mixture_is_kept_where_a_single_network_is_better(
    tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_trained_run(tmp_path, trained, figures=((0.99, 0.98), (0.98, 0.99)), tested=False)
    assert main([str(run.path)]) == 0
    assert "No mixture is kept: on 60 validation images" in capsys.readouterr().out
    assert not contents(run)


def test_pick_takes_a_mixture_and_it_loads_to_the_same_bits(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    refused_pick(
        capsys, [str(run.path), "--mixtures"], "has no mixtures; python -m morel_search.mix makes them"
    )
    assert main([str(run.path), "-q"]) == 0
    entry = read_mixtures(run)[0]
    capsys.readouterr()
    assert pick([str(run.path), "--member", entry.name, "--torch-export"]) == 0
    output = capsys.readouterr().out
    assert f"mixture {entry.name}: {entry.validation[0]:.1%} clean" in output
    assert f"It costs 2 forward passes for each prediction, {entry.parameters:,} parameters." in output
    assert "train it again" not in output
    folder = run.path / "picked" / entry.name
    images = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = load_model(run.mixture_models / entry.name)(images)
    assert torch.equal(load_model(folder)(images), expected)
    program = torch.export.load(folder / "model.pt2").module()
    torch.testing.assert_close(program(images), expected, rtol=1e-5, atol=1e-5)
    card = (folder / "README.md").read_text()
    assert "network 0 and network 1" in card
    assert "a mixture of 2 networks" in card
    assert "None" not in card
    assert "not recorded" not in card
    for part in entry.parts:
        assert f"Network {part.network} has the weight {part.weight}" in card
    assert train([str(folder)]) == 2
    assert "is a mixture, which was not trained" in capsys.readouterr().err
    other = run.mixture_models / "1+0@50"
    shutil.copytree(run.mixture_models / entry.name, other)
    settings = json.loads((other / "settings.json").read_text())
    settings["mixture"]["members"][0]["weight"] = 0.55
    (other / "settings.json").write_text(json.dumps(settings))
    write_chosen(run, [entry.name, other.name])
    refused_pick(
        capsys,
        [str(run.path), "--member", other.name, "--out", str(folder)],
        "holds another network; name another folder",
    )
    (other / "model.pt").unlink()
    refused_pick(
        capsys, [str(run.path), "--member", other.name], f"the weights of mixture {other.name} are missing"
    )


def test_a_rule_takes_a_mixture_only_where_it_is_told_to(
    run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every mixture is better than both networks by their invented accuracies."""
    assert main([str(run.path), "-q"]) == 0
    best = max(read_mixtures(run), key=lambda entry: entry.validation[0])
    capsys.readouterr()
    rule = [str(run.path), "--weights", "1,0"]
    assert pick(rule) == 0
    assert "network 0: 21.0% clean" in capsys.readouterr().out
    assert pick([*rule, "--mixtures"]) == 0
    assert f"mixture {best.name}: " in capsys.readouterr().out
    refused_pick(capsys, [*rule[:1], "--mixtures", "--member", "0"], "exclude each other")


def refused_pick(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    capsys.readouterr()
    assert pick(arguments) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1, error
    assert words in error


def test_a_front_of_one(tmp_path: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_trained_run(tmp_path, trained, figures=LOW[:1])
    refused(capsys, [str(run.path)], "a mixture needs two networks, and there is only network 0")


def test_members_that_are_unknown_or_one(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    refused(capsys, [str(run.path), "--members", "0,7"], "7 is neither on the front nor a control", "0, 1")
    refused(capsys, [str(run.path), "--members", "0,0"], "needs two networks, got only 0")
    refused(capsys, [str(run.path), "--members", "0,,1"], "--members must be names with commas")
    refused(capsys, [str(run.path), "--keep", "0"], "--keep")


def test_a_member_that_is_gone(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run.front_models / "1")
    refused(capsys, [str(run.path)], "the weights of network 1 are missing", "front/1/model.pt")
    assert not run.mixture_models.exists()


def test_a_run_without_a_finished_trial(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path, trials=0, controls=False)
    refused(capsys, [str(run.path)], "there is nothing to mix, no trial has finished yet")
    refused(capsys, [str(tmp_path / "none")], "none")


@pytest.mark.parametrize(
    ("shape", "classes", "words"),
    [
        ((1, 12, 12), [*"0123456789"], "images of 1 x 8 x 8 and network 1 of 1 x 12 x 12"),
        ((3, 8, 8), [*"0123456789"], "images of 1 x 8 x 8 and network 1 of 3 x 8 x 8"),
        ((1, 8, 8), [*"01"], "network 0 and network 1 have other classes (10 and 2)"),
        ((1, 8, 8), [*"1023456789"], "in another order"),
    ],
)
def test_members_that_do_not_fit_together(
    run: RunFolder,
    capsys: pytest.CaptureFixture[str],
    shape: tuple[int, int, int],
    classes: list[str],
    words: str,
) -> None:
    from morel_search.training.networks import build_network

    model = build_network(NETWORK, shape, len(classes))
    save_model(run.front_models / "1" / "model.pt", model, NETWORK, shape, classes, epoch=3)
    refused(capsys, [str(run.path)], words)
    assert not run.mixture_models.exists()


def test_images_that_are_not_those_of_the_search(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    from morel_search.training.networks import build_network

    model = build_network(NETWORK, (1, 12, 12), 10)
    for name in "01":
        path = run.front_models / name / "model.pt"
        save_model(path, model, NETWORK, (1, 12, 12), [*"0123456789"], epoch=3)
    refused(capsys, [str(run.path)], "the images of digits are not those of the search", "1 x 12 x 12")


def test_extra_training_images_are_not_read(run: RunFolder) -> None:
    settings = run.read_settings()
    data = {**settings.section("data"), "extra": "gone.parquet"}
    run.write_settings(replace(settings, space={**settings.space, "data": data}))
    assert main([str(run.path), "-q"]) == 0
    assert contents(run)


def test_too_little_memory_for_two_networks(
    run: RunFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One network and its copy fit, two do not."""
    one = sum(own.nbytes for own in load_model(run.front_models / "0").state_dict().values())
    monkeypatch.setattr("morel_search.training.memory.memory_bytes", lambda: 3 * one)
    refused(capsys, [str(run.path)], "out of memory: the mixture of the networks 0 and 1 needs", "GiB")

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.undo()
    monkeypatch.setattr(mix_search, "examples_of", full)
    refused(capsys, [str(run.path)], "the memory of cpu is too small for two networks at the same time")
    assert not run.mixture_models.exists()


def test_a_device_that_is_missing(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    refused(capsys, [str(run.path), "--device", "cuda"], "--device is cuda, which this machine does not have")


@pytest.mark.parametrize(
    "change",
    [
        {"mixture": {}},
        {"mixture": 3},
        {"figures": {}},
        {"mixture": {"members": [{"network": 3}, {}], "form": "logits", "passes": 2, "parameters": 1}},
    ],
)
def test_damaged_settings_of_a_mixture_are_one_sentence(run: RunFolder, change: dict[str, object]) -> None:
    members = [{"network": name, "weight": 0.5, "fingerprint": ""} for name in "01"]
    content = {
        "mixture": {"members": members, "form": "logits", "passes": 2, "parameters": 10},
        "figures": {"validation": {"clean_accuracy": 0.9, "robust_accuracy": 0.5}},
    }
    path = run.mixture_models / "0+1@50" / "settings.json"
    run.write_json(path, content)
    assert [entry.name for entry in read_mixtures(run)] == ["0+1@50"]
    run.write_json(path, content | change)
    with pytest.raises(RunFolderError, match="is damaged") as damaged:
        read_mixtures(run)
    assert str(path) in str(damaged.value)


def test_names() -> None:
    assert mixture_name(["33", "2"], [0.3, 0.7], "probabilities") == "33+2@30"
    assert mixture_name(["12-7", "2-3"], [0.1, 0.9], "logits") == "12-7+2-3@10-logits"
    assert network_trials("12-7+2-3@10-logits") == {12, 2}
    assert network_trials("33") == network_trials("33-4") == {33}
    assert not network_trials("trades")


def test_the_largest_gains_are_those_of_every_choice_tried() -> None:
    """The first one adds the most of all, each further one the most of those that are left."""
    random = np.random.default_rng(0)
    points, candidates = random.uniform(0.2, 0.7, (4, 2)), random.uniform(0.1, 1.0, (12, 2))
    chosen = largest_gains(points, candidates, 5)
    front = [*points]
    for index in chosen:
        gains = [hypervolume([*front, candidate]) for candidate in candidates]
        assert gains[index] == max(gains) > hypervolume(front)
        front.append(candidates[index])
    assert len(set(chosen)) == len(chosen)
    assert largest_gains(points, points, 3) == []
    assert largest_gains([], [(0.5, 0.5), (0.5, 0.5)], 2) == [0]
