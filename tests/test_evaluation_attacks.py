"""The evaluation's attacks: closed forms, and networks whose logits or gradients are not finite."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from morel_search.training.datasets.loading import ImageSet
from morel_search.training.evaluation import evaluate
from morel_search.training.evaluation_attacks import final_attack, quick_attack
from morel_search.training.settings import EvaluationLoss, EvaluationSettings, Norm


def images_of(count: int = 200, seed: int = 0) -> ImageSet:
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(60, 196, (count, 1, 4, 4), generator=generator, dtype=torch.uint8)
    return ImageSet(images, torch.randint(0, 3, (count,), generator=generator))


class Linear(nn.Module):
    """Logits W x + b, so that the robust accuracy is known in closed form away from the box's sides."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(classes, 16, generator=generator))

    def forward(self, images: Tensor) -> Tensor:
        return (images.flatten(1) - 0.5) @ self.weight.T


def closed_form(model: Linear, data: ImageSet, norm: Norm, epsilon: float) -> int:
    """Count images whose margins exceed epsilon times the dual norm of the difference of the weights."""
    logits = model(data.images.float() / 255).detach()
    count = 0
    for row, label in zip(logits, data.labels.tolist(), strict=True):
        distances = [
            float(row[label] - row[other])
            / float((model.weight[label] - model.weight[other]).norm(p=1 if norm == "linf" else 2))
            for other in range(len(row))
            if other != label
        ]
        count += min(distances) > epsilon
    return count


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("final", [False, True])
def test_robust_accuracy_of_a_linear_network_is_the_closed_form(
    norm: Norm, classes: int, final: bool
) -> None:
    model, data = Linear(classes), images_of()
    data = ImageSet(data.images, model(data.images.float() / 255).argmax(dim=1))
    epsilon = Fraction(1, 20) if norm == "linf" else Fraction(1, 5)
    settings = EvaluationSettings(norm=norm, epsilon=epsilon)
    expected = closed_form(model, data, norm, float(epsilon))
    assert 5 < expected < 180
    result = evaluate(model, data, settings, final=final)
    assert result.clean_accuracy == 1.0
    # The targets are the classes with the largest logits; the nearest boundary may belong to another class.
    # With ten classes, four targets may miss it, and nine cannot.
    slack = 6 if classes == 10 and not final else 0
    assert expected <= round(result.robust_accuracy * len(data)) <= expected + slack


def test_the_final_attack_never_leaves_more_images_than_the_quick_one_of_the_same_steps() -> None:
    model, data = Linear(10), images_of()
    settings = EvaluationSettings(epsilon=Fraction(1, 20), steps=20)
    quick, final = (evaluate(model, data, settings, final=final).robust_accuracy for final in (False, True))
    assert final <= quick


def test_steps_follow_a_cosine_from_the_radius() -> None:
    settings = EvaluationSettings(epsilon=Fraction(1, 10), steps=4)
    lengths = [quick_attack(settings).step_size(step) for step in range(4)]
    assert lengths == pytest.approx([0.1, 0.085355, 0.05, 0.014645], abs=1e-6)
    plain = EvaluationSettings(epsilon=Fraction(1, 10), steps=4, loss="cross_entropy", final_steps=0)
    assert [quick_attack(plain).step_size(step) for step in range(4)] == pytest.approx([0.0625] * 4)
    assert final_attack(plain) == quick_attack(plain)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("column", [0, 1])
def test_logits_that_are_not_finite_are_wrong(bad: float, column: int) -> None:
    """argmax takes NaN and inf for the largest logit, so such an image once counted as correct."""

    class Broken(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            logits = images.flatten(1)[:, :3] * 0.0 + torch.tensor([0.0, 1.0, 2.0])
            return logits.index_fill(1, torch.tensor([column]), bad)

    data = images_of(30)
    result = evaluate(Broken(), data, EvaluationSettings(epsilon=Fraction(1, 10)))
    assert (result.clean_accuracy, result.robust_accuracy) == (0.0, 0.0)


class NaNGradient(torch.autograd.Function):
    """The identity, whose gradient is not a number at the first pixel."""

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        return images.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        gradient = gradients[0].clone()
        gradient.view(len(gradient), -1)[:, 0] = float("nan")
        return gradient


class Behind(nn.Module):
    """A linear network that ignores the first pixel and sends a NaN back to it."""

    def __init__(self, scale: float = 1.0) -> None:
        super().__init__()
        self.linear, self.scale = Linear(3), scale
        with torch.no_grad():
            self.linear.weight[:, 0] = 0.0

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.linear(NaNGradient.apply(images))
        return logits


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["targeted_margin", "margin", "cross_entropy"])
def test_one_pixel_without_a_gradient_does_not_stop_the_attack(norm: Norm, loss: EvaluationLoss) -> None:
    model = Behind()
    data = images_of()
    data = ImageSet(data.images, model.linear(data.images.float() / 255).argmax(dim=1))
    epsilon = Fraction(1, 20) if norm == "linf" else Fraction(1, 5)
    settings = EvaluationSettings(norm=norm, epsilon=epsilon, loss=loss, steps=20)
    expected = closed_form(model.linear, data, norm, float(epsilon))
    robust = round(evaluate(model, data, settings).robust_accuracy * len(data))
    # The untargeted losses may move between two boundaries and miss some images.
    assert expected <= robust <= expected + (0 if loss == "targeted_margin" else 12)


@pytest.mark.parametrize("factor", [1e-30, 1e25])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_very_small_and_very_large_gradients_are_followed(factor: float, norm: Norm) -> None:
    """Their squares leave float32."""

    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = Linear(3)

        def forward(self, images: Tensor) -> Tensor:
            logits: Tensor = self.linear(images) * factor
            return logits

    model, data = Scaled(), images_of()
    data = ImageSet(data.images, model.linear(data.images.float() / 255).argmax(dim=1))
    epsilon = Fraction(1, 20) if norm == "linf" else Fraction(1, 5)
    settings = EvaluationSettings(norm=norm, epsilon=epsilon)
    expected = closed_form(model.linear, data, norm, float(epsilon))
    assert round(evaluate(model, data, settings).robust_accuracy * len(data)) == expected
