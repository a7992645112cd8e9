"""AutoAttack's composition: against closed forms on linear networks, and against AutoAttack itself."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from torch import Tensor, nn

from morel_search.results.attack_names import STAGES
from morel_search.training.augment import to_float
from morel_search.training.compute_settings import FLOAT32, Compute
from morel_search.training.datasets.loading import Development, ImageSet, load_development
from morel_search.training.evaluation_attacks import margin_attack
from morel_search.training.settings import (
    DataSettings,
    EvaluationSettings,
    NetworkSettings,
    Norm,
    TrainSettings,
)
from morel_search.training.trainer import Training
from morel_search.verification.attack_suite import AttackSuite, SuiteResult, autoattack

COMPARED = 50
"""Images that both AutoAttack and this project attack."""

ATTACKS = ["pgd", "apgd-ce", "apgd-t", "fab-t", "square"]


def linear(classes: int, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
    network[1].weight.data *= 3
    return network


def smallest_radius(network: nn.Sequential, images: Tensor, labels: Tensor, norm: Norm) -> Tensor:
    """Return the smallest radius at which a linear network misclassifies each image.

    It is the minimum over the other classes of margin / dual norm of the difference of the weights.
    """
    weight = network[1].weight.detach()
    logits = network(images).detach()
    own = labels.unsqueeze(1)
    margins = logits.gather(1, own) - logits
    lengths = (weight[labels].unsqueeze(1) - weight.unsqueeze(0)).norm(p=1 if norm == "linf" else 2, dim=2)
    return (margins / lengths).scatter(1, own, float("inf")).amin(dim=1)


@pytest.mark.parametrize(
    ("norm", "classes", "epsilon", "compute"),
    [
        ("linf", 5, "1/80", FLOAT32),
        ("l2", 5, "1/12", FLOAT32),
        ("linf", 3, "1/50", FLOAT32),
        ("linf", 5, "1/80", Compute(precision="bfloat16")),
    ],
)
def test_a_linear_network_is_robust_exactly_up_to_its_smallest_radius(
    norm: Norm, classes: int, epsilon: str, compute: Compute
) -> None:
    """Pixels are far from 0 and 1, so that clipping does not change the radius."""
    network = linear(classes)
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(90, 165, (40, 1, 8, 8), generator=generator).to(torch.uint8)
    images = to_float(pixels)
    labels = network(images).argmax(dim=1)
    labels[:5] = (labels[:5] + 1) % classes  # misclassified without an attack
    radius = smallest_radius(network, images, labels, norm)
    settings = EvaluationSettings(norm=norm, epsilon=Fraction(epsilon), steps=3, batch_size=16)
    result = autoattack(network, ImageSet(pixels, labels), settings, compute=compute)
    clear = (radius - float(settings.epsilon)).abs() > 1e-4
    assert result.clean.tolist() == [False] * 5 + [True] * 35
    assert torch.equal(result.robust[clear], (radius > float(settings.epsilon))[clear])
    assert 5 < int(result.robust.sum()) < 30
    assert list(result.broken) == [name for name in ATTACKS if classes > 3 or name != "apgd-t"]
    assert sum(result.broken.values()) == int(result.clean.sum() - result.robust.sum())


def test_the_network_and_the_random_state_do_not_change() -> None:
    network = linear(4).train()
    pixels = torch.randint(0, 256, (4, 1, 8, 8)).to(torch.uint8)
    labels = network(to_float(pixels)).argmax(dim=1)
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    autoattack(network, ImageSet(pixels, labels), EvaluationSettings(epsilon=Fraction(1, 2), steps=2))
    assert torch.equal(torch.rand(1), expected)
    assert network.training
    assert all(weight.requires_grad and weight.grad is None for weight in network.parameters())


@pytest.fixture(scope="module")
def robust() -> tuple[nn.Module, ImageSet]:
    """Return a network trained for robustness on digits of twice the size, and 200 other images."""

    def enlarged(images: ImageSet) -> ImageSet:
        return ImageSet(images.images.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3), images.labels)

    digits = load_development(DataSettings(name="digits", validation=0.3))
    settings = TrainSettings(
        epochs=8,
        optimizer="adamw",
        lr=0.01,
        accuracy_loss="pgd",
        k_robust=0.0,
        gamma=0.0,
        epsilon=Fraction(1, 8),
        attack_steps=4,
    )
    large = Development(enlarged(digits.train), enlarged(digits.validation), digits.classes)
    network = NetworkSettings(name="small_cnn", options={"width": 8})
    training = Training(settings, network, large, EvaluationSettings(every=100), seed=0)
    for _ in range(8):
        training.train_epoch()
    return training.model.eval(), ImageSet(large.validation.images[:200], large.validation.labels[:200])


@pytest.fixture(scope="module")
def reference(robust: tuple[nn.Module, ImageSet]) -> Tensor:
    """Which of the first images AutoAttack's own run leaves correctly classified."""
    from pyautoattack import AutoAttack

    model, images = robust
    x, y = to_float(images.images[:COMPARED]), images.labels[:COMPARED]
    adversarial, _ = AutoAttack(model, norm="Linf", eps=0.125, seed=0).run_standard_evaluation(
        x, y, batch_size=250
    )
    with torch.no_grad():
        return (model(x).argmax(dim=1) == y) & (model(adversarial).argmax(dim=1) == y)


@pytest.mark.slow
@pytest.mark.parametrize("compute", [FLOAT32, Compute(precision="bfloat16", channels_last=True)])
def test_the_same_images_are_robust_as_with_autoattack(
    robust: tuple[nn.Module, ImageSet], reference: Tensor, compute: Compute
) -> None:
    model, images = robust
    images = ImageSet(images.images[:COMPARED], images.labels[:COMPARED])
    result: SuiteResult = autoattack(
        model, images, EvaluationSettings(epsilon=Fraction(1, 8)), compute=compute
    )
    assert 0.2 * COMPARED < int(reference.sum()) < 0.95 * COMPARED
    assert abs(int(result.robust.sum()) - int(reference.sum())) <= 1
    assert int((result.robust & ~reference).sum()) <= 1


@pytest.mark.parametrize("name", [name for name in STAGES if name not in ("fab-t", "square")])
def test_large_logits_that_are_divided_do_not_change_the_result(
    robust: tuple[nn.Module, ImageSet], name: str
) -> None:
    """Multiplying logits by 10,000 changes no decision, but cross entropy has no gradient any more."""
    model, images = robust
    x, y = to_float(images.images[:COMPARED]), images.labels[:COMPARED]
    settings = EvaluationSettings(epsilon=Fraction(1, 8), steps=5)
    masked = Scaled(model, 1e4)
    plain = AttackSuite(model, x, settings).robust_mask(name, x, y)
    divided = AttackSuite(masked, x, settings, scale=1e4).robust_mask(name, x, y)
    assert torch.equal(masked(x).argmax(dim=1), model(x).argmax(dim=1))
    assert int((plain != divided).sum()) <= 1


class Scaled(nn.Module):
    """A network with its logits multiplied."""

    def __init__(self, network: nn.Module, factor: float) -> None:
        super().__init__()
        self.network, self.factor = network, factor

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images) * self.factor
        return logits


def few_classes(count: int) -> tuple[nn.Module, Tensor, Tensor]:
    """Return a network trained on two or three similar digits, and 60 other images of them, with labels."""
    digits = load_development(DataSettings(name="digits", validation=0.4))
    names = torch.tensor([8, 3, 9][:count])

    def chosen(image_set: ImageSet) -> tuple[Tensor, Tensor]:
        is_chosen = (image_set.labels.unsqueeze(1) == names).any(dim=1)
        labels = (image_set.labels[is_chosen].unsqueeze(1) == names).int().argmax(dim=1)
        return to_float(image_set.images[is_chosen]), labels

    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, count)
    )
    images, labels = chosen(digits.train)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    for _ in range(80):
        optimizer.zero_grad()
        noisy = (images + 0.1 * torch.randn_like(images)).clamp(0, 1)
        nn.functional.cross_entropy(network(noisy), labels).backward()
        optimizer.step()
    images, labels = chosen(digits.validation)
    return network.eval(), images[:60], labels[:60]


def verdict(suite: AttackSuite, names: tuple[str, ...], images: Tensor, labels: Tensor) -> Tensor:
    is_robust = suite.correct(images, labels)
    for name in names:
        left = is_robust.nonzero().squeeze(1)
        is_robust[left] = suite.robust_mask(name, images[left], labels[left])
    return is_robust


@pytest.mark.parametrize(
    ("classes", "final_steps", "norm", "epsilon"),
    [(2, 0, "linf", "1/14"), (3, 20, "linf", "1/14"), (3, 0, "l2", "1/2"), (2, 20, "l2", "1/2")],
)
def test_with_few_classes_no_stronger_attack_on_margins_breaks_more(
    classes: int, final_steps: int, norm: Norm, epsilon: str
) -> None:
    """The stronger attack: 100 steps from 5 starts. The verdict without Square and FAB-T is a rival too."""
    network, images, labels = few_classes(classes)
    settings = EvaluationSettings(
        norm=norm,
        epsilon=Fraction(epsilon),
        loss="cross_entropy",
        steps=10,
        final_steps=final_steps,
    )
    suite = AttackSuite(network, images, settings)
    assert "apgd-t" not in suite.names
    ours = verdict(suite, suite.names, images, labels)
    assert 10 < int(ours.sum()) < 55
    strong = replace(settings, final_steps=100, final_restarts=5)
    stronger = verdict(AttackSuite(network, images, strong), ("pgd",), images, labels)
    assert int((ours & ~stronger).sum()) <= 1
    by_gradient = tuple(name for name in suite.names if name not in ("fab-t", "square"))
    assert int(verdict(suite, by_gradient, images, labels).sum()) <= int(ours.sum()) + 1


def test_targeted_margins_with_restarts_are_added_only_where_the_final_attack_lacks_them() -> None:
    assert margin_attack(EvaluationSettings()) is None
    for lacking in ({"final_steps": 0}, {"final_restarts": 1}, {"final_targets": 3}, {"final_steps": 5}):
        attack = margin_attack(EvaluationSettings(**lacking))
        assert attack is not None
        assert (attack.loss, attack.targets, len(attack.starts)) == ("targeted_margin", 9, 2)
