"""Label smoothing: the value of torch's cross entropy in every objective, and an attack on the labels."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from morel_search.training.networks import build_network
from morel_search.training.objectives import ACCURACY_OBJECTIVES, Outputs, accuracy_objective
from morel_search.training.settings import NetworkSettings, TrainSettings
from morel_search.training.step import MorelStep

PLAIN: dict[str, Any] = {
    **{"beta": 3.0, "loat_early_until": 1, "loat_late_from": 5, "loat_variant": "lore"},
    "teacher_weight": 0.75,
}
SMOOTHED_LOGITS = {
    "trades": "clean",
    "none": "clean",
    "ard": "clean",
    "mart": "adversarial",
    "loat": "adversarial",
}
"""The logits whose cross entropy is smoothed; those of pgd are adversarial too."""
SHARES = {"ard": 0.25, "rslad": 0.0}
"""Weights of the cross entropy in losses in which it is not 1."""


def batch(classes: int = 5, count: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(classes)
    clean = 3 * torch.randn(count, classes, generator=generator)
    return clean, clean + torch.randn(count, classes, generator=generator), torch.arange(count) % classes


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("name", sorted(ACCURACY_OBJECTIVES))
def test_an_objective_changes_by_the_smoothed_cross_entropy(
    name: str, smoothing: float, classes: int
) -> None:
    clean, adversarial, labels = batch(classes)
    logits = clean if SMOOTHED_LOGITS.get(name) == "clean" else adversarial
    for epoch in (0, 3, 7):  # the three phases of LOAT
        plain = accuracy_objective(TrainSettings(accuracy_loss=name, **PLAIN))
        smooth = accuracy_objective(TrainSettings(accuracy_loss=name, label_smoothing=smoothing, **PLAIN))
        out = Outputs(clean, adversarial, labels, epoch, teacher=2 * clean)
        change = smooth.loss(out) - plain.loss(out)
        expected = F.cross_entropy(logits, labels, label_smoothing=smoothing) - F.cross_entropy(
            logits, labels
        )
        expected *= SHARES.get(name, 1.0)
        torch.testing.assert_close(change, expected, rtol=1e-4, atol=1e-5)


def test_pgd_training_with_smoothing_by_hand() -> None:
    """Two classes, s = 0.2: the targets are 0.9 and 0.1."""
    logits = torch.tensor([[2.0, 0.0]])
    log_p = torch.log_softmax(logits, dim=1)[0]
    objective = accuracy_objective(TrainSettings(accuracy_loss="pgd", label_smoothing=0.2))
    value = objective.loss(Outputs(torch.zeros(1, 2), logits, torch.tensor([0])))
    assert float(value) == pytest.approx(-0.9 * float(log_p[0]) - 0.1 * float(log_p[1]))


@pytest.mark.parametrize("name", ["pgd", "trades", "mart"])
def test_the_training_attack_keeps_the_labels(name: str) -> None:
    images, labels = torch.rand(6, 1, 8, 8), torch.arange(6)
    adversarial = []
    for smoothing in (0.0, 0.5):
        torch.manual_seed(0)
        network = build_network(NetworkSettings(name="small_cnn", options={"width": 4}), (1, 8, 8), 10)
        settings = TrainSettings(
            accuracy_loss=name, label_smoothing=smoothing, epsilon=Fraction(1, 5), attack_steps=3
        )
        step = MorelStep(network, settings)
        adversarial.append(step.attack(images, labels, torch.Generator().manual_seed(1)))
    assert torch.equal(*adversarial)
    assert not torch.equal(adversarial[0], images)


@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_smoothing_outside_its_limits_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="label_smoothing must be"):
        TrainSettings(label_smoothing=value)
