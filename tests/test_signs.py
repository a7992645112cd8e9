"""What shows that an attack is fooled: networks that fool attacks on purpose, each by one trick."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict, replace
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from morel_search.analysis.masking import masking_warnings
from morel_search.results.diagnostics import MaskingDiagnostics
from morel_search.training.augment import to_float
from morel_search.training.datasets.loading import ImageSet, load_development
from morel_search.training.evaluation import evaluate
from morel_search.training.settings import (
    FLOAT32,
    DataSettings,
    EvaluationSettings,
    NetworkSettings,
    TrainSettings,
)
from morel_search.training.trainer import Training
from morel_search.verification.masking import diagnose_masking
from morel_search.verification.transfer import transferred

SETTINGS = EvaluationSettings(epsilon=Fraction(1, 8), steps=10)


class Trick(nn.Module):
    def __init__(self, network: nn.Module, kind: str) -> None:
        super().__init__()
        self.network, self.kind = network, kind

    def forward(self, images: Tensor) -> Tensor:
        if self.kind == "rounded":  # a gradient of exactly zero
            images = (images * 8).round() / 8
        logits: Tensor = self.network(images)
        if self.kind == "scaled":
            logits = logits * 1e4
        if self.kind == "random":
            logits = logits + 0.1 * logits.std() * torch.randn_like(logits)
        if self.kind == "infinite":
            logits = logits / torch.where(images.mean(dim=(1, 2, 3)) > 0.3, 0.0, 1.0).unsqueeze(1)
        return logits


@pytest.fixture(scope="module")
def network() -> tuple[nn.Module, Tensor, Tensor]:
    development = load_development(DataSettings(name="digits"))
    settings = TrainSettings(
        epochs=4,
        optimizer="adamw",
        lr=0.01,
        accuracy_loss="pgd",
        k_robust=0.0,
        gamma=0.0,
        epsilon=Fraction(1, 8),
        attack_steps=3,
    )
    training = Training(
        settings, NetworkSettings(name="small_cnn", options={"width": 8}), development, SETTINGS, seed=0
    )
    for _ in range(4):
        training.train_epoch()
    validation = development.validation
    return training.model.eval(), to_float(validation.images[:100]), validation.labels[:100]


def signs_of(network: tuple[nn.Module, Tensor, Tensor], kind: str) -> tuple[MaskingDiagnostics, list[str]]:
    model, images, labels = network
    signs = diagnose_masking(Trick(model, kind).eval(), images, labels, SETTINGS, seed=0, compute=FLOAT32)
    return signs, masking_warnings(signs, {}, 100, 0, {})


def test_an_honest_network_has_no_flag(network: tuple[nn.Module, Tensor, Tensor]) -> None:
    signs, said = signs_of(network, "none")
    assert said == []
    assert (signs.images, signs.scale, signs.zero_gradients, signs.unfit, signs.chance) == (
        100,
        1.0,
        0.0,
        0.0,
        0.0,
    )
    assert list(signs.curve) == sorted(signs.curve, reverse=True)
    assert signs.curve[0] > signs.curve[-1] > signs.everywhere
    assert signs.everywhere == 0.0


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("scaled", "logits are scaled up"),
        ("rounded", "gradients vanish"),
        ("random", "the forward pass is random"),
        ("infinite", "not finite"),
    ],
)
def test_each_trick_is_named(network: tuple[nn.Module, Tensor, Tensor], kind: str, words: str) -> None:
    signs, said = signs_of(network, kind)
    assert any(words in sentence for sentence in said), said
    json.dumps(asdict(signs), allow_nan=False)  # as the run folder keeps them


def test_rounding_withstands_what_may_change_everything(network: tuple[nn.Module, Tensor, Tensor]) -> None:
    signs, said = signs_of(network, "rounded")
    assert signs.zero_gradients == 1.0
    assert any("turn them into any other image" in sentence for sentence in said)


def test_scaling_the_logits_hides_nothing_at_any_radius(network: tuple[nn.Module, Tensor, Tensor]) -> None:
    plain, scaled = signs_of(network, "none")[0], signs_of(network, "scaled")[0]
    assert scaled.gap == pytest.approx(1e4 * plain.gap, rel=1e-4)
    assert all(b <= a + 0.03 for a, b in zip(plain.curve, scaled.curve, strict=True))


def test_examples_that_are_made_elsewhere(network: tuple[nn.Module, Tensor, Tensor]) -> None:
    """On the network itself, transfer is PGD-50; on another one it is what torchattacks' examples do."""
    import torchattacks

    model, images, labels = network
    torch.manual_seed(1)
    other = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    train = load_development(DataSettings(name="digits")).train
    optimizer = torch.optim.Adam(other.parameters(), lr=0.01)
    for _ in range(200):
        loss = nn.functional.cross_entropy(other(to_float(train.images)), train.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    examples = torchattacks.PGD(other, eps=0.125, alpha=2.5 * 0.125 / 50, steps=50)(images, labels)
    expected = float((model(examples).argmax(dim=1) == labels).float().mean())
    found = transferred(model, other, images, labels, SETTINGS, seed=0, compute=FLOAT32)
    own = transferred(model, model, images, labels, SETTINGS, seed=0, compute=FLOAT32)
    assert abs(found - expected) <= 0.02
    assert own < found
    once = dataclasses.replace(SETTINGS, steps=50)
    assert own == pytest.approx(
        evaluate(model, ImageSet((images * 255).round().to(torch.uint8), labels), once).robust_accuracy,
        abs=0.02,
    )


LEFT = {
    "clean": 190,
    "fgsm": 150,
    "pgd": 120,
    "pgd-50": 115,
    "apgd-ce": 112,
    "apgd-t": 110,
    "fab-t": 110,
    "square": 109,
}


HONEST = MaskingDiagnostics(
    images=200,
    zero_gradients=0.0,
    unfit=0.0,
    gap=3.0,
    same_class=0.1,
    chance=0.0,
    scale=1.0,
    curve=(0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2),
    everywhere=0.0,
)


@pytest.mark.parametrize(
    ("facts", "left", "words"),
    [
        ({}, {}, None),
        ({}, {"pgd": 140, "pgd-50": 125}, "more steps change much: PGD-50 with restarts breaks 15 of 200"),
        ({}, {"pgd": 140}, None),  # the search's own attack was weak, and the strong ones agree
        ({"everywhere": 0.2, "same_class": 0.18}, {}, None),
        ({"zero_gradients": 1.0, "same_class": 0.3}, {}, "gradients vanish"),
        ({"zero_gradients": 1.0, "same_class": 1.0}, {}, None),
        ({"curve": [0.9, 0.8, 0.7, 0.6, 0.6, 0.6, 0.6, 0.59], "images": 5}, {}, None),
        ({}, {"pgd-50": 111}, None),
        ({}, {"square": 90}, "Square, which uses only the logits, breaks 20 of the 110"),
        (
            {"curve": [0.9, 0.8, 0.7, 0.6, 0.6, 0.6, 0.6, 0.59]},
            {},
            "robustness does not fall with the radius: 60.0% at epsilon and 59.0%",
        ),
        ({"curve": [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2]}, {}, None),
        ({"curve": [0.99] * 8}, {}, None),
        (
            {"transfer": {"none": 0.9, "trades": 0.5}},
            {},
            "examples made on another network (trades) break more",
        ),
        ({"transfer": {"none": 0.9, "trades": 0.54}}, {}, None),
        ({"transfer": {"trades": 0.5}, "images": 50}, {}, None),
        (
            {"transfer": {"trades": 0.3}, "images": 50},
            {},
            "examples made on another network (trades) break more",
        ),
        ({"everywhere": 0.31}, {}, "31% of the images withstand"),
    ],
)
def test_what_is_called_suspicious(facts: dict[str, Any], left: dict[str, int], words: str | None) -> None:
    counts = {**LEFT, **left}
    said = masking_warnings(replace(HONEST, **facts), counts, 200, 200, counts)
    assert len(said) == (0 if words is None else 1)
    assert words is None or words in said[0]
