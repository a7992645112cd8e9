"""Exported networks: they load to the same bits, other tools attack and run them, and faults are named."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from trained_runs import DATA, EVALUATION, NETWORK, make_trained_run, train_trial

import morel_search
from morel_search.errors import NetworkError, ResourceError, RunFolderError
from morel_search.models import formats
from morel_search.models import load as export
from morel_search.models.export import settings_of, write_export
from morel_search.models.model_card import model_card
from morel_search.models.settings import ModelSettings
from morel_search.pick import main
from morel_search.results import settings as results
from morel_search.training.augment import to_float
from morel_search.training.datasets.loading import load_test
from morel_search.training.evaluation import evaluate
from morel_search.training.networks import build_network
from morel_search.training.settings import NetworkSettings

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    train_trial(folder / "trial")
    run = make_trained_run(folder, folder / "trial" / "model.pt")
    assert main([str(run.path), "--torch-export"]) == 0
    return run.path / "picked" / "1"


@pytest.fixture
def copied(exported: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copied"))


def change(folder: Path, **values: Any) -> None:
    path = folder / "settings.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def images_and_labels() -> tuple[torch.Tensor, torch.Tensor]:
    test = load_test(DATA)
    return to_float(test.images), test.labels


def test_importing_the_package_imports_nothing() -> None:
    program = (
        "import sys, morel_search; assert morel_search.__version__; "
        "assert not {'torch', 'pandas', 'safetensors'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    with pytest.raises(AttributeError, match="no attribute 'load_modle'"):
        morel_search.load_modle  # noqa: B018


def test_the_format_is_the_run_folder_s() -> None:
    assert export.FORMAT == results.FORMAT


def test_the_network_has_no_embedding_head_and_learns_on(exported: Path) -> None:
    model = morel_search.load_model(str(exported))
    own = build_network(NETWORK, (1, 8, 8), 10)
    assert list(model.state_dict()) == list(own.state_dict())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert set(load_file(exported / "model.safetensors")) == set(own.state_dict())


def test_settings_say_everything(exported: Path) -> None:
    settings = json.loads((exported / "settings.json").read_text())
    front = json.loads((exported.parents[1] / "front" / "1" / "settings.json").read_text())
    assert front == {name: settings[name] for name in front}
    assert settings["image_shape"] == [1, 8, 8]
    assert settings["classes"] == [str(digit) for digit in range(10)]
    assert settings["compute"]["precision"] == "float32"
    assert settings["rungs"] == [1]
    assert settings["figures"]["test"] == {"clean_accuracy": 0.9, "robust_accuracy": 0.6}
    assert settings_of(exported).to_json() == settings


def test_the_card_says_what_matters(exported: Path) -> None:
    card = (exported / "README.md").read_text()
    for words in (
        "# small_cnn for digits: trial 1, epoch 3, seed 7\n",
        "(N, 1, 8, 8)",
        "10 classes: 0, 1, 2",
        "| on test images, targeted PGD-20 (9 classes), L∞, ε = 0.2, 2 starts | 90.0% | 60.0% | - |",
        "| on validation images, targeted PGD-20 (9 classes), L∞, ε = 0.2, 2 starts | 91.0% | 61.0% | 60 |",
        "No figure is verified",
        "Why this network: It is the knee",
        "Accuracy objective `trades` (beta 6.0)",
        "Training attack: 2 steps, linf, epsilon 2/51",
        "Epoch 3 of 3 was kept",
        "Data: 260 of the training images of `digits`; 60 of them, split off with the seed 0",
        "python -m morel_search.train 1",
        'morel_search.load_model("1")',
        "one norm and radius: linf, epsilon 1/5",
        "No licence is chosen.",
    ):
        assert words in card
    assert str(exported.parent) not in card


def test_torchattacks_pgd_and_this_project_s_agree(exported: Path) -> None:
    """Both are PGD from the same kind of start; the noise differs, so a few of the 80 images may too."""
    import torchattacks

    torch.manual_seed(0)
    model = morel_search.load_model(exported)
    images, labels = images_and_labels()
    attack = torchattacks.PGD(model, eps=0.1, alpha=0.0125, steps=20)
    robust = float((model(attack(images, labels)).argmax(dim=1) == labels).float().mean())
    settings = dataclasses.replace(EVALUATION, loss="cross_entropy", epsilon=EVALUATION.epsilon / 2, steps=20)
    own = evaluate(model, load_test(DATA), settings)
    assert float((model(images).argmax(dim=1) == labels).float().mean()) == pytest.approx(
        own.clean_accuracy, abs=1e-6
    )
    assert robust == pytest.approx(own.robust_accuracy, abs=4 / 80)
    assert own.robust_accuracy < own.clean_accuracy


def test_autoattack_runs_on_it(exported: Path) -> None:
    from pyautoattack import AutoAttack

    model = morel_search.load_model(exported)
    images, labels = (part[:20] for part in images_and_labels())
    attack = AutoAttack(model, norm="Linf", eps=0.2, seed=0, device="cpu")
    attack.apgd.loss = "ce"
    points = attack.apgd.perturb(images, labels)
    assert float((points - images).detach().abs().max()) <= 0.2 + 1e-6
    assert (model(points).argmax(dim=1) != labels).sum() >= (model(images).argmax(dim=1) != labels).sum()


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_exported_program_takes_batches_of_any_size(exported: Path, batch: int) -> None:
    images, _ = images_and_labels()
    program = torch.export.load(exported / "model.pt2").module()
    torch.testing.assert_close(
        program(images[:batch]), morel_search.load_model(exported)(images[:batch]), rtol=1e-5, atol=1e-5
    )


NETWORKS: dict[str, dict[str, Any]] = {
    "small_cnn": {"width": 4},
    "vit": {"patch": 4, "width": 16, "depth": 1, "heads": 2},
}


@pytest.mark.parametrize("name", NETWORKS)
def test_other_runtimes_compute_the_same_on_batches_of_any_size(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    torch.manual_seed(0)
    model = build_network(NetworkSettings(name=name, options=NETWORKS[name]), (1, 8, 8), 10).eval()
    formats.save_onnx(model, (1, 8, 8), tmp_path / "model.onnx")
    formats.save_program(model, (1, 8, 8), tmp_path / "model.pt2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.pt2"]
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    program = torch.export.load(tmp_path / "model.pt2").module()
    for batch in (1, 5):
        images = torch.rand(batch, 1, 8, 8)
        (logits,) = session.run(["logits"], {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), model(images).detach(), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(program(images), model(images), rtol=1e-5, atol=1e-5)


class Patches(nn.Module):
    """A network in whose graph the number of images is multiplied."""

    def __init__(self) -> None:
        super().__init__()
        self.patch, self.head = nn.Linear(16, 8), nn.Linear(32, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        patches = torch.relu(self.patch(images.reshape(len(images) * 4, 16)))
        return self.head(patches.reshape(len(images), 32))


@pytest.mark.parametrize("name", [*NETWORKS, "patches"])
def test_the_first_side_of_the_onnx_graph_is_called_batch(name: str, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    model = (
        Patches()
        if name == "patches"
        else build_network(NetworkSettings(name=name, options=NETWORKS[name]), (1, 8, 8), 10)
    )
    formats.save_onnx(model, (1, 8, 8), tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    sides = [
        [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output, *graph.value_info)
    ]
    assert sides[:2] == [["batch", 1, 8, 8], ["batch", 10]]
    assert not any(re.search(r"\bs\d+\b", side) for value in sides for side in value if isinstance(side, str))


def test_a_missing_package_is_named_before_anything_is_written(
    exported: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(ResourceError, match=r"pip install 'morel-search\[onnx\]'"):
        formats.check_format("onnx")
    assert main([str(exported.parents[1]), "--onnx", "--out", str(tmp_path / "new")]) == 2
    assert "ONNX needs onnx and onnxscript" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


class Stubborn(nn.Module):
    """A network that no tracer follows."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Decide by a value."""
        return x.flatten(1) if x.sum() > 0 else -x.flatten(1)


def test_a_network_that_cannot_be_traced_leaves_nothing(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(NetworkError, match=r"torch\.export cannot trace this network"):
        write_export(
            tmp_path / "new",
            Stubborn(),
            export.read_settings(exported),
            ["torch_export"],
        )
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_one_sentence(exported: Path) -> None:
    model = morel_search.load_model(exported)
    with pytest.raises(RunFolderError, match="cannot write /proc/"):
        write_export(Path("/proc/nowhere/new"), model, export.read_settings(exported))


def test_channels_last_weights_are_written_in_their_own_order(tmp_path: Path, exported: Path) -> None:
    model = morel_search.load_model(exported)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    write_export(
        tmp_path / "new",
        model.to(memory_format=torch.channels_last),
        export.read_settings(exported),
    )
    assert all(
        torch.equal(tensor, expected[name])
        for name, tensor in morel_search.load_model(tmp_path / "new").state_dict().items()
    )


def test_what_is_wrong_with_a_folder_is_said(copied: Path, tmp_path: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    cases: list[tuple[dict[str, torch.Tensor], str]] = [
        ({name: tensor for name, tensor in weights.items() if name != "head.bias"}, "head.bias is missing"),
        ({**weights, "extra": torch.zeros(1)}, "the network has no extra"),
        (
            {**weights, "head.bias": torch.zeros(3)},
            r"head.bias must have the shape \(10,\), got \(3,\)",
        ),
        (
            {**weights, "head.bias": torch.zeros(10, dtype=torch.float64)},
            "head.bias must be torch.float32, got torch.float64",
        ),
    ]
    for content, words in cases:
        save_file(content, copied / "model.safetensors")
        with pytest.raises(
            NetworkError, match=f"does not fit the network small_cnn of its settings: {words}"
        ):
            morel_search.load_model(copied)
    (copied / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(NetworkError, match=r"model.safetensors cannot be read"):
        morel_search.load_model(copied)
    (copied / "model.safetensors").unlink()
    with pytest.raises(NetworkError, match=r"has neither model.safetensors nor model.pt"):
        morel_search.load_model(copied)
    change(copied, format=1000)
    with pytest.raises(
        NetworkError, match="newer morel_search: it has format 1000, and this version reads formats up to"
    ):
        morel_search.load_model(copied)
    (copied / "settings.json").write_text("[]")
    with pytest.raises(NetworkError, match="is not the settings of a network"):
        morel_search.load_model(copied)
    (copied / "settings.json").write_text("{")
    with pytest.raises(NetworkError, match="cannot be read"):
        morel_search.load_model(copied)
    (copied / "settings.json").unlink()
    with pytest.raises(NetworkError, match=r"has no settings.json"):
        morel_search.load_model(copied)
    with pytest.raises(NetworkError, match="no such folder"):
        morel_search.load_model(tmp_path / "nowhere")


def test_settings_that_build_no_network_are_said(copied: Path) -> None:
    change(copied, network={"name": "small_cnn", "options": {"wdith": 4}})
    with pytest.raises(NetworkError, match="has no option wdith"):
        morel_search.load_model(copied)
    change(copied, network={"name": "small_cnn", "options": {"width": 5}})
    with pytest.raises(NetworkError, match="must have the shape"):
        morel_search.load_model(copied)
    change(copied, network={"name": "small_cnn", "options": {"width": 4}}, classes=None)
    with pytest.raises(NetworkError, match="does not say how to build the network"):
        morel_search.load_model(copied)
    change(copied, network={"nmae": "small_cnn"})
    with pytest.raises(NetworkError, match="knows no setting nmae"):
        morel_search.load_model(copied)


def test_the_card_says_which_settings_are_not_recorded() -> None:
    text = model_card(ModelSettings(network={"name": "small_cnn"}, figures={"measured": {}}), "one")
    assert "epsilon not recorded of the pixel range" in text
    assert "| measured accuracies |" in text
