"""Predictions that are random or depend on the batch are detected before a search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from run_folders import make_space
from torch import Tensor, nn
from torch.nn import functional

from morel_search.errors import NetworkError
from morel_search.training.datasets.loading import ImageSet
from morel_search.training.networks import NETWORKS, build_network
from morel_search.training.predictions import NOISE, batch_effect, randomness
from morel_search.training.settings import DataSettings, NetworkSettings
from morel_search.verification import worker
from morel_search.workflows.preflight import inspect, preflight_warnings

NETWORKS_OF_OTHERS = """
from torch import nn
from torch.nn import functional

class StaysInTraining(nn.Sequential):
    def __init__(self, num_classes=10):
        first = nn.Linear(64, 16)
        super().__init__(nn.Flatten(), first, nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, num_classes))
    def train(self, mode=True):
        return super().train(True)

class WithoutStatistics(nn.Sequential):
    def __init__(self, num_classes=10):
        super().__init__(
            nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8, track_running_stats=False), nn.ReLU(), nn.Flatten(),
            nn.Linear(288, num_classes),
        )

class Dropout(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.head = nn.Linear(64, num_classes)
    def forward(self, x):
        return self.head(functional.dropout(x.flatten(1), 0.5, training=True))
"""


class Always(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return functional.dropout(images.flatten(1), 0.5, training=True)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["small_cnn", "resnet18", "preact_resnet18", "vit"])
def test_built_in_networks_depend_on_the_image_alone(name: str) -> None:
    assert name in NETWORKS
    torch.manual_seed(0)
    network = build_network(NetworkSettings(name=name), (3, 32, 32), 10)
    few = torch.rand(8, 3, 32, 32)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert randomness(network, few) == 0
    assert batch_effect(network, few, network.features) < NOISE / 10
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_batch_statistics_are_an_effect_of_the_batch(images: Tensor) -> None:
    norm = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten())
    assert randomness(norm, images) == 0
    assert batch_effect(norm, images) > 0.1
    single = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(64, track_running_stats=False))
    assert batch_effect(single, images) == float("inf"), "it cannot take one image"
    position = _ByPosition()
    assert batch_effect(position, images) > 0.1


class _ByPosition(nn.Module):
    """The first image of a batch has another output."""

    def forward(self, images: Tensor) -> Tensor:
        outputs = images.flatten(1).clone()
        outputs[0] += 1
        return outputs


def test_active_dropout_is_random(images: Tensor) -> None:
    assert randomness(Always(), images) > 0.5
    assert batch_effect(Always(), images) == 0, "it cannot be told apart from randomness"


@pytest.fixture
def others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "networks_of_others.py").write_text(NETWORKS_OF_OTHERS)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("others")
@pytest.mark.parametrize("name", ["StaysInTraining", "WithoutStatistics"])
def test_a_search_refuses_predictions_that_depend_on_the_batch(name: str) -> None:
    space = replace(make_space(), network=NetworkSettings(name=f"networks_of_others:{name}"))
    with pytest.raises(NetworkError, match="differently in eval mode if the other images of the batch"):
        inspect(space)


@pytest.mark.usefixtures("others")
def test_a_search_warns_of_active_dropout() -> None:
    space = replace(make_space(), network=NetworkSettings(name="networks_of_others:Dropout"))
    (warning,) = [text for text in preflight_warnings(space, inspect(space)) if "random" in text]
    assert "is random in eval mode: two passes over the same images differ" in warning


def test_a_verification_refuses_predictions_that_depend_on_the_batch(
    images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = ImageSet((255 * images).to(torch.uint8), torch.zeros(8, dtype=torch.int64))
    monkeypatch.setattr(worker, "test_images", lambda data: split)
    network = nn.Sequential(nn.BatchNorm2d(1, track_running_stats=False), nn.Flatten(), nn.Linear(64, 3))
    monkeypatch.setattr(worker, "model_for", lambda path, device, consent: network)
    with pytest.raises(NetworkError, match=r"the network in front/3/model\.pt predicts an image differently"):
        worker.describe_test_split(DataSettings(name="digits"), "front/3/model.pt")
    monkeypatch.setattr(worker, "model_for", lambda path, device, consent: network[1:])
    assert worker.describe_test_split(DataSettings(name="digits"), "front/3/model.pt").images == 8


def test_an_ordinary_network_passes() -> None:
    assert inspect(make_space()).warnings == ()
