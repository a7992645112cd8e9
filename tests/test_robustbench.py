"""A network of this project is a model of RobustBench: its loader and its evaluation take it as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from pyautoattack import AutoAttack
from torch import Tensor, nn

import morel_search
from morel_search.models.load import weights_bytes
from morel_search.training.networks import build_network
from morel_search.training.settings import NetworkSettings

SHAPE = (3, 32, 32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    options = {"width": 4, "mean": [0.4, 0.5, 0.6], "std": 0.25}
    torch.manual_seed(0)
    network = build_network(NetworkSettings(name="small_cnn", options=options), SHAPE, 10)
    (tmp_path / "model.safetensors").write_bytes(weights_bytes(network))
    settings = {
        "format": 1,
        "network": {"name": "small_cnn", "options": options},
        "image_shape": list(SHAPE),
        "classes": [str(number) for number in range(10)],
    }
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    return tmp_path


def data(model: nn.Module) -> tuple[Tensor, Tensor]:
    """16 images, of which 12 are classified rightly."""
    images = torch.rand(16, *SHAPE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = model(images).argmax(1)
    labels[:4] = (labels[:4] + 1) % 10
    return images, labels


def clean_accuracy(model: nn.Module, images: Tensor, labels: Tensor, batch_size: int) -> float:
    """The share of right predictions, batch by batch, as RobustBench computes it."""
    with torch.no_grad():
        right = [
            (model(images[start : start + batch_size]).max(1)[1] == labels[start : start + batch_size]).sum()
            for start in range(0, len(images), batch_size)
        ]
    return sum(map(int, right)) / len(images)


def test_the_steps_of_a_benchmark_run_on_a_network(folder: Path) -> None:
    model = morel_search.load_model(folder)
    assert isinstance(model, nn.Module)
    assert not model.training, "RobustBench warns of models in training mode"
    model = model.to(torch.device("cpu"))
    images, labels = data(model)
    assert clean_accuracy(model, images, labels, 5) == clean_accuracy(model, images, labels, 16) == 0.75
    adversary = AutoAttack(model, norm="Linf", eps=4 / 255, version="custom", attacks=["apgd-ce"], seed=0)
    adversarial, _ = adversary.run_standard_evaluation(images, labels, batch_size=8)
    assert float((adversarial - images).abs().max()) <= 4 / 255 + 1e-6
    assert clean_accuracy(model, adversarial, labels, 8) < 0.75


def test_its_state_dict_is_what_the_loader_reads(folder: Path, tmp_path: Path) -> None:
    """RobustBench removes ``module.`` and ``model.`` from the names, and loads the rest strictly."""
    model = morel_search.load_model(folder)
    assert not [name for name in model.state_dict() if "module." in name or "model." in name]
    torch.save(model.state_dict(), tmp_path / "Mine.pt")
    again = morel_search.load_model(folder)
    with torch.no_grad():
        for weight in again.parameters():
            weight.zero_()
    again.load_state_dict(torch.load(tmp_path / "Mine.pt", map_location="cpu"), strict=True)
    images, _ = data(model)
    assert torch.equal(again(images), model(images))


def test_the_loader_of_robustbench(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utils: Any = pytest.importorskip("robustbench.utils", exc_type=ImportError)
    from robustbench.model_zoo import model_dicts  # type: ignore[import-not-found]
    from robustbench.model_zoo.enums import BenchmarkDataset, ThreatModel  # type: ignore[import-not-found]

    model = morel_search.load_model(folder)
    monkeypatch.chdir(tmp_path)
    Path("models/cifar10/Linf").mkdir(parents=True)
    torch.save(model.state_dict(), "models/cifar10/Linf/Mine.pt")
    entry = {"model": lambda: morel_search.load_model(folder), "gdrive_id": "none"}
    monkeypatch.setitem(model_dicts[BenchmarkDataset.cifar_10][ThreatModel.Linf], "Mine", entry)
    loaded = utils.load_model("Mine", dataset="cifar10", threat_model="Linf")
    images, _ = data(model)
    assert torch.equal(loaded(images), model(images))
