"""Attacks against closed forms on a linear model, torchattacks, and laws."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F
import torchattacks
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from morel_search.training.attacks import (
    attack_mode,
    cross_entropy_objective,
    kl_objective,
    margin_objective,
    pgd,
)
from morel_search.training.settings import AttackSettings


def small_network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 8 * 8, 5)
    ).eval()


def images_and_labels(n: int = 12, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, 8, 8, generator=generator), torch.randint(5, (n,), generator=generator)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_linear_model_reaches_the_known_worst_case(norm: str) -> None:
    """On f(x) = (0, w.x), the loss of class 0 rises with w.x: by eps |w|_1 in L-infinity, eps |w|_2 in L2."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(1, 20, generator=generator)
    model = lambda x: torch.cat((torch.zeros(len(x), 1), x.flatten(1) @ weight.T), dim=1)  # noqa: E731
    images = 0.5 + 0.1 * torch.rand(
        4, 1, 4, 5, generator=generator
    )  # far from 0 and 1, so the box does not bind
    epsilon = Fraction(1, 20)
    attack = AttackSettings(norm=norm, epsilon=epsilon, steps=40, step_size=0.01, random_start="none")  # type: ignore[arg-type]
    adversarial = pgd(model, images, cross_entropy_objective(torch.zeros(4, dtype=torch.long)), attack)
    gain = ((adversarial - images).flatten(1) @ weight.T).squeeze(1)
    worst = float(epsilon) * weight.abs().sum() if norm == "linf" else float(epsilon) * weight.norm()
    torch.testing.assert_close(gain, worst.expand(4), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("steps", "step_size"), [(1, 0.03), (10, 0.007)])
def test_equals_torchattacks_pgd(steps: int, step_size: float) -> None:
    model, (images, labels) = small_network(), images_and_labels()
    attack = AttackSettings(epsilon=Fraction(8, 255), steps=steps, step_size=step_size, random_start="none")
    ours = pgd(model, images, cross_entropy_objective(labels), attack)
    theirs = torchattacks.PGD(model, eps=8 / 255, alpha=step_size, steps=steps, random_start=False)(
        images, labels
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_equals_torchattacks_pgd_l2() -> None:
    model, (images, labels) = small_network(), images_and_labels()
    attack = AttackSettings(norm="l2", epsilon=Fraction(1, 2), steps=10, step_size=0.1, random_start="none")
    ours = pgd(model, images, cross_entropy_objective(labels), attack)
    theirs = torchattacks.PGDL2(model, eps=0.5, alpha=0.1, steps=10, random_start=False)(images, labels)
    # torchattacks projects onto the ball before the box; where the box binds, the two orders part slightly.
    assert float((ours - theirs).flatten(1).norm(dim=1).max()) < 0.02
    scores = [float(cross_entropy_objective(labels)(model(x))) for x in (ours, theirs)]
    assert scores[0] == pytest.approx(scores[1], rel=2e-3)


@settings(max_examples=30, deadline=None)
@given(
    norm=st.sampled_from(["linf", "l2"]),
    start=st.sampled_from(["gaussian", "uniform", "none"]),
    numerator=st.integers(0, 128),
    steps=st.integers(0, 4),
    ratio=st.floats(0.1, 4.0),
    seed=st.integers(0, 1000),
)
def test_stays_in_the_ball_and_in_the_box(
    norm: str, start: str, numerator: int, steps: int, ratio: float, seed: int
) -> None:
    epsilon = Fraction(numerator, 255) * (10 if norm == "l2" else 1)
    attack = AttackSettings(
        norm=norm, epsilon=epsilon, steps=steps, step_size=ratio * float(epsilon), random_start=start
    )  # type: ignore[arg-type]
    images, labels = images_and_labels(5, seed)
    images = images.round(decimals=1)  # some pixels lie exactly on 0 and 1
    adversarial = pgd(
        small_network(), images, cross_entropy_objective(labels), attack, torch.Generator().manual_seed(seed)
    )
    assert float(adversarial.min()) >= 0.0
    assert float(adversarial.max()) <= 1.0
    delta = (adversarial - images).flatten(1)
    size = delta.abs().amax(dim=1) if norm == "linf" else delta.norm(dim=1)
    assert float(size.max()) <= float(epsilon) * (1 + 1e-5) + 1e-6
    if epsilon == 0:
        assert torch.equal(adversarial, images)


def test_uniform_start_fills_the_ball() -> None:
    """Mean distance from the centre: eps d / (d + 1) for L2, eps / 2 a coordinate for Linf."""
    images = torch.full((4000, 1, 1, 3), 0.5)
    model = lambda x: x.flatten(1)  # noqa: E731
    labels = torch.zeros(4000, dtype=torch.long)
    for norm in ("l2", "linf"):
        attack = AttackSettings(
            norm=norm, epsilon=Fraction(1, 4), steps=0, step_size=0.0, random_start="uniform"
        )  # type: ignore[arg-type]
        delta = (
            pgd(model, images, cross_entropy_objective(labels), attack, torch.Generator().manual_seed(0))
            - images
        )
        if norm == "l2":
            assert float(delta.flatten(1).norm(dim=1).mean()) == pytest.approx(0.25 * 3 / 4, rel=0.01)
        else:
            assert float(delta.abs().mean()) == pytest.approx(0.125, rel=0.02)


def test_objectives_are_what_they_say() -> None:
    logits, clean = torch.tensor([[2.0, 0.5, 1.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    assert float(margin_objective(torch.tensor([0]))(logits)) == pytest.approx(-1.0)
    p, q = torch.softmax(clean, 1), torch.softmax(logits, 1)
    divergence = float((p * (p / q).log()).sum())
    entropy = -float((p * p.log()).sum())
    assert float(kl_objective(clean)(logits)) == pytest.approx(divergence + entropy, rel=1e-5)


def test_kl_has_torchs_gradient_to_the_last_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    clean = 5 * torch.randn(50, 10, generator=generator)
    logits = (5 * torch.randn(50, 10, generator=generator)).requires_grad_()
    expected = F.kl_div(F.log_softmax(logits, dim=1), F.softmax(clean, dim=1), reduction="sum")
    (gradient,) = torch.autograd.grad(kl_objective(clean)(logits), logits)
    assert torch.equal(gradient, *torch.autograd.grad(expected, logits))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_leaves_images_mode_and_parameters_alone(norm: str) -> None:
    model, (images, labels) = small_network().train(), images_and_labels()
    model[1].eval()  # a batch norm that its owner has frozen
    frozen = next(model.parameters()).requires_grad_(False)
    before = images.clone()
    attack = AttackSettings(norm=norm, steps=2)  # type: ignore[arg-type]
    with attack_mode(model):
        assert not model.training
        pgd(model, images, cross_entropy_objective(labels), attack, torch.Generator().manual_seed(0))
    assert model.training
    assert not model[1].training
    assert torch.equal(images, before)
    assert [p.requires_grad for p in model.parameters()] == [False] + [True] * (
        len(list(model.parameters())) - 1
    )
    assert not frozen.requires_grad
    assert all(p.grad is None for p in model.parameters())


def test_zero_gradient_gives_no_nan() -> None:
    images, labels = images_and_labels()
    constant = lambda x: torch.zeros(len(x), 5) + 0.0 * x.sum()  # noqa: E731
    for norm in ("linf", "l2"):
        adversarial = pgd(
            constant, images, cross_entropy_objective(labels), AttackSettings(norm=norm, steps=3), None
        )  # type: ignore[arg-type]
        assert bool(torch.isfinite(adversarial).all())
