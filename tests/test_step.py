"""One training step against MOREL's reference code: same encoder, same noise, same value and gradient."""

from __future__ import annotations

import copy
import dataclasses
from fractions import Fraction
from functools import partial
from typing import Any

import pytest
import torch
from reference import on_cpu, reference_model, reference_morel
from torch import Tensor
from torch.nn import functional

from morel_search.errors import OutOfMemoryError
from morel_search.training.attacks import attack_mode, kl_objective, margin_objective, pgd
from morel_search.training.networks import build_network
from morel_search.training.settings import NetworkSettings, TrainSettings
from morel_search.training.step import MorelStep, TermGradients

SHAPE, CLASSES = (1, 8, 8), 10
REFERENCE_ATTACK = {"epsilon": Fraction("0.1"), "attack_steps": 3, "step_size": Fraction("0.05")}


def batch(n: int, classes: int = CLASSES, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(n, *SHAPE, generator=generator)
    return (
        images,
        torch.randint(classes, (n,), generator=generator),
        torch.randn(n, *SHAPE, generator=generator),
    )


def make_step(settings: TrainSettings, classes: int = CLASSES, seed: int = 0) -> MorelStep:
    torch.manual_seed(seed)
    return MorelStep(
        build_network(NetworkSettings(name="small_cnn", options={"width": 8}), SHAPE, classes), settings
    )


def gradients_of(step: MorelStep) -> dict[str, Tensor]:
    return {name: weight.grad.clone() for name, weight in step.named_parameters() if weight.grad is not None}


class Optimizer:
    def __init__(self, step: MorelStep) -> None:
        self.step = step

    def zero_grad(self) -> None:
        self.step.zero_grad()


NAMES = {"natural": "nat", "adversarial": "adver", "both": "both"}


@pytest.mark.parametrize("features", ["natural", "adversarial", "both"])
@pytest.mark.parametrize(
    ("loss", "epoch"), [("trades", 0), ("mart", 0), ("loat", 0), ("loat", 5), ("loat", 100)]
)
def test_step_equals_the_reference(loss: str, epoch: int, features: str) -> None:
    settings = TrainSettings(
        accuracy_loss=loss,
        contrastive_features=features,  # type: ignore[arg-type]
        k_robust=0.4,
        k_accuracy=0.6,
        gamma=0.01,
        reference_robust=0.1,
        reference_accuracy=0.2,
        alpha=0.5,
        beta=5.0,
        loat_variant="lore",
        loat_theta=0.7,
        loat_gamma=0.3,
        **REFERENCE_ATTACK,  # type: ignore[arg-type]
    )
    images, labels, noise = batch(24)
    ours = make_step(settings).train()
    theirs = make_step(settings).train()
    model = reference_model(theirs)
    extra = {
        "epoch": epoch,
        "reg": True,
        "reg_type": "mse",
        "device": "cpu",
        "theta": 0.7,
        "gamma_loat": 0.3,
        "lot": "LORE",
    }
    with on_cpu(noise):
        expected, parts = reference_morel.morel_loss(
            model,
            images,
            labels,
            Optimizer(theirs),
            k=[0.4, 0.6],
            a=[0.1, 0.2],
            gamma=0.01,
            accu_obj=loss,
            alpha=0.5,
            feat_type=NAMES[features],
            step_size=0.05,
            epsilon=0.1,
            perturb_steps=3,
            beta=5.0,
            extra_configs=extra,
            extra_outputs=True,
        )
        losses, logits = ours(images, labels, epoch)
    theirs.zero_grad()
    expected.backward()
    losses.total.backward()
    torch.testing.assert_close(losses.total, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        torch.stack([losses.robust, losses.accuracy]).detach().view(2, 1), parts, rtol=1e-5, atol=1e-6
    )
    mine, other = gradients_of(ours), gradients_of(theirs)
    assert mine.keys() == other.keys()
    for name, gradient in other.items():
        if (
            float(gradient.abs().max()) > 1e-6
        ):  # what the loss does not depend on has a gradient of rounding errors
            assert float((mine[name] - gradient).norm() / gradient.norm()) < 1e-5, name
    whole = [torch.cat([one[name].flatten() for name in other]) for one in (mine, other)]
    assert float((whole[0] - whole[1]).norm() / whole[1].norm()) < 1e-5
    assert logits.shape == (24, CLASSES)


def test_l2_trades_attack_equals_the_reference() -> None:
    """The reference's L2 step is 2 epsilon / steps.

    Its L2 MART runs no attack at all, so there is nothing to compare with.
    """
    from reference import reference_trades

    settings = TrainSettings(
        norm="l2", epsilon=Fraction(1, 2), attack_steps=5, step_ratio=2.0, k_robust=0.0, gamma=0.0, beta=6.0
    )
    images, labels, noise = batch(16)
    step = make_step(settings).train()
    before = copy.deepcopy(step.state_dict())
    with on_cpu(noise):
        expected, adversarial = reference_trades.trades_loss(
            step.classifier,
            images,
            labels,
            Optimizer(step),
            epsilon=0.5,
            perturb_steps=5,
            beta=6.0,
            distance="l_2",
            extra_outputs=True,
        )
        step.load_state_dict(before)
        step.train()
        with attack_mode(step.classifier), torch.no_grad():
            objective = kl_objective(step.classifier(images))
            same_arithmetic = pgd(step.classifier, images, objective, settings.attack)
        torch.testing.assert_close(same_arithmetic, adversarial.detach(), rtol=0, atol=1e-5)
        losses, _ = step(
            images, labels
        )  # with folded batch norms: another rounding of a gradient that begins near 0 is another way
    torch.testing.assert_close(losses.total, expected, rtol=2e-4, atol=1e-6)


def test_l2_mart_attacks() -> None:
    settings = TrainSettings(accuracy_loss="mart", norm="l2", epsilon=Fraction(1, 2), attack_steps=5)
    images, labels, _ = batch(16)
    adversarial = make_step(settings).attack(images, labels)
    assert float((adversarial - images).flatten(1).norm(dim=1).min()) > 0.3


@pytest.mark.parametrize("loss", ["trades", "mart", "loat", "pgd", "none"])
@pytest.mark.parametrize(
    "labels",
    [[3], [4, 4, 4, 4], list(range(10)), [0, 1] * 8],
    ids=["one image", "one class", "all different", "two classes"],
)
def test_any_batch_gives_finite_losses_and_gradients(loss: str, labels: list[int]) -> None:
    step = make_step(TrainSettings(accuracy_loss=loss, k_robust=0.5, alpha=1.0, attack_steps=2)).train()
    images = torch.rand(len(labels), *SHAPE, generator=torch.Generator().manual_seed(0))
    losses, _ = step(images, torch.tensor(labels))
    losses.total.backward()
    assert all(bool(torch.isfinite(value)) for value in losses)
    assert all(bool(torch.isfinite(gradient).all()) for gradient in gradients_of(step).values())


def test_two_hundred_classes() -> None:
    settings = TrainSettings(accuracy_loss="loat", k_robust=0.5, alpha=1.0, attack_steps=1)
    images, labels, _ = batch(64, classes=200)
    losses, logits = make_step(settings, classes=200).train()(images, labels)
    assert logits.shape == (64, 200)
    assert bool(torch.isfinite(losses.total))


def test_the_attack_leaves_mode_gradients_and_running_statistics_alone() -> None:
    step = make_step(TrainSettings(attack_steps=2)).train()
    images, labels, _ = batch(8)
    before = copy.deepcopy(step.state_dict())
    step.attack(images, labels)
    assert step.classifier.training
    assert all(weight.grad is None and weight.requires_grad for weight in step.parameters())
    assert all(torch.equal(value, before[name]) for name, value in step.state_dict().items())


def test_no_weight_on_the_robust_objective_means_no_embedding_space() -> None:
    step = make_step(TrainSettings(k_robust=0.0, gamma=0.0))
    assert step.embedding is None
    images, labels, _ = batch(8)
    losses, _ = step(images, labels)
    torch.testing.assert_close(losses.total, losses.accuracy)


def exponential(
    logits: Tensor, adversarial_logits: Tensor, labels: Tensor, *, epoch: int, settings: TrainSettings
) -> Tensor:
    """A custom accuracy objective, found by import path below."""
    return torch.exp(-adversarial_logits.gather(1, labels.unsqueeze(1))).mean() * settings.beta + epoch


def test_a_custom_accuracy_objective_by_import_path() -> None:
    step = make_step(
        TrainSettings(
            accuracy_loss=f"{__name__}:exponential", beta=2.0, k_robust=0.0, gamma=0.0, epsilon=Fraction(0)
        )
    )
    images, labels, _ = batch(8)
    step.eval()
    losses, logits = step(images, labels, 3)
    torch.testing.assert_close(
        losses.total.detach(), 2.0 * torch.exp(-logits.gather(1, labels.unsqueeze(1))).mean() + 3.0
    )


def trades_of_my_own(
    logits: Tensor, adversarial_logits: Tensor, labels: Tensor, *, epoch: int, settings: TrainSettings
) -> Tensor:
    """TRADES, written again with torch's functions."""
    divergence = functional.kl_div(
        functional.log_softmax(adversarial_logits, dim=1),
        functional.softmax(logits, dim=1),
        reduction="batchmean",
    )
    return functional.cross_entropy(logits, labels) + settings.beta * divergence


trades_of_my_own.attack_target = "kl"  # type: ignore[attr-defined]  # as a user writes it


class WithMargin:
    """A loss that is an object."""

    attack_target = "margin"

    def __call__(
        self,
        logits: Tensor,
        adversarial_logits: Tensor,
        labels: Tensor,
        *,
        epoch: int,
        settings: TrainSettings,
    ) -> Tensor:
        return functional.cross_entropy(adversarial_logits, labels)


with_margin = WithMargin()
partial_trades = partial(trades_of_my_own)


def distance(
    logits: Tensor, adversarial_logits: Tensor, labels: Tensor, *, epoch: int, settings: TrainSettings
) -> Tensor:
    """One number for each image; its sign changes after epoch 0, and it has no meaning for training."""
    assert not logits.requires_grad
    return (1 if epoch == 0 else -1) * adversarial_logits.gather(1, labels.unsqueeze(1)).squeeze(1)


def with_distance(
    logits: Tensor, adversarial_logits: Tensor, labels: Tensor, *, epoch: int, settings: TrainSettings
) -> Tensor:
    return functional.cross_entropy(adversarial_logits, labels)


with_distance.attack_target = distance  # type: ignore[attr-defined]  # as a user writes it


def without_attack(
    logits: Tensor, adversarial_logits: Tensor, labels: Tensor, *, epoch: int, settings: TrainSettings
) -> Tensor:
    assert adversarial_logits is logits
    return functional.cross_entropy(logits, labels)


without_attack.attack_target = None  # type: ignore[attr-defined]  # as a user writes it


def own(name: str, **changes: Any) -> TrainSettings:
    return TrainSettings(accuracy_loss=f"{__name__}:{name}", k_robust=0.0, gamma=0.0, **changes)


@pytest.mark.parametrize("name", ["trades_of_my_own", "partial_trades"])
def test_an_own_kl_loss_gets_the_attack_of_trades(name: str) -> None:
    images, labels, noise = batch(16)
    theirs, mine = make_step(TrainSettings(k_robust=0.0, gamma=0.0)), make_step(own(name))
    attacked = []
    for step in (theirs, mine, make_step(own("exponential"))):
        with on_cpu(noise):
            attacked.append(step.attack(images, labels))
    torch.testing.assert_close(attacked[1], attacked[0], rtol=0, atol=0)
    assert float((attacked[2] - attacked[0]).abs().max()) > 0.01, "cross entropy is another attack"
    with on_cpu(noise):
        expected, _ = theirs(images, labels)
    with on_cpu(noise):
        actual, _ = mine(images, labels)
    torch.testing.assert_close(actual.total, expected.total)


def test_an_own_loss_with_a_margin_attack() -> None:
    images, labels, noise = batch(16)
    step = make_step(own("with_margin"))
    with on_cpu(noise):
        adversarial = step.attack(images, labels)
    frozen = copy.deepcopy(step.classifier).eval()
    with on_cpu(noise), attack_mode(frozen):
        expected = pgd(frozen, images, margin_objective(labels), step.settings.attack)
    torch.testing.assert_close(adversarial, expected, rtol=1e-4, atol=1e-4)


def test_an_own_function_is_what_the_attack_maximises() -> None:
    images, labels, _ = batch(16)
    step = make_step(own("with_distance", attack_steps=5)).eval()

    def of_the_label(points: Tensor) -> Tensor:
        logits: Tensor = step.classifier(points)
        return logits.gather(1, labels.unsqueeze(1)).squeeze(1).detach()

    before = of_the_label(images)
    assert (of_the_label(step.attack(images, labels, epoch=0)) > before).all()
    assert (of_the_label(step.attack(images, labels, epoch=1)) < before).all()
    losses, _ = step(images, labels, 1)
    adversarial = step.attack(images, labels, epoch=1)
    torch.testing.assert_close(
        losses.accuracy, functional.cross_entropy(step.classifier(adversarial), labels), rtol=0.05, atol=0
    )


def test_an_own_loss_without_an_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    images, labels, _ = batch(8)
    step = make_step(own("without_attack"))
    monkeypatch.setattr(step, "attack", lambda *_: pytest.fail("no attack is needed"))
    losses, logits = step(images, labels)
    torch.testing.assert_close(losses.total.detach(), functional.cross_entropy(logits, labels))


def test_the_terms_gradients_are_those_of_the_whole() -> None:
    """With one term alone its gradient is the loss's; a weight scales its own term and no other.

    Looking changes nothing.
    """
    images, labels, noise = batch(16)

    def looked(**changes: Any) -> tuple[TermGradients, float]:
        step = make_step(
            dataclasses.replace(
                TrainSettings(accuracy_loss="trades", k_robust=0.3, gamma=0.0, alpha=0.5), **changes
            )
        ).train()
        step.watch = True
        with on_cpu(noise):
            losses, _ = step(images, labels)
        (features, features_adv), _ = step._watched
        whole = torch.autograd.grad(losses.total, (features, features_adv), retain_graph=True)
        return step.term_gradients(), float(torch.cat(whole).norm())

    alone, whole = looked(k_robust=0.0)
    assert alone == (pytest.approx(whole, rel=1e-5), 0.0, 0.0)
    base, more = looked()[0], looked(alpha=1.0)[0]
    assert more.contrastive == pytest.approx(2 * base.contrastive, rel=1e-5)
    assert (more.accuracy, more.cosine) == pytest.approx((base.accuracy, base.cosine), rel=1e-6)
    assert min(base) > 0


def test_a_frozen_encoder_has_no_gradient_and_its_head_is_trained() -> None:
    step = make_step(TrainSettings(accuracy_loss="trades", k_robust=0.5, attack_steps=1))
    step.classifier.encoder.requires_grad_(False)
    step.watch = True
    images, labels, _ = batch(8)
    losses, _ = step(images, labels)
    assert step.term_gradients() == TermGradients(0.0, 0.0, 0.0)
    losses.total.backward()
    assert all(weight.grad is not None for weight in step.classifier.head.parameters())


@pytest.mark.parametrize(
    ("dimension", "words"), [(2**62, "more weights than any memory"), (10**7, "GiB of memory")]
)
def test_an_embedding_space_that_does_not_fit_into_memory(dimension: int, words: str) -> None:
    with pytest.raises(
        OutOfMemoryError, match=rf"embedding_dim {dimension} .*{words}.*; lower embedding_dim$"
    ):
        make_step(TrainSettings(embedding_dim=dimension))
