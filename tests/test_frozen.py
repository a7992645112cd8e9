"""The copy that attacks see: the same function as the network in eval mode, whatever the network is."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from morel_search.training.attacks import attack_mode
from morel_search.training.compute_settings import Compute
from morel_search.training.frozen import FrozenNetwork
from morel_search.training.networks import build_network
from morel_search.training.settings import NetworkSettings

SHAPE = (3, 16, 16)
NARROW = {
    "small_cnn": {"width": 8},
    "resnet18": {"width": 8},
    "preact_resnet18": {"width": 8},
    "wideresnet28_10": {"depth": 10, "width": 1},
    "vit": {"width": 32, "heads": 2},
}
IMPORTED = {
    "torchvision.models:resnet18": {},
    "torchvision.models:mobilenet_v3_small": {},
    "torchvision.models:vgg11_bn": {},
}
BATCH_NORMS_LEFT = {
    "small_cnn": 0,
    "resnet18": 0,
    "preact_resnet18": 8,
    "wideresnet28_10": 4,
    "torchvision.models:resnet18": 0,
}
"""Where activations come first, the batch norms that follow an addition cannot be folded."""


def lived(name: str, options: dict[str, Any], seed: int = 0) -> nn.Module:
    """A network whose batch norms have seen images, and have scales and shifts of their own."""
    torch.manual_seed(seed)
    network = build_network(
        NetworkSettings(name=name, options=options), (3, 32, 32) if ":" in name else SHAPE, 10
    )
    for part in network.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.uniform_(part.weight, 0.5, 1.5)
            nn.init.uniform_(part.bias, -0.3, 0.3)
            nn.init.uniform_(part.running_mean, -0.3, 0.3)  # type: ignore[arg-type]
            nn.init.uniform_(part.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return network.train()


def images_for(name: str, count: int = 4) -> Tensor:
    size = 32 if ":" in name else 16
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(1))


def logits_and_gradient(model: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    points = images.clone().requires_grad_()
    logits = model(points)
    (gradient,) = torch.autograd.grad(logits.square().sum(), points)
    return logits.detach(), gradient


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("layout", [False, True])
@pytest.mark.parametrize(("name", "options"), [*NARROW.items(), *IMPORTED.items()])
def test_logits_and_input_gradients_are_the_networks(
    name: str, options: dict[str, Any], layout: bool
) -> None:
    network, images = lived(name, options), images_for(name)
    frozen = FrozenNetwork(network, images, Compute(channels_last=layout))
    with attack_mode(network):
        expected = logits_and_gradient(network, images)
    found = logits_and_gradient(frozen, images)
    assert relative(found[0], expected[0]) < 1e-5
    assert (
        relative(found[1], expected[1]) < 2e-2
    )  # a unit within rounding of 0, or of its neighbour in a pool, may switch


@pytest.mark.parametrize("name", BATCH_NORMS_LEFT)
def test_every_batch_norm_behind_a_convolution_is_folded(name: str) -> None:
    network, images = lived(name, {**NARROW, **IMPORTED}[name]), images_for(name)
    frozen = FrozenNetwork(network, images)
    assert sum(isinstance(part, nn.BatchNorm2d) for part in frozen.modules()) == BATCH_NORMS_LEFT[name]


def test_it_follows_the_network_at_refresh_and_only_then() -> None:
    network, images = lived("resnet18", NARROW["resnet18"]), images_for("resnet18")
    frozen = FrozenNetwork(network, images)
    before = frozen(images)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    network(images).square().mean().backward()  # in training mode: the running statistics move too
    optimizer.step()
    assert torch.equal(frozen(images), before)
    frozen.refresh()
    with attack_mode(network):
        assert relative(frozen(images), network(images)) < 1e-5
    assert relative(before, frozen(images)) > 1e-3


@pytest.mark.parametrize("narrow", [False, True])
@pytest.mark.parametrize(("affine", "bias"), [(True, False), (False, True), (True, True), (False, False)])
def test_folding_is_torchs_to_the_last_bit(affine: bool, bias: bool, narrow: bool) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=bias),
        nn.BatchNorm2d(6, eps=1e-3, affine=affine),
        nn.ReLU(),
        nn.Conv2d(6, 5, 1),
        nn.BatchNorm2d(5),
        nn.Flatten(),
    )
    for _ in range(3):
        network(3 * torch.randn(8, 3, 6, 6) + 1)
    frozen = FrozenNetwork(
        network, torch.rand(2, 3, 6, 6), Compute(precision="bfloat16" if narrow else "float32")
    )
    copies = [part for part in frozen.modules() if isinstance(part, nn.Conv2d)]
    for conv, norm, made in zip(network[0::3], network[1::3], copies, strict=False):
        weight, offset = fuse_conv_bn_weights(
            conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
        )
        assert torch.equal(made.weight, weight.to(made.weight.dtype))
        assert made.bias is not None
        assert torch.equal(made.bias, offset.to(made.bias.dtype))
        assert made.weight.dtype == (torch.bfloat16 if narrow else torch.float32)


def test_the_network_and_the_random_state_are_left_alone() -> None:
    network, images = lived("resnet18", NARROW["resnet18"]), images_for("resnet18")
    state, random = copy.deepcopy(network.state_dict()), torch.get_rng_state()
    frozen = FrozenNetwork(network, images, Compute(precision="bfloat16", channels_last=True))
    logits_and_gradient(frozen, images)
    assert network.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(value, network.state_dict()[name]) for name, value in state.items())
    assert all(weight.grad is None and weight.requires_grad for weight in network.parameters())


class UsedTwice(nn.Module):
    """The convolution's output goes on beside the batch norm, too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.conv(x)
        return (self.norm(maps) + maps).mean(dim=(2, 3))


class CalledTwice(nn.Module):
    """The same convolution, with the batch norm behind it one time of two."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.conv(self.norm(self.conv(x)))
        return maps.mean(dim=(2, 3))


class Noisy(nn.Module):
    """A defence that draws noise whenever it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.norm(self.conv(x + torch.rand_like(x)))
        return maps.mean(dim=(2, 3))


class Normed(nn.Module):
    """A weight that is computed from other parameters at each call."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.norm(self.conv(x))
        return maps.mean(dim=(2, 3))


class NoStatistics(nn.Module):
    """Batch statistics in eval mode too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.norm(self.conv(x))
        return maps.mean(dim=(2, 3))


class Rezero(nn.Module):
    """A branch that does nothing at first, whose convolution something else reads too."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        stem = self.stem(x)
        maps = self.conv(stem)
        out: Tensor = (stem + self.gain * (self.norm(maps) + maps)).mean(dim=(2, 3))
        return out


class Acting(nn.BatchNorm2d):
    """A batch norm that does more than its class says."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).relu()


class Active(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), Acting(4)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.norm(self.conv(x))
        return maps.mean(dim=(2, 3))


class Reading(nn.Module):
    """A forward pass that reads a batch norm's parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.norm(self.conv(x)) * self.norm.weight.mean()
        return maps.mean(dim=(2, 3))


class Aliased(nn.Module):
    """A convolution whose weight has a second name that comes first."""

    def __init__(self) -> None:
        super().__init__()
        conv = nn.Conv2d(3, 4, 3)
        self.kernel = conv.weight
        self.conv, self.norm = conv, nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.norm(self.conv(x))
        return maps.mean(dim=(2, 3))


class Counting(nn.Module):
    """A buffer that each training pass replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.register_buffer("level", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.level = 0.5 * self.level
        maps: Tensor = self.norm(self.conv(x)) * self.level
        return maps.mean(dim=(2, 3))


@pytest.mark.parametrize("kind", [Rezero, Active, Reading, Aliased, Counting])
def test_what_changes_later_is_followed(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network, images = kind().train(), images_for("small_cnn")
    frozen = FrozenNetwork(network, images)
    for _ in range(3):
        network(images)  # running statistics and buffers move
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(1.0 if weight.dim() == 0 else 0.3)
    frozen.refresh()
    with attack_mode(network):
        torch.testing.assert_close(frozen(images), network(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [UsedTwice, CalledTwice, Noisy, Normed, NoStatistics])
def test_what_cannot_be_folded_is_left_as_it_is(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    network, images = kind(), images_for("small_cnn")
    network.norm.running_mean = (
        None if kind is NoStatistics else torch.tensor([0.5, -0.5, 0.1, 0.3])[: network.norm.num_features]
    )  # type: ignore[union-attr, assignment]
    frozen = FrozenNetwork(network, images)
    assert sum(isinstance(part, nn.BatchNorm2d) for part in frozen.modules()) == 1
    with attack_mode(network):
        torch.manual_seed(3)
        expected = network(images)
        torch.manual_seed(3)
        torch.testing.assert_close(frozen(images), expected)


def test_bfloat16_is_near_and_gives_float32() -> None:
    network, images = lived("resnet18", NARROW["resnet18"]), images_for("resnet18", 64)
    frozen = FrozenNetwork(network, images, Compute(precision="bfloat16", channels_last=True))
    with attack_mode(network):
        expected = logits_and_gradient(network, images)
    logits, gradient = logits_and_gradient(frozen, images)
    assert logits.dtype == gradient.dtype == torch.float32
    assert relative(logits, expected[0]) < 0.02
    assert float((gradient.sign() == expected[1].sign()).float().mean()) > 0.95


@pytest.mark.slow
def test_a_compiled_copy_follows_too() -> None:
    network, images = lived("small_cnn", NARROW["small_cnn"]), images_for("small_cnn")
    frozen = FrozenNetwork(network, images, Compute(compile=True))
    for _ in range(2):
        with attack_mode(network):
            expected = logits_and_gradient(network, images)
        found = logits_and_gradient(frozen, images)
        assert relative(found[0], expected[0]) < 1e-5
        assert (
            relative(found[1], expected[1]) < 2e-2
        )  # a unit within rounding of 0, or of its neighbour in a pool, may switch
        for weight in network.parameters():
            weight.data.mul_(1.1)
        frozen.refresh()
