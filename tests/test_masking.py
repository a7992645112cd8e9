"""Signs of gradient masking, on networks that mask their gradients on purpose, each in one way."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import asdict
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from verified_runs import HONEST

from morel_search.analysis.masking import masking_warnings
from morel_search.results.diagnostics import MaskingDiagnostics
from morel_search.training.augment import to_float
from morel_search.training.compute_settings import FLOAT32
from morel_search.training.datasets.loading import ImageSet, load_development
from morel_search.training.evaluation import evaluate
from morel_search.training.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainSettings
from morel_search.training.trainer import Training
from morel_search.verification.masking import diagnose_masking
from morel_search.verification.transfer import transfer_accuracy, transfer_examples

SETTINGS = EvaluationSettings(epsilon=Fraction(1, 8), steps=10)


class MaskedNetwork(nn.Module):
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


def diagnose(network: tuple[nn.Module, Tensor, Tensor], kind: str) -> tuple[MaskingDiagnostics, list[str]]:
    model, images, labels = network
    diagnostics = diagnose_masking(
        MaskedNetwork(model, kind).eval(), images, labels, SETTINGS, seed=0, compute=FLOAT32
    )
    return diagnostics, masking_warnings(diagnostics, {}, 100, 0, {})


def test_a_network_without_masking_has_no_warning(network: tuple[nn.Module, Tensor, Tensor]) -> None:
    diagnostics, warnings = diagnose(network, "none")
    assert warnings == []
    assert (
        diagnostics.images,
        diagnostics.scale,
        diagnostics.zero_gradients,
        diagnostics.unfit,
        diagnostics.chance,
    ) == (
        100,
        1.0,
        0.0,
        0.0,
        0.0,
    )
    assert list(diagnostics.curve) == sorted(diagnostics.curve, reverse=True)
    assert diagnostics.curve[0] > diagnostics.curve[-1] > diagnostics.everywhere
    assert diagnostics.everywhere == 0.0


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("scaled", "logits are scaled up"),
        ("rounded", "gradients vanish"),
        ("random", "the forward pass is random"),
        ("infinite", "not finite"),
    ],
)
def test_each_kind_of_masking_has_its_warning(
    network: tuple[nn.Module, Tensor, Tensor], kind: str, words: str
) -> None:
    diagnostics, warnings = diagnose(network, kind)
    assert any(words in sentence for sentence in warnings), warnings
    json.dumps(asdict(diagnostics), allow_nan=False)  # as the run folder keeps them


def test_rounding_is_robust_even_where_every_image_is_allowed(
    network: tuple[nn.Module, Tensor, Tensor],
) -> None:
    diagnostics, warnings = diagnose(network, "rounded")
    assert diagnostics.zero_gradients == 1.0
    assert any("turn them into any other image" in sentence for sentence in warnings)


def test_scaled_logits_change_the_curve_at_no_radius(network: tuple[nn.Module, Tensor, Tensor]) -> None:
    plain, scaled = diagnose(network, "none")[0], diagnose(network, "scaled")[0]
    assert scaled.gap == pytest.approx(1e4 * plain.gap, rel=1e-4)
    assert all(b <= a + 0.03 for a, b in zip(plain.curve, scaled.curve, strict=True))


def test_transfer_agrees_with_torchattacks(network: tuple[nn.Module, Tensor, Tensor]) -> None:
    """Transfer from the network itself is PGD-50; transfer from another one agrees with torchattacks."""
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

    def transferred(target: nn.Module, source: nn.Module) -> float:
        made = transfer_examples(source, images, labels, SETTINGS, seed=0, compute=FLOAT32)
        return transfer_accuracy(target, made, labels)

    transfer = transferred(model, other)
    own = transferred(model, model)
    assert abs(transfer - expected) <= 0.02
    assert own < transfer
    once = dataclasses.replace(SETTINGS, loss="cross_entropy", steps=50)
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

UNMASKED = dataclasses.replace(HONEST, images=200, curve=(0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2))


@pytest.mark.parametrize(
    ("measured", "left", "words"),
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
def test_warnings_depend_on_measurements_and_counts(
    measured: dict[str, Any], left: dict[str, int], words: str | None
) -> None:
    counts = {**LEFT, **left}
    warnings = masking_warnings(dataclasses.replace(UNMASKED, **measured), counts, 200, 200, counts)
    assert len(warnings) == (0 if words is None else 1)
    assert words is None or words in warnings[0]


@pytest.mark.parametrize(("length", "read"), [(0, True), (8, True), (1, False), (7, False), (9, False)])
def test_a_curve_of_other_radii_is_measured_again(length: int, read: bool) -> None:
    """Its values would be drawn at the wrong radii."""
    stored = UNMASKED.to_json() | {"curve": [0.5] * length}
    assert (MaskingDiagnostics.from_json(stored) is not None) == read
