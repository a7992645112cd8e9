"""Optimizers and weight average against torch's own, to the last bit on a CPU."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from morel_search.training.average import WeightAverage
from morel_search.training.optimizers import SGD, AdamW


class Layers(nn.Module):
    """A real network with one complex parameter, and one parameter that is used in some steps alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.waves = nn.Parameter(torch.randn(4, dtype=torch.complex64))
        self.now_and_then = nn.Parameter(torch.randn(4))

    def forward(self, x: Tensor, both: bool) -> Tensor:
        maps = self.norm(self.conv(x)).mean(dim=(2, 3)) * self.waves.abs()
        return (maps * self.now_and_then if both else maps).square().sum()


def walk(
    network: nn.Module,
    optimizer: Any,
    steps: range,
    average: Any = None,
    rates: tuple[float, ...] = (0.1, 0.03),
) -> None:
    generator = torch.Generator().manual_seed(0)
    batches = torch.randn(steps.stop, 8, 3, 6, 6, generator=generator)
    for step in steps:
        optimizer.zero_grad()
        network(batches[step], step % 3 != 1).backward()
        rate = rates[step % len(rates)]
        if isinstance(optimizer, torch.optim.Optimizer):
            optimizer.param_groups[0]["lr"] = rate
        else:
            optimizer.lr = rate
        optimizer.step()
        if average is not None:
            (average.update if isinstance(average, WeightAverage) else average.update_parameters)(network)


def same(a: nn.Module, b: nn.Module) -> bool:
    other = b.state_dict()
    return all(torch.equal(value, other[name]) for name, value in a.state_dict().items())


def network() -> nn.Module:
    torch.manual_seed(0)
    return Layers().train()


CASES: list[tuple[Any, Any]] = [
    *(
        (
            lambda p, m=momentum, d=decay: SGD(p, 0.1, momentum=m, weight_decay=d),
            lambda p, m=momentum, d=decay: torch.optim.SGD(
                p, lr=0.1, momentum=m, weight_decay=d, nesterov=m > 0
            ),
        )
        for momentum, decay in ((0.9, 5e-4), (0.9, 0.0), (0.0, 5e-4), (0.0, 0.0))
    ),
    *(
        (
            lambda p, m=momentum, d=decay: AdamW(p, 0.1, betas=(m, 0.999), weight_decay=d),
            lambda p, m=momentum, d=decay: torch.optim.AdamW(p, lr=0.1, betas=(m, 0.999), weight_decay=d),
        )
        for momentum, decay in ((0.9, 0.01), (0.9, 0.0), (0.0, 0.01))
    ),
]


@pytest.mark.parametrize(("own", "torchs"), CASES)
def test_an_optimizer_is_torchs_to_the_last_bit(own: Any, torchs: Any) -> None:
    mine, other = network(), network()
    walk(mine, own(mine.parameters()), range(7))
    walk(other, torchs(other.parameters()), range(7))
    assert same(mine, other)
    assert not same(mine, network())


@pytest.mark.parametrize(("own", "torchs"), CASES)
@pytest.mark.parametrize("saved_by_torch", [False, True])
def test_a_saved_optimizer_continues_also_from_torchs_state(
    own: Any, torchs: Any, saved_by_torch: bool
) -> None:
    whole = network()
    walk(whole, own(whole.parameters()), range(7))
    first = network()
    optimizer = (torchs if saved_by_torch else own)(first.parameters())
    walk(first, optimizer, range(4))
    saved = copy.deepcopy(optimizer.state_dict())
    walk(first, optimizer, range(4, 6))  # what was saved does not move with it
    second = network()
    walk(second, torchs(second.parameters()), range(4))
    continued = own(second.parameters())
    continued.load_state_dict(saved)
    walk(second, continued, range(4, 7))
    assert same(whole, second)


def test_an_optimizer_without_gradients_changes_nothing() -> None:
    mine = network()
    for optimizer in (
        SGD(mine.parameters(), 0.1, momentum=0.9, weight_decay=0.1),
        AdamW(mine.parameters(), 0.1, betas=(0.9, 0.999), weight_decay=0.1),
    ):
        optimizer.step()
    assert same(mine, network())


def test_the_number_of_steps_stays_on_the_host() -> None:
    weight = torch.ones(3, device="meta", requires_grad=True)
    weight.grad = torch.ones_like(weight)
    first, continued = (AdamW([weight], 0.1, betas=(0.9, 0.999), weight_decay=0.1) for _ in range(2))
    first.step()
    saved = first.state_dict()
    assert {name: value.device.type for name, value in saved["state"][0].items()} == {
        "step": "cpu",
        "exp_avg": "meta",
        "exp_avg_sq": "meta",
    }
    continued.load_state_dict(saved)
    continued.step()
    steps = continued.state[0]["step"]
    assert steps.device.type == "cpu"
    assert float(steps) == 2


def torchs_average(model: nn.Module, decay: float) -> AveragedModel:
    """The rule as torch's class runs it, tensor by tensor."""

    @torch.no_grad()
    def follow(averaged: Any, current: Any, steps: Any) -> None:
        weight = 1.0 - min(decay, (1.0 + float(steps)) / (10.0 + float(steps)))
        for old, new in zip(averaged, current, strict=True):
            old.copy_(torch.lerp(old, new, weight) if old.is_floating_point() else new)

    return AveragedModel(model, multi_avg_fn=follow, use_buffers=True)


@pytest.mark.parametrize("decay", [0.3, 0.999])
def test_the_weight_average_is_torchs_to_the_last_bit(decay: float) -> None:
    mine, other = network(), network()
    average, expected = WeightAverage(mine, decay), torchs_average(other, decay)
    rates = (0.01,)
    walk(mine, SGD(mine.parameters(), 0.1, momentum=0.9, weight_decay=0), range(9), average, rates)
    walk(other, SGD(other.parameters(), 0.1, momentum=0.9, weight_decay=0), range(9), expected, rates)
    assert same(average.module, expected.module)
    assert not same(average.module, mine)
    state, torchs_state = average.state_dict(), expected.state_dict()
    assert state.keys() == torchs_state.keys()
    assert all(torch.equal(value, state[name]) for name, value in torchs_state.items())


def test_a_saved_weight_average_continues_also_from_torchs_state() -> None:
    mine = network()
    average, expected = WeightAverage(mine, 0.9), torchs_average(mine, 0.9)
    optimizer = SGD(mine.parameters(), 0.01, momentum=0.9, weight_decay=0)
    walk(mine, optimizer, range(3), average)
    for _ in range(3):
        expected.update_parameters(mine)
    for state in (average.state_dict(), expected.state_dict()):
        loaded = WeightAverage(network(), 0.9)
        loaded.load_state_dict(copy.deepcopy(state))
        assert loaded.updates == 3
        assert loaded.state_dict().keys() == state.keys()
        assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in state.items())
