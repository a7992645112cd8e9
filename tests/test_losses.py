"""Losses against MOREL's reference code, closed forms and laws."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import on_cpu, reference_loat, reference_morel
from torch import Tensor

from morel_search.training import losses

RTOL = 1e-5


def batch(seed: int, n: int, classes: int, scale: float = 3.0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    clean = scale * torch.randn(n, classes, generator=generator)
    adversarial = clean + torch.randn(n, classes, generator=generator)
    return clean, adversarial, torch.randint(classes, (n,), generator=generator)


def gradients(
    loss: Callable[[Tensor, Tensor], Tensor], clean: Tensor, adversarial: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    clean, adversarial = clean.clone().requires_grad_(), adversarial.clone().requires_grad_()
    value = loss(clean, adversarial)
    first, second = torch.autograd.grad(value, (clean, adversarial), allow_unused=True)
    return (
        value.detach(),
        first if first is not None else torch.zeros(1),
        second if second is not None else torch.zeros(1),
    )


class TwoLogits(torch.nn.Module):
    """A model with given logits: the first tensor for the clean images, the second for other images."""

    def __init__(self, images: Tensor, clean: Tensor, adversarial: Tensor) -> None:
        super().__init__()
        self.images, self.clean, self.adversarial = images, clean, adversarial

    def forward(self, x: Tensor) -> Tensor:
        return (self.clean if torch.equal(x, self.images) else self.adversarial) + 0.0 * x.sum()


class NoOptimizer:
    def zero_grad(self) -> None: ...


def reference_loss(
    name: str, clean: Tensor, adversarial: Tensor, labels: Tensor, **options: object
) -> Tensor:
    from reference import reference_mart, reference_trades

    module = {"trades": reference_trades, "mart": reference_mart, "loat": reference_loat}[name]
    images = torch.full((len(labels), 1, 1, 1), 0.5)
    with on_cpu():
        value = getattr(module, f"{name}_loss")(
            model=TwoLogits(images, clean, adversarial),
            x_natural=images,
            y=labels,
            optimizer=NoOptimizer(),
            perturb_steps=1,
            **options,
        )
    assert isinstance(value, Tensor)
    return value


@pytest.mark.parametrize("classes", [2, 10, 200])
@pytest.mark.parametrize("name", ["trades", "mart"])
def test_value_and_gradient_equal_the_reference(name: str, classes: int) -> None:
    for seed in range(5):
        clean, adversarial, labels = batch(seed, 17, classes)
        ours = gradients(lambda c, a: getattr(losses, name)(c, a, labels, beta=6.0), clean, adversarial)
        theirs = gradients(lambda c, a: reference_loss(name, c, a, labels, beta=6.0), clean, adversarial)
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=RTOL, atol=1e-7)


@pytest.mark.parametrize("name", ["trades", "mart"])
def test_confident_logits_keep_a_finite_gradient(name: str) -> None:
    """Logits 200 apart: the reference's gradient is NaN there, its loss is not."""
    clean, adversarial, labels = batch(0, 8, 10, scale=100.0)
    value, *ours = gradients(lambda c, a: getattr(losses, name)(c, a, labels, beta=6.0), clean, adversarial)
    expected, *theirs = gradients(
        lambda c, a: reference_loss(name, c, a, labels, beta=6.0), clean, adversarial
    )
    torch.testing.assert_close(value, expected, rtol=RTOL, atol=1e-6)
    assert all(bool(torch.isfinite(gradient).all()) for gradient in ours)
    assert not all(bool(torch.isfinite(gradient).all()) for gradient in theirs)


@pytest.mark.parametrize("variant", ["LORE", "LORE_v1"])
@pytest.mark.parametrize("regularizer", ["mse", "kl"])
@pytest.mark.parametrize(
    ("phase", "epoch"), [("early", 0), ("early", 1), ("middle", 2), ("middle", 99), ("late", 100)]
)
def test_loat_equals_the_reference_in_every_phase(
    variant: str, regularizer: str, phase: losses.Phase, epoch: int
) -> None:
    gamma = 0.3 if variant == "LORE" else 0.0
    for seed in range(3):
        clean, adversarial, labels = batch(seed, 24, 10, scale=1.0)
        labels[:12] = clean[:12].argmax(dim=1)  # both groups, rightly and wrongly classified, are there

        def ours(c: Tensor, a: Tensor, y: Tensor = labels) -> Tensor:
            return losses.loat(
                c, a, y, beta=5.0, phase=phase, regularizer=regularizer, theta=0.7, gamma=gamma
            )  # type: ignore[arg-type]

        def theirs(c: Tensor, a: Tensor, y: Tensor = labels) -> Tensor:
            return reference_loss(
                "loat",
                c,
                a,
                y,
                beta=5.0,
                epoch=epoch,
                reg=True,
                reg_type=regularizer,
                device="cpu",
                theta=0.7,
                gamma=0.3,
                lot=variant,
            )

        for mine, other in zip(
            gradients(ours, clean, adversarial), gradients(theirs, clean, adversarial), strict=True
        ):
            torch.testing.assert_close(mine, other, rtol=RTOL, atol=1e-7)


@pytest.mark.parametrize("right", [True, False])
def test_loat_with_an_empty_group_is_finite_and_equals_the_reference(right: bool) -> None:
    clean, adversarial, labels = batch(0, 8, 10)
    labels = clean.argmax(dim=1) if right else clean.argmin(dim=1)
    mine = losses.loat(
        clean, adversarial, labels, beta=6.0, phase="early", regularizer="mse", theta=1.0, gamma=0.5
    )
    other = reference_loss(
        "loat",
        clean,
        adversarial,
        labels,
        beta=6.0,
        epoch=0,
        reg=True,
        reg_type="mse",
        device="cpu",
        theta=1.0,
        gamma=0.5,
        lot="LORE",
    )
    torch.testing.assert_close(mine, other, rtol=RTOL, atol=1e-7)


def kl_from_probabilities(clean: Tensor, adversarial: Tensor, labels: Tensor, phase: str) -> Tensor:
    """The ``kl`` regulariser as the reference computes it, from probabilities, with theta and gamma 1."""
    p, p_adv = clean.softmax(dim=1), adversarial.softmax(dim=1)
    rows, k = torch.arange(len(labels)), adversarial.argmax(dim=1)
    others = p.masked_fill(torch.nn.functional.one_hot(labels, p.shape[1]).bool(), -1.0)
    spread = -torch.log(1 - others.amax(dim=1))
    change = -torch.log(1 - (p_adv[rows, k] - p[rows, k]).abs())
    correct = clean.argmax(dim=1) == labels
    groups = [spread[group].sum() / max(1, int(group.sum())) for group in (correct, ~correct)]
    group = ~correct if phase == "early" else correct
    sign = 1 if phase == "early" else -1
    return sign * (groups[0] - groups[1]) + change[group].sum() / max(1, int(group.sum()))


@pytest.mark.parametrize("phase", ["early", "late"])
@pytest.mark.parametrize("lead", [1.0, 5.0, 17.0, 18.0, 40.0, 200.0, 5000.0])
def test_loat_kl_is_finite_for_every_lead_of_a_wrong_logit(lead: float, phase: losses.Phase) -> None:
    """In float32, 1 - p is 0 from a lead of 18 on: the loss was infinite, its gradient NaN.

    The values come from probabilities in float64, which are exact up to a lead of about 30.
    """
    clean = torch.tensor([[lead, 0.3, -0.2], [0.5, lead, 0.0], [0.0, 0.1, lead]])
    adversarial = torch.tensor([[0.0, lead, 0.4], [0.5, lead, 0.0], [lead, 0.2, 0.1]])
    labels = torch.tensor([1, 0, 2])  # two images are misclassified, the third by the attack

    def ours(c: Tensor, a: Tensor) -> Tensor:
        with_it, without = (
            losses.loat(c, a, labels, beta=6.0, phase=now, regularizer="kl", theta=1.0, gamma=1.0)
            for now in (phase, "middle")
        )
        return with_it - without

    def exact(c: Tensor, a: Tensor) -> Tensor:
        return kl_from_probabilities(c, a, labels, phase)

    result = gradients(ours, clean.double(), adversarial.double())
    single = gradients(ours, clean, adversarial)
    assert all(bool(torch.isfinite(part).all()) for part in (*result, *single))
    if lead < 30:
        expected = gradients(exact, clean.double(), adversarial.double())
        for mine, other in zip(result, expected, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-6)
    if lead >= 18:
        old, *old_gradients = gradients(exact, clean, adversarial)
        parts = (old, *old_gradients)
        assert not all(bool(torch.isfinite(part).all()) for part in parts)
    if lead <= 5:
        for mine, other in zip(single, gradients(exact, clean, adversarial), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_loat_kl_grows_like_the_lead_of_the_wrong_logit() -> None:
    """-log(1 - p) of two classes is softplus(lead), so it grows like the lead, with slope 1 at most."""
    lead = torch.tensor(100.0, dtype=torch.float64, requires_grad=True)
    logits = torch.stack([lead, torch.zeros_like(lead)]).unsqueeze(0)
    label = torch.tensor([1])
    losses_of = [
        losses.loat(logits, logits, label, beta=0.0, phase=phase, regularizer="kl", theta=1.0, gamma=1.0)
        for phase in ("early", "middle")
    ]
    added = losses_of[0] - losses_of[1]
    assert float(added.detach()) == pytest.approx(-100.0)
    assert float(torch.autograd.grad(added, lead)[0]) == pytest.approx(-1.0)


def test_loat_kl_without_a_change_has_no_gradient_of_the_change() -> None:
    clean, _, labels = batch(3, 12, 10)

    def change(gamma: float, adversarial: Tensor) -> Tensor:
        return losses.loat(
            clean, adversarial, labels, beta=6.0, phase="early", regularizer="kl", theta=1.0, gamma=gamma
        )

    adversarial = clean.clone().requires_grad_()
    difference = change(1.0, adversarial) - change(0.0, adversarial)
    gradient = torch.autograd.grad(difference, adversarial)[0]
    assert float(difference.detach()) == pytest.approx(0.0, abs=1e-6)
    assert float(gradient.abs().max()) < 1e-6


@pytest.mark.parametrize(("n", "classes"), [(1, 10), (6, 1), (12, 3), (200, 200)])
@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
def test_contrastive_equals_the_reference(n: int, classes: int, temperature: float) -> None:
    generator = torch.Generator().manual_seed(n)
    rows = torch.nn.functional.normalize(torch.randn(n, 16, generator=generator), dim=1)
    labels = torch.randint(classes, (n,), generator=generator)
    theirs = reference_morel.MultiPosConLoss("cpu", temperature)
    a, b = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    mine, other = losses.contrastive(a, labels, temperature=temperature), theirs(b, labels)
    torch.testing.assert_close(mine, other, rtol=RTOL, atol=1e-6)
    torch.testing.assert_close(
        torch.autograd.grad(mine, a)[0], torch.autograd.grad(other, b)[0], rtol=RTOL, atol=1e-6
    )


def test_contrastive_closed_form_of_two_orthogonal_pairs() -> None:
    """Two classes of two equal rows, orthogonal to each other: q of the positive is e^(1/t)/(e^(1/t) + 2)."""
    rows = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]])
    for temperature in (0.1, 0.5, 2.0):
        expected = -math.log(math.exp(1 / temperature) / (math.exp(1 / temperature) + 2.0))
        value = losses.contrastive(rows, torch.tensor([0, 0, 1, 1]), temperature=temperature)
        assert float(value) == pytest.approx(expected, rel=1e-5, abs=1e-6)


def test_contrastive_of_all_different_classes_is_zero() -> None:
    rows = torch.nn.functional.normalize(torch.randn(5, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    assert float(losses.contrastive(rows, torch.arange(5), temperature=0.1)) == 0.0


def test_cosine_closed_form() -> None:
    z = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    other = torch.tensor([[5.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])  # cosines 1, 0, -1
    assert float(losses.cosine(z, other)) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("k", "r", "gamma"), [((0.1, 0.9), (0.0, 0.0), 2e-5), ((0.7, 0.3), (0.2, -1.5), 0.4)]
)
def test_conic_scalarization_is_the_papers_sum(
    k: tuple[float, float], r: tuple[float, float], gamma: float
) -> None:
    f, a = torch.tensor(1.25), torch.tensor(3.5)
    shifted = (float(f) - r[0], float(a) - r[1])
    expected = k[0] * shifted[0] + k[1] * shifted[1] + gamma * (shifted[0] + shifted[1])
    value = losses.conic_scalarization(
        f, a, k_robust=k[0], k_accuracy=k[1], gamma=gamma, reference_robust=r[0], reference_accuracy=r[1]
    )
    assert float(value) == pytest.approx(expected, rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 12), classes=st.integers(2, 12))
def test_permuting_the_batch_changes_no_loss(seed: int, n: int, classes: int) -> None:
    clean, adversarial, labels = batch(seed, n, classes)
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed + 1))
    rows = torch.nn.functional.normalize(clean, dim=1)
    rows_adv = torch.nn.functional.normalize(adversarial, dim=1)
    forms: list[Callable[[Tensor, Tensor, Tensor], Tensor]] = [
        lambda c, a, y: losses.trades(c, a, y, beta=6.0),
        lambda c, a, y: losses.mart(c, a, y, beta=6.0),
        lambda c, a, y: losses.loat(
            c, a, y, beta=6.0, phase="early", regularizer="mse", theta=1.0, gamma=0.5
        ),
        lambda c, a, y: losses.loat(c, a, y, beta=6.0, phase="late", regularizer="kl", theta=1.0, gamma=0.5),
    ]
    for form in forms:
        value = form(clean, adversarial, labels)
        assert torch.isfinite(value)
        torch.testing.assert_close(
            value, form(clean[order], adversarial[order], labels[order]), rtol=1e-4, atol=1e-5
        )
    torch.testing.assert_close(
        losses.cosine(rows, rows_adv), losses.cosine(rows[order], rows_adv[order]), rtol=1e-4, atol=1e-5
    )
    torch.testing.assert_close(
        losses.contrastive(rows, labels, temperature=0.2),
        losses.contrastive(rows[order], labels[order], temperature=0.2),
        rtol=1e-4,
        atol=1e-5,
    )
