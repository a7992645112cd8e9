"""Adversarial weight perturbation against its definition, computed on a second network as its authors do."""

from __future__ import annotations

import copy
import dataclasses
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from morel_search.errors import TrainingError
from morel_search.training.compute_settings import FLOAT32, Compute
from morel_search.training.datasets.loading import Development, load_development
from morel_search.training.networks import Classifier, build_network
from morel_search.training.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainSettings
from morel_search.training.step import MorelStep
from morel_search.training.trainer import Training
from morel_search.training.weight_perturbation import perturbation

NETWORK = NetworkSettings(name="small_cnn", options={"width": 4})
PLAIN: dict[str, Any] = {"k_robust": 0.0, "k_accuracy": 1.0, "gamma": 0.0, "beta": 3.0}
ATTACK: dict[str, Any] = {"epsilon": Fraction(1, 5), "attack_steps": 2}
BF16 = Compute(precision="bfloat16", channels_last=False, compile=False, deterministic=False)
LR = 0.1


def network() -> Classifier:
    torch.manual_seed(0)
    return build_network(NETWORK, (1, 8, 8), 10).train()


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(16, 1, 8, 8, generator=generator), torch.arange(16) % 10


def loss_by_hand(name: str, model: nn.Module, images: Tensor, adversarial: Tensor, labels: Tensor) -> Tensor:
    clean, attacked = model(images), model(adversarial)
    if name == "pgd":
        return F.cross_entropy(attacked, labels)
    divergence = F.kl_div(F.log_softmax(attacked, 1), F.softmax(clean, 1), reduction="batchmean")
    return F.cross_entropy(clean, labels) + 3.0 * divergence


def step_by_hand(name: str, gamma: float, images: Tensor, adversarial: Tensor, labels: Tensor) -> Classifier:
    """One step of plain gradient descent, with a proxy network that climbs the loss."""
    model, proxy = network(), network()
    ascent = torch.optim.SGD(proxy.parameters(), lr=0.01)
    (-loss_by_hand(name, proxy, images, adversarial, labels)).backward()
    ascent.step()
    added = {}
    with torch.no_grad():
        for (key, weight), (_, climbed) in zip(
            model.named_parameters(), proxy.named_parameters(), strict=True
        ):
            if weight.ndim > 1:
                direction = climbed - weight
                added[key] = gamma * weight.norm() / direction.norm() * direction
                weight.add_(added[key])
    descent = torch.optim.SGD(model.parameters(), lr=LR)
    loss_by_hand(name, model, images, adversarial, labels).backward()
    descent.step()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if key in added:
                weight.sub_(added[key])
    return model


@pytest.mark.parametrize("gamma", [0.005, 0.1])
@pytest.mark.parametrize("name", ["pgd", "trades"])
def test_a_step_equals_that_of_a_proxy_network(name: str, gamma: float) -> None:
    images, labels = batch()
    settings = TrainSettings(accuracy_loss=name, awp=gamma, **PLAIN, **ATTACK)
    step = MorelStep(network(), settings).train()
    adversarial = step.attack(images, labels, torch.Generator().manual_seed(1))
    expected = step_by_hand(name, gamma, images, adversarial, labels)
    plain = step_by_hand(name, 0.0, images, adversarial, labels)

    optimizer = torch.optim.SGD(step.parameters(), lr=LR)
    losses, _ = step(images, labels, 0, torch.Generator().manual_seed(1))
    losses.total.backward()
    optimizer.step()
    step.restore_weights()
    state, wanted = step.classifier.state_dict(), expected.state_dict()
    assert state.keys() == wanted.keys()
    for key, value in wanted.items():
        if value.is_floating_point():  # batches are counted by the step, not by the layers
            torch.testing.assert_close(state[key], value, rtol=1e-3, atol=2e-5, msg=key)
    differences = [float((plain.state_dict()[key] - value).abs().max()) for key, value in wanted.items()]
    assert max(differences) > 1e-3  # a step without the perturbation is another one


def test_each_tensor_moves_by_gamma_of_its_norm_and_the_loss_rises_as_much_as_it_can() -> None:
    """To first order it rises by gamma times the sum of ||w_l|| ||g_l||; no other direction gives more."""
    model = network().eval().double()
    images, labels = (batch()[0].double(), batch()[1])
    weights = [weight for weight in model.parameters() if weight.ndim > 1]
    norms = [float(weight.detach().norm()) for weight in weights]
    loss = F.cross_entropy(model(images), labels)
    gradients = torch.autograd.grad(loss, weights, retain_graph=True)
    gamma = 1e-5
    added = perturbation(loss, weights, gamma)
    assert [float(change.norm()) for change in added] == pytest.approx([gamma * norm for norm in norms])
    with torch.no_grad():
        for weight, change in zip(weights, added, strict=True):
            weight.add_(change)
        rise = float(F.cross_entropy(model(images), labels) - loss)
    best = gamma * sum(norm * float(g.norm()) for norm, g in zip(norms, gradients, strict=True))
    assert rise == pytest.approx(best, rel=0.01)


def test_a_gradient_of_zero_or_no_gradient_moves_nothing() -> None:
    used, unused = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    assert all(not bool(change.any()) for change in perturbation(0.0 * used.sum(), [used, unused], 0.5))


@pytest.mark.parametrize("compute", [FLOAT32, BF16])
def test_weights_and_buffers_are_restored(compute: Compute) -> None:
    images, labels = batch()
    settings = TrainSettings(accuracy_loss="trades", k_robust=0.3, alpha=0.1, awp=0.3, **ATTACK)
    step = MorelStep(network(), settings, compute).train()
    before = copy.deepcopy(step.classifier.state_dict())
    losses, _ = step(images, labels, 0, torch.Generator().manual_seed(1))
    moved = [
        key
        for key, value in step.classifier.named_parameters()
        if not torch.allclose(value, before[key], rtol=1e-3)
    ]
    assert sorted(moved) == sorted(key for key, value in before.items() if "weight" in key and value.ndim > 1)
    assert bool(torch.isfinite(losses.total))
    step.restore_weights()
    step.restore_weights()  # a second time changes nothing
    for key, value in step.classifier.named_parameters():
        torch.testing.assert_close(value.detach(), before[key], rtol=1e-5, atol=1e-6)
    tracked = next(key for key in before if key.endswith("num_batches_tracked"))
    assert int(step.classifier.state_dict()[tracked]) == 2  # the clean and the adversarial batch, once each


@pytest.fixture(scope="module")
def digits() -> Development:
    return load_development(DataSettings(name="digits", limit=200, validation=50))


def trained(digits: Development, **changes: Any) -> Training:
    settings = TrainSettings(epochs=4, batch_size=75, optimizer="adamw", lr=0.01, ema=0.5, **ATTACK)
    evaluation = EvaluationSettings(epsilon=Fraction(1, 5), steps=1, every=10)
    training = Training(dataclasses.replace(settings, **changes), NETWORK, digits, evaluation, seed=0)
    for _ in range(2):
        training.train_epoch()
    return training


def test_the_warm_up_is_a_training_without_perturbation(digits: Development) -> None:
    plain, late, soon = (
        trained(digits, **changes).model.state_dict()
        for changes in ({}, {"awp": 0.2, "awp_warmup": 0.5}, {"awp": 0.2, "awp_warmup": 0.25})
    )
    assert all(torch.equal(value, late[key]) for key, value in plain.items())
    assert not all(torch.allclose(value, soon[key], rtol=1e-3) for key, value in plain.items())


def test_a_vanishing_perturbation_is_a_training_without_one(digits: Development) -> None:
    """Running statistics too: the additional pass is counted in none of them."""
    plain, vanishing = trained(digits).model.state_dict(), trained(digits, awp=1e-9).model.state_dict()
    for key, value in plain.items():
        torch.testing.assert_close(vanishing[key], value, rtol=1e-2, atol=1e-3, msg=key)


def test_a_network_without_weights_to_perturb_is_refused() -> None:
    frozen = network().requires_grad_(False)
    with pytest.raises(TrainingError, match=r"the network has none; set train\.awp to 0"):
        MorelStep(frozen, TrainSettings(awp=0.01))
