"""Code that a folder names runs only with consent, whichever file names it and whichever command reads it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from run_folders import SPACE
from trained_runs import NETWORK, TRAIN, make_trained_run, train_trial

import morel_search
from morel_search._consent import NO_CODE, consent_to, import_paths, trust_option
from morel_search.cluster.test_scores import _score
from morel_search.config import load_space
from morel_search.errors import MorelSearchError, NetworkError, TrainingError, UntrustedCodeError
from morel_search.models.checkpoint import load_model as load_checkpoint
from morel_search.models.load import read_settings
from morel_search.models.recipe import read_training_config
from morel_search.pick import main as pick
from morel_search.report import main as report
from morel_search.results.folder import RunFolder
from morel_search.train import main as train
from morel_search.training.compute_settings import FLOAT32
from morel_search.training.networks import build_network
from morel_search.training.objectives import accuracy_objective
from morel_search.training.settings import NetworkSettings, TrainSettings
from morel_search.verification.worker import model_for
from morel_search.verify import main as verify

CODE = """
from pathlib import Path
from torch import nn
import torch.nn.functional as F

Path(__file__).with_name("imported").touch()

class Net(nn.Sequential):
    def __init__(self, width=4, num_classes=10):
        super().__init__(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, num_classes))

def loss(clean, adv, y, *, epoch, settings):
    return F.cross_entropy(adv, y)
"""
OWN = {"name": "sent_code:Net", "options": {"width": 4}}
SHELL = {"name": "os:system", "options": {"command": "touch ran"}}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("run")
    train_trial(folder / "trial")
    run = make_trained_run(folder, folder / "trial" / "model.pt")
    run.write_text(run.space, SPACE)
    assert pick([str(run.path), "--member", "1"]) == 0
    return run


@pytest.fixture
def run(original: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run folder in the current folder, beside the module ``sent_code``, whose import leaves a file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sent_code", raising=False)
    (tmp_path / "sent_code.py").write_text(CODE)
    return RunFolder(Path(shutil.copytree(original.path, tmp_path / "sent")))


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_checkpoint(path: Path, network: object) -> None:
    torch.save({**torch.load(path, weights_only=True), "network": network}, path)


def own_network_everywhere(run: RunFolder) -> None:
    """Make the networks of a run those of ``sent_code``, as if the run's space had named it."""
    model = build_network(NetworkSettings(**OWN), (1, 8, 8), 10)  # type: ignore[arg-type]
    for folder in run.front_models.iterdir():
        content = torch.load(folder / "model.pt", weights_only=True)
        torch.save({**content, "network": OWN, "weights": model.state_dict()}, folder / "model.pt")
        change_json(folder / "settings.json", network=OWN)
    forget()


def forget() -> None:
    sys.modules.pop("sent_code", None)
    Path("imported").unlink(missing_ok=True)


def nothing_ran() -> bool:
    return "sent_code" not in sys.modules and not Path("imported").exists() and not Path("ran").exists()


@pytest.mark.parametrize("network", [OWN, SHELL])
@pytest.mark.parametrize("file", ["settings.json", "model.pt"])
def test_a_sent_model_folder_runs_nothing(run: RunFolder, network: dict[str, Any], file: str) -> None:
    folder = run.path / "picked" / "1"
    if file == "model.pt":
        folder = run.front_models / "1"
        change_checkpoint(folder / file, network)
    else:
        change_json(folder / file, network=network)
    with pytest.raises(UntrustedCodeError, match=rf"{file} names the code {network['name']}; .* --trust"):
        morel_search.load_model(folder)
    assert nothing_ran()


@pytest.mark.parametrize("network", [OWN, SHELL])
@pytest.mark.parametrize("command", ["pick", "train", "train exported", "verify"])
def test_no_command_runs_it(
    run: RunFolder, command: str, network: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (*run.front_models.iterdir(), run.path / "picked" / "1"):
        change_json(folder / "settings.json", network=network)
        if (folder / "model.pt").exists():
            change_checkpoint(folder / "model.pt", network)
    run.write_text(run.space, SPACE.replace("{name: small_cnn, options: {width: 16}}", json.dumps(network)))
    code = {
        "pick": lambda: pick([str(run.path), "--member", "2"]),
        "train": lambda: train([str(run.front_models / "2")]),
        "train exported": lambda: train([str(run.path / "picked" / "1")]),
        "verify": lambda: verify([str(run.path)]),
    }[command]()
    assert code == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert f"names the code {network['name']}; such code runs only with your consent" in errors
    assert nothing_ran()


def test_an_objective_is_code_too(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    folder = run.path / "picked" / "1"
    settings = read_settings(folder)
    change_json(folder / "settings.json", train={**settings.train, "accuracy_loss": "sent_code:loss"})
    assert train([str(folder)]) == 2
    assert "sent_code:loss" in capsys.readouterr().err
    assert nothing_ran()
    assert train([str(folder), "--trust", "--out", "new"]) == 0
    assert Path("imported").exists()


@pytest.mark.parametrize(
    "changed",
    [
        SPACE.replace("batch_size: 64", "batch_size: 64, accuracy_loss: 'sent_code:loss'").replace(
            "  accuracy_loss: {type: categorical, choices: [trades, mart, loat, pgd]}\n", ""
        ),
        SPACE.replace("choices: [trades,", "choices: ['sent_code:loss', trades,"),
        SPACE.replace("morel_alpha0]", "{name: own, accuracy_loss: 'sent_code:loss'}]"),
        SPACE.replace("name: small_cnn", "name: sent_code:Net"),
        SPACE.replace("name: small_cnn", 'name: "sent_code:\\u004eet"'),
    ],
)
def test_a_space_in_a_run_folder_runs_nothing(run: RunFolder, changed: str) -> None:
    assert changed != SPACE
    run.write_text(run.space, changed)
    with pytest.raises(UntrustedCodeError, match=r"space\.yaml names the code sent_code:"):
        load_space(run.space, consent=NO_CODE)
    assert verify([str(run.path)]) == 2
    assert nothing_ran()


def test_recorded_overrides_run_nothing(run: RunFolder) -> None:
    change_json(run.settings, overrides=["network.name=sent_code:Net"])
    assert verify([str(run.path)]) == 2
    assert nothing_ran()


def test_a_report_runs_nothing(run: RunFolder) -> None:
    values = json.loads(run.settings.read_text())
    change_json(run.settings, space={**values["space"], "network": SHELL}, overrides=["network.name=a:b"])
    run.write_text(run.space, SPACE.replace("name: small_cnn", "name: sent_code:Net"))
    assert report([str(run.path)]) == 0
    assert len(morel_search.load_results(run.path).front) == 3
    assert nothing_ran()


def test_with_consent_it_is_loaded(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    own_network_everywhere(run)
    model = morel_search.load_model(run.front_models / "1", trust_code=True)
    assert model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)
    assert pick([str(run.path), "--member", "2", "--trust"]) == 0
    out = capsys.readouterr().out
    target = run.path / "picked" / "2"
    assert f"morel_search.verify {run.path} --trust verifies them" in out
    assert f"morel_search.train {target} --trust" in out
    card = (target / "README.md").read_text()
    assert 'morel_search.load_model("2", trust_code=True)' in card
    assert "morel_search.train 2 --trust" in card
    assert "`sent_code:Net` is code" in card
    forget()
    with pytest.raises(UntrustedCodeError):
        morel_search.load_model(target)
    assert nothing_ran()
    morel_search.load_model(target, trust_code=True)


@pytest.mark.parametrize("name", ["os:system", "subprocess:run", "subprocess:Popen", "builtins:exec"])
def test_consent_does_not_make_it_a_network(run: RunFolder, name: str) -> None:
    """What is named is resolved and checked before it is called."""
    folder = run.front_models / "1"
    change_checkpoint(folder / "model.pt", {"name": name, "options": {"command": "touch ran"}})
    with pytest.raises(NetworkError, match="is part of Python's standard library"):
        morel_search.load_model(folder, trust_code=True)
    with pytest.raises(TrainingError, match=r"is part of Python's standard library|is a class"):
        accuracy_objective(TrainSettings(accuracy_loss=name))
    assert nothing_ran()


def test_the_door_refuses_it_too(tmp_path: Path) -> None:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE.replace("name: small_cnn", "name: os:system"))
    with pytest.raises(MorelSearchError, match=r"network\.name: is part of Python's standard library"):
        load_space(path)


@pytest.mark.parametrize("name", [7, None, ["a:b"], {"a:b": 1}])
def test_a_name_that_is_no_text_is_a_damaged_file(run: RunFolder, name: object) -> None:
    change_checkpoint(run.front_models / "1" / "model.pt", {"name": name, "options": {}})
    with pytest.raises(NetworkError, match="the name of the network must be a text"):
        morel_search.load_model(run.front_models / "1", trust_code=True)


def test_a_pickle_is_not_read(run: RunFolder) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path("ran").touch, ()

    path = run.front_models / "1" / "model.pt"
    torch.save({**torch.load(path, weights_only=True), "facts": Bomb()}, path)
    with pytest.raises(NetworkError, match="is not a network of this project"):
        morel_search.load_model(path.parent, trust_code=True)
    assert nothing_ran()


def test_workers_of_a_run_load_the_network_of_its_space_alone(run: RunFolder) -> None:
    """A resumed search and a verification run code that the space names, and nothing else."""
    path = run.front_models / "1" / "model.pt"
    change_checkpoint(path, OWN)
    data, evaluation = load_space(run.space).data, load_space(run.space).evaluation
    for consent in (consent_to("small_cnn"), consent_to("other_code:Net")):
        with pytest.raises(UntrustedCodeError, match="the space file of this run does not name it"):
            _score((1, 3), str(path), data, evaluation, FLOAT32, "cpu", 1, consent)
        with pytest.raises(UntrustedCodeError, match="the space file of this run does not name it"):
            model_for(str(path), "cpu", consent)
    assert nothing_ran()
    own_network_everywhere(run)
    load_checkpoint(path, consent_to(OWN["name"]))


def test_replicates_train_what_the_space_names_alone(run: RunFolder) -> None:
    settings = read_settings(run.front_models / "1")
    assert read_training_config(settings, run.path, consent_to({"network": {"name": NETWORK.name}}))
    change_json(run.front_models / "1" / "settings.json", network=OWN)
    settings = read_settings(run.front_models / "1")
    with pytest.raises(UntrustedCodeError):
        read_training_config(settings, run.path, consent_to({"network": {"name": NETWORK.name}}))
    assert read_training_config(settings, run.path, consent_to({"network": OWN})).train == TRAIN


def test_import_paths_are_found_at_any_depth() -> None:
    values = {"a": [{"b:c": ("d.e:f.g", "8/255", "a b:c", ":x", "x:", "https://a:b")}], "n": 3, "t": None}
    assert list(import_paths(values)) == ["b:c", "d.e:f.g"]
    assert trust_option(values) == " --trust"
    assert trust_option({"network": {"name": "small_cnn"}}) == ""
