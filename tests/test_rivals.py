"""Rivals: networks that a search did not train, named in a space file or to ``verify``, and attacked."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pandas as pd
import pytest
import ray
import torch
from torch import nn
from trained_runs import FIGURES, make_trained_run, train_trial

from morel_search.__main__ import main
from morel_search._consent import ALL_CODE
from morel_search.cluster import placement, session, tasks
from morel_search.config import load_space
from morel_search.config.json_schema import json_schema
from morel_search.config.rivals import Rival, read_rival_options
from morel_search.errors import NetworkError, RunFolderError, SpaceError, UntrustedCodeError
from morel_search.models.load import load_model
from morel_search.pick import main as pick
from morel_search.results.attack_records import UNKNOWN, read_records
from morel_search.results.folder import RunFolder
from morel_search.results.rivals import read_rivals
from morel_search.training.networks import build_network
from morel_search.training.settings import NetworkSettings
from morel_search.verification import runner, worker
from morel_search.verification.chunks import chunks_to_run
from morel_search.verification.rivals import RivalModel, load_rival
from morel_search.workflows import preflight
from morel_search.workflows.rivals import chosen_rivals

NETWORKS = '''
from pathlib import Path
import torch
from torch import nn

Path(__file__).with_name("imported").touch()

class Linear(nn.Module):
    """The nearest of some points, one for each class."""
    SCALE = 1.0
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(64, 10)
        with torch.no_grad():
            points = torch.rand(10, 64, generator=torch.Generator().manual_seed(0))
            self.linear.weight.copy_(2 * self.SCALE * points)
            self.linear.bias.copy_(-self.SCALE * points.square().sum(1))

    def forward(self, images):
        return self.linear(images.flatten(1))

class Other(Linear):
    SCALE = 2.0

class NotFinite(Linear):
    def forward(self, images):
        return super().forward(images) / 0

class Dropout(Linear):
    def forward(self, images):
        return super().forward(nn.functional.dropout(images, 0.5, training=True))

class Batch(Linear):
    def forward(self, images):
        return super().forward(images - images.mean(0, keepdim=True))

class NoGrad(Linear):
    @torch.no_grad()
    def forward(self, images):
        return super().forward(images)

def four():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4))

def large():
    return nn.Sequential(nn.Flatten(), nn.Linear(65, 10))

def broken():
    raise KeyError("no weights here")
'''

SPACE = """
data: {name: digits, validation: 60, limit: 260, test_limit: 80}
network: {name: small_cnn, options: {width: 4}}
train: {epochs: 3, optimizer: adamw, lr: 0.02}
evaluation: {epsilon: 1/5, steps: 3, every: 2}
parameters:
  beta: {type: float, low: 1, high: 12}
controls: [trades]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "rival_nets.py").write_text(NETWORKS)
    yield tmp_path
    sys.modules.pop("rival_nets", None)


def space_of(rivals: str, **more: Any) -> Any:
    Path("space.yaml").write_text(f"{SPACE}rivals: {rivals}\n")
    return load_space(Path("space.yaml"), **more)


# The space file


def test_a_rival_is_a_text_or_a_network_with_weights() -> None:
    space = space_of(
        "{a: rival_nets:Linear, b: results/x/picked/3, "
        "c: {name: small_cnn, options: {width: 8}, weights: w.pt}}"
    )
    network = NetworkSettings(name="small_cnn", options={"width": 8}, weights="w.pt")
    assert space.rivals == (
        Rival("a", "rival_nets:Linear"),
        Rival("b", "results/x/picked/3"),
        Rival("c", network=network),
    )
    described = json.loads(json.dumps(space.describe()["rivals"]))
    assert described[:2] == [
        {"name": "a", "source": "rival_nets:Linear"},
        {"name": "b", "source": "results/x/picked/3"},
    ]
    assert described[2]["network"]["weights"] == "w.pt"


def test_a_resumed_search_may_have_other_rivals() -> None:
    assert space_of("{a: rival_nets:Linear}").identity() == space_of("{}").identity()


def test_set_adds_changes_and_removes_a_rival() -> None:
    changed = [
        "rivals.b=results/y",
        "rivals.c.weights=z.pt",
        "rivals.c.options.width=16",
        "rivals.a=null",
    ]
    space = space_of("{a: rival_nets:Linear, c: {name: small_cnn, weights: w.pt}}", overrides=changed)
    named = {rival.name: rival for rival in space.rivals}
    assert set(named) == {"b", "c"}
    assert named["c"].network == NetworkSettings(name="small_cnn", options={"width": 16}, weights="z.pt")
    with pytest.raises(SpaceError, match="there is no setting 'wieghts'"):
        space_of("{c: {name: small_cnn, weights: w.pt}}", overrides=["rivals.c.wieghts=z.pt"])


@pytest.mark.parametrize(
    ("rivals", "sentence"),
    [
        ("[rival_nets:Linear]", "must be a mapping (name: network)"),
        ("{12: a}", "a key must be a text"),
        ("{a/b: c}", "the name of a rival must be a letter"),
        ("{trades: results/x}", "trades is the name of a control"),
        ("{a: 3}", "must be package.module:name, the folder of a network, or a mapping"),
        ("{a: ''}", "is empty"),
        ("{a: rival_nets:Absent}", "rival_nets has no Absent"),
        ("{a: 'os:system'}", "standard library"),
        ("{a: {name: small_cnn}}", "small_cnn needs weights"),
        ("{a: {name: small_cnn, weight: w.pt}}", "did you mean weights"),
        ("{a: {name: smal_cnn, weights: w.pt}}", "did you mean small_cnn"),
    ],
)
def test_a_mistake_is_named_with_its_place(rivals: str, sentence: str) -> None:
    with pytest.raises(SpaceError, match="rivals") as error:
        space_of(rivals)
    assert sentence in str(error.value)


def test_an_editor_accepts_what_is_read() -> None:
    validator = jsonschema.Draft7Validator(json_schema())
    base = {"data": {"name": "digits"}, "network": {"name": "vit"}, "parameters": {"beta": BETA}}
    assert validator.is_valid({**base, "rivals": {"a": "m:f", "b": {"name": "vit", "weights": "w.pt"}}})
    assert validator.is_valid({**base, "rivals": None})
    for wrong in ({"1": "m:f"}, {"a": {"name": "vit"}}, {"a": 3}, ["m:f"]):
        assert not validator.is_valid({**base, "rivals": wrong})


BETA = {"type": "float", "low": 1, "high": 2}


def test_the_option_of_verify_takes_what_a_space_file_takes() -> None:
    read = read_rival_options(["a=rival_nets:Linear", "b={name: small_cnn, weights: w.pt}", "c=none"], ())
    assert read == {
        "a": Rival("a", "rival_nets:Linear"),
        "b": Rival("b", network=NetworkSettings(name="small_cnn", weights="w.pt")),
        "c": None,
    }
    for wrong, sentence in (
        (["rival_nets:Linear"], "write NAME=NETWORK"),
        (["a=x", "a=y"], "given twice"),
        (["a={name: x"], "is not YAML"),
        (["a={name: x, weights: y}"], "--rival"),
        (["trades=x"], "is the name of a control"),
    ):
        with pytest.raises(SpaceError) as error:
            read_rival_options(wrong, ["trades"])
        assert sentence in str(error.value)


# Before the search


@pytest.mark.parametrize(
    ("rival", "sentence"),
    [
        ("rival_nets:four", "must give logits of shape (N, 10) for N images of 10 classes, got (8, 4)"),
        ("rival_nets:large", "does not take images of 1 x 8 x 8"),
        ("rival_nets:NotFinite", "gives logits that are not finite"),
        ("rival_nets:Dropout", "is random in eval mode"),
        ("rival_nets:Batch", "predicts an image differently in eval mode"),
        ("rival_nets:NoGrad", "gives logits without a gradient"),
        ("rival_nets:broken", "no weights here"),
        ("nowhere", "nowhere is neither a folder of a network nor an import path"),
        ("{name: small_cnn, weights: nowhere.pt}", "nowhere.pt, which is missing: no such file"),
        ("{name: small_cnn, options: {width: 8}, weights: narrow.pt}", "must have the shape"),
        ("{name: small_cnn, options: {width: 4}, weights: four.pt}", "has one of the shape (4,"),
    ],
)
def test_a_rival_that_cannot_be_used_is_one_sentence_before_the_search(rival: str, sentence: str) -> None:
    for file, classes in (("narrow.pt", 10), ("four.pt", 4)):
        network = build_network(NetworkSettings(name="small_cnn", options={"width": 4}), (1, 8, 8), classes)
        torch.save(network.state_dict(), file)
    space = space_of(f"{{theirs: {rival}}}")
    with pytest.raises(NetworkError) as error:
        preflight.inspect(space)
    assert sentence in str(error.value)
    assert str(error.value).startswith("rival theirs")


def test_the_cost_of_a_rival_is_known_before_the_search() -> None:
    notes = preflight.inspect(space_of("{nearest: rival_nets:Linear}")).notes
    (note,) = [note for note in notes if "rival" in note]
    # 10 x 64 weights and 10 biases; a multiplication and an addition for each weight
    assert note == (
        "rival nearest (rival_nets:Linear) has 650 parameters and needs 1.3 thousand operations for each "
        "image"
    )


# Checkpoints and folders


class Theirs(nn.Module):
    """A network of somebody else, whose checkpoint has its normalisation and stands below a key."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mu", torch.tensor([0.3]).view(1, 1, 1, 1))
        self.register_buffer("sigma", torch.tensor([0.7]).view(1, 1, 1, 1))
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU())
        self.fc = nn.Linear(12, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.fc(self.body((images - self.mu) / self.sigma))  # type: ignore[operator,no-any-return]


def model_of(rival: Rival) -> RivalModel:
    return RivalModel(rival, (1, 8, 8), tuple(map(str, range(10))), ALL_CODE)


def test_a_checkpoint_gives_the_logits_of_its_network() -> None:
    theirs, images = Theirs().eval(), torch.rand(5, 1, 8, 8)
    state = {f"module.{name}": tensor for name, tensor in theirs.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, "theirs.pt")
    Path("their_code.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU())\n"
        "        self.fc = nn.Linear(12, 10)\n"
        "    def forward(self, images):\n"
        "        return self.fc(self.body(images))\n"
    )
    rival = Rival("theirs", network=NetworkSettings(name="their_code:Net", weights="theirs.pt"))
    network = load_rival(model_of(rival))
    assert not network.training
    assert torch.allclose(network(images), theirs(images), atol=1e-5)


def test_a_timm_checkpoint_gives_the_logits_of_timm() -> None:
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("test_resnet", num_classes=10, in_chans=1).eval()
    torch.save(theirs.state_dict(), "timm.pth")
    settings = NetworkSettings(name="timm/test_resnet", options={"mean": 0, "std": 1}, weights="timm.pth")
    network, images = load_rival(model_of(Rival("theirs", network=settings))), torch.rand(3, 1, 8, 8)
    assert torch.allclose(network(images), theirs(images), atol=1e-4)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    train_trial(folder)
    return folder / "model.pt"


@pytest.fixture
def run(trained: Path) -> RunFolder:
    run = make_trained_run(Path("results"), trained, figures=FIGURES[:1])
    run.write_text(run.space, SPACE)
    return run


@pytest.mark.parametrize("kind", ["picked", "front"])
def test_a_folder_of_this_project_is_checked_against_the_data(run: RunFolder, kind: str) -> None:
    assert pick([str(run.path), "--member", "0"]) == 0
    folder, images = run.path / kind / "0", torch.rand(4, 1, 8, 8)
    model = model_of(Rival("old", str(folder)))
    assert torch.equal(load_rival(model)(images), load_model(folder)(images))
    with pytest.raises(NetworkError, match="images of 1 x 8 x 8, and the images are 1 x 16 x 16"):
        load_rival(replace(model, image_shape=(1, 16, 16)))
    with pytest.raises(NetworkError, match="classes of the data set in another order"):
        load_rival(replace(model, classes=tuple(reversed(model.classes))))


# Verification


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's tasks run at once in this process; networks, attacks and files are real."""

    class Result:
        def __init__(self, value: object) -> None:
            self.value = value

    class Task:
        def __init__(self, function: Callable[..., object]) -> None:
            self.function = function

        def remote(self, *given: object) -> Result:
            return Result(self.function(*given))

    monkeypatch.setattr(session, "ray_session", lambda address: nullcontext())
    monkeypatch.setattr(placement, "check_resources", lambda resources, patience: None)
    monkeypatch.setattr(tasks, "on_cluster", lambda function, *given, **options: function(*given))
    monkeypatch.setattr(
        runner, "_describe", lambda setup, path: worker.describe_test_split(setup.data, str(path))
    )
    monkeypatch.setattr(runner, "trial_task", lambda function, resources: Task(function))
    monkeypatch.setattr(runner, "concurrency", lambda resources: 1)
    monkeypatch.setattr(ray, "wait", lambda references, timeout: (references[:1], references[1:]))
    monkeypatch.setattr(ray, "get", lambda reference: reference.value)
    monkeypatch.setattr(runner, "update_pictures", lambda *arguments: None)


def verify(run: RunFolder, *words: str, images: int = 16) -> int:
    return main(["verify", str(run.path), "--images", str(images), "-q", *words])


def verified(run: RunFolder) -> dict[str, dict[str, Any]]:
    rows = pd.read_csv(run.verified, dtype={"name": str}).to_dict("records")
    return {row["name"] if pd.isna(row["number"]) else str(int(row["number"])): row for row in rows}


def test_its_results_are_those_of_verify_model_image_by_image(without_ray: None, run: RunFolder) -> None:
    """The same attacks on the same images: with and without a run, in every cell of the records."""
    assert verify(run, "--rival", "nearest=rival_nets:Linear") == 0
    words = ["--data", str(run.space), "--images", "16", "--out", "alone", "-q"]
    assert main(["verify", "--model", "rival_nets:Linear", *words]) == 0
    beside = read_records(run)["rival-nearest"]
    alone = read_records(RunFolder(Path("alone").absolute()))["Linear"]
    assert (beside.table != UNKNOWN).any(axis=1).sum() == 16
    assert beside.table.tolist() == alone.table.tolist()
    assert beside.setup == alone.setup
    row, other = verified(run)["nearest"], pd.read_csv("alone/verified.csv").iloc[0]
    for column in ("images", "clean_accuracy", "robust_accuracy", "robust_low", "robust_high", "after_pgd"):
        assert row[column] == other[column], column
    assert not row["on_front"]
    assert row["verdict"] in ("rival", "beaten")


def test_it_is_kept_continued_and_left_out(
    without_ray: None, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(run, "--rival", "nearest=rival_nets:Linear", images=8) == 0
    (entry,) = read_rivals(run)
    assert (entry.name, entry.given, entry.by_command) == ("nearest", "rival_nets:Linear", True)
    assert (entry.parameters, entry.operations, entry.own_network) == (650, 1280, "0")
    capsys.readouterr()
    assert verify(run, images=16) == 2, "the folder names code"
    assert "rivals.json names the code rival_nets:Linear" in capsys.readouterr().err
    assert verify(run, "--trust", images=16) == 0
    assert verified(run)["nearest"]["images"] == 16
    # Another network of the same name: it is noticed and attacked anew.
    Path("rival_nets.py").write_text(NETWORKS.replace("SCALE = 1.0", "SCALE = 0.5"))
    sys.modules.pop("rival_nets")
    worker.model_for.cache_clear()
    assert verify(run, "--trust", images=16) == 0
    assert (
        "has other weights than in the earlier verification; it is attacked anew" in capsys.readouterr().err
    )
    assert read_records(run)["rival-nearest"].setup.weights == read_rivals(run)[0].fingerprint
    assert read_rivals(run)[0].fingerprint != entry.fingerprint
    assert verify(run, "--rival", "nearest=none", images=16) == 0
    assert read_rivals(run) == ()
    assert "nearest" not in verified(run)
    assert verify(run, "--rival", "absent=none") == 2
    assert "has no rival of this name" in capsys.readouterr().err


def test_a_rival_that_cannot_be_used_stops_verify_before_any_attack(
    without_ray: None, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(run, "--rival", "random=rival_nets:Dropout") == 2
    assert "rival random (rival_nets:Dropout) is random in eval mode" in capsys.readouterr().err
    assert not run.verification.exists()
    assert not run.rivals.exists()


def test_after_a_search_the_front_is_verified_without_a_rival_that_is_gone(
    without_ray: None, run: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    from morel_search.training.compute_settings import FLOAT32
    from morel_search.verification.runner import VerificationBudget
    from morel_search.workflows.verify import verify_run

    space = space_of("{gone: results/gone, nearest: rival_nets:Linear}")
    chosen = chosen_rivals(space, run)
    found = verify_run(space, run, FLOAT32, VerificationBudget(8), rivals=chosen, quiet=True)
    assert found is not None
    assert [rival.name for rival in found.rivals] == ["nearest"]
    assert "rival gone: results/gone is neither a folder" in capsys.readouterr().err


# Consent


@pytest.mark.parametrize(
    "given",
    ["rival_nets:Linear", {"name": "rival_nets:Linear", "weights": "w.pt"}],
)
def test_code_that_a_run_folder_names_is_not_even_imported(
    run: RunFolder, given: object, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = {"name": "theirs", "given": given, "by_command": True, "title": "theirs"}
    run.write_json(run.rivals, {"rivals": [entry]})
    assert main(["verify", str(run.path)]) == 2
    assert "--trust" in capsys.readouterr().err
    run.rivals.unlink()
    run.write_text(run.space, f"{SPACE}rivals: {{theirs: {json.dumps(given)}}}\n")
    assert main(["verify", str(run.path)]) == 2
    assert "names the code rival_nets:Linear" in capsys.readouterr().err
    assert not Path("imported").exists()


def test_code_of_a_rivals_folder_needs_consent_too(run: RunFolder) -> None:
    assert pick([str(run.path), "--member", "0"]) == 0
    settings = run.path / "picked" / "0" / "settings.json"
    content = json.loads(settings.read_text())
    content["network"] = {"name": "rival_nets:Linear", "options": {}}
    settings.write_text(json.dumps(content))
    with pytest.raises(UntrustedCodeError, match="names the code rival_nets:Linear; the space file does not"):
        preflight.inspect(space_of(f"{{theirs: {run.path / 'picked' / '0'}}}"))
    assert not Path("imported").exists()


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[]", "is no object"),
        ('{"rivals": [{"name": "../x", "given": "y"}]}', "is not the name of a rival"),
        ('{"rivals": [{"name": "x"}]}', "has no network"),
        ('{"rivals": [{"name": "x", "given": "y", "parameters": "many"}]}', "must be a whole number"),
        ("{", "is damaged"),
    ],
)
def test_a_damaged_file_is_one_sentence(run: RunFolder, content: str, sentence: str) -> None:
    run.write_text(run.rivals, content)
    with pytest.raises(RunFolderError, match=r"rivals\.json") as error:
        read_rivals(run)
    assert sentence in str(error.value)


def test_pick_takes_no_rival(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    run.write_json(run.rivals, {"rivals": [{"name": "theirs", "given": "results/x", "title": "x"}]})
    assert pick([str(run.path), "--member", "theirs"]) == 2
    assert "theirs is a rival, a network that this search did not train" in capsys.readouterr().err


# Chunks


def test_a_rival_that_needs_more_time_gets_smaller_chunks(run: RunFolder) -> None:
    from verified_runs import SETUP

    from morel_search.results.attack_records import open_record

    rows = np.random.default_rng(0).permutation(40)
    records = {name: open_record(run, name, SETUP, 40) for name in ("0", "rival-x")}
    chunks = chunks_to_run(records, rows, 20, 40, {"rival-x": 6})
    sizes = {name: [len(c.rows) for c in chunks if c.network == name and c.stages] for name in records}
    assert sizes["0"] == [20, 20, 20, 20]
    assert sizes["rival-x"] == [6, 6, 6, 2] * 4
    for name in records:
        first = [chunk for chunk in chunks if chunk.network == name and chunk.first and "pgd" in chunk.stages]
        assert np.concatenate([chunk.rows for chunk in first]).tolist() == rows[:20].tolist()
