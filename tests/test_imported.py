"""Networks by import path: taken apart, never changed, refused in one sentence."""

from __future__ import annotations

import copy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor

from morel_search.errors import NetworkError
from morel_search.training.compute_settings import FLOAT32
from morel_search.training.frozen import FrozenNetwork
from morel_search.training.networks import Classifier, build_network
from morel_search.training.settings import NetworkSettings, TrainSettings
from morel_search.training.step import MorelStep


def build(
    name: str, shape: tuple[int, int, int] = (3, 32, 32), classes: int = 10, **options: Any
) -> Classifier:
    torch.manual_seed(0)
    return build_network(NetworkSettings(name=name, options=options), shape, classes)


def images(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(1))


OWN_NETWORKS = '''
import torch
from torch import nn

class Plain(nn.Module):
    """The head is defined before what runs ahead of it."""
    def __init__(self, hidden=7, num_classes=4, side=8):
        super().__init__()
        self.head = nn.Linear(hidden, num_classes)
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(side * side, hidden), nn.ReLU(), nn.Dropout(0.5))
    def forward(self, x):
        return self.head(self.body(x))

class Softmaxed(Plain):
    def forward(self, x):
        return super().forward(x).log_softmax(dim=1)

class Clamped(Plain):
    """Logits are limited to values that the probing images do not reach."""
    def forward(self, x):
        return super().forward(x).clamp(-100, 100)

class ClampedInPlace(Plain):
    def forward(self, x):
        return super().forward(x).clamp_(-100, 100)

class Rectified(nn.Sequential):
    def __init__(self, num_classes=4):
        super().__init__(nn.Flatten(), nn.Linear(64, num_classes), nn.Hardtanh(-100, 100))

class WeightNorm(Plain):
    """The weight is computed from two others, with gradients, by a hook."""
    def __init__(self, dim=0):
        super().__init__()
        torch.nn.utils.weight_norm(self.body[1], dim=dim)
        torch.nn.utils.weight_norm(self.head)
        with torch.no_grad():
            self.body[1].weight_g.mul_(1.7)
        self.head.weight_v.requires_grad_(False)

class SpectralNorm(Plain):
    """The weight is computed with gradients in a forward pass of training alone."""
    def __init__(self):
        super().__init__()
        torch.nn.utils.spectral_norm(self.body[1], n_power_iterations=2)

class Remembering(Plain):
    """It keeps features, which were computed with gradients."""
    def forward(self, x):
        self.last = self.body(x)
        return self.head(self.last)

class Lazy(nn.Sequential):
    def __init__(self, num_classes=4):
        super().__init__(nn.Flatten(), nn.LazyLinear(6), nn.ReLU(), nn.LazyLinear(num_classes))

class Parametrized(Plain):
    def __init__(self):
        super().__init__()
        torch.nn.utils.parametrizations.weight_norm(self.body[1])
        torch.nn.utils.parametrizations.spectral_norm(self.head)

class Uncopyable(Plain):
    def __deepcopy__(self, memo):
        raise RuntimeError("there is one of me")

class Unchanged(Plain):
    """A dropout that does nothing in eval mode, and views, leave the logits as they are."""
    def forward(self, x):
        return nn.functional.dropout(super().forward(x), 0.0, self.training).view(len(x), -1)

class Tuple(Plain):
    def forward(self, x):
        return super().forward(x), x

class TupleInTraining(Plain):
    def forward(self, x):
        out = super().forward(x)
        return (out, out) if self.training else out

class Maps(nn.Conv2d):
    def __init__(self):
        super().__init__(1, 2, 3)

def convolutional():
    return nn.Sequential(nn.Conv2d(1, 5, 8), nn.Flatten())

class Cosine(nn.Module):
    """Logits are cosines times a scale: a head that is not linear."""
    def __init__(self, dim, classes):
        super().__init__()
        self.directions = nn.Parameter(torch.randn(classes, dim))
    def forward(self, features):
        return 8 * nn.functional.normalize(features) @ nn.functional.normalize(self.directions).T

def cosine_parts(num_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 7), nn.ReLU()), Cosine(7, num_classes)

def tuple_parts():
    theirs = Tuple(num_classes=9)
    return theirs.body, theirs.head

def map_parts():
    return nn.Conv2d(1, 2, 3), nn.Linear(2, 4)

def unfitting_parts():
    return nn.Flatten(), nn.Linear(63, 4)

def parts_of_other_classes():
    return nn.Flatten(), Cosine(64, 3)

def three_parts():
    return nn.Flatten(), nn.Linear(64, 4), nn.ReLU()

def broken():
    raise ValueError("first line\\nsecond line")

def no_module():
    return 3

class Counting(Plain):
    """Its state is no tensor, and the weights of training would not hold it."""
    passes = 0
    def get_extra_state(self):
        return {"passes": self.passes}
    def set_extra_state(self, state):
        self.passes = state["passes"]

class CountingInTensor(Counting):
    def get_extra_state(self):
        return torch.tensor(self.passes)

class CountingPart(Plain):
    def __init__(self, **options):
        super().__init__(**options)
        self.body[1] = nn.Sequential(nn.Linear(64, 7), Steps())

class Steps(nn.Identity):
    def get_extra_state(self):
        return 1

class Renaming(Plain):
    """A hook gives a weight another name, which no load finds again."""
    def __init__(self, **options):
        super().__init__(**options)
        self._register_state_dict_hook(lambda _, state, *rest: state.update(mine=state.pop("body.1.weight")))

class Noting(Plain):
    def __init__(self, **options):
        super().__init__(**options)
        self._register_state_dict_hook(lambda _, state, *rest: state.update(note="mine"))
    def load_state_dict(self, state, **options):
        return super().load_state_dict({key: state[key] for key in state if key != "note"}, **options)

ready = Plain(num_classes=9)
number = 3
'''


@pytest.fixture
def own_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "somebodys_networks.py").write_text(OWN_NETWORKS)
    monkeypatch.syspath_prepend(tmp_path)
    import somebodys_networks

    yield somebodys_networks
    del sys.modules["somebodys_networks"]


def test_an_own_network_is_taken_apart_at_its_last_linear_layer(own_networks: Any) -> None:
    model = build("somebodys_networks:Plain", (1, 8, 8), classes=3, hidden=5)
    torch.manual_seed(0)
    original = own_networks.Plain(hidden=5, num_classes=3).eval()
    x = images(4, 1, 8, 8)
    assert model.training
    assert model.feature_dim == 5
    torch.testing.assert_close(model.eval()(x), original(x))
    torch.testing.assert_close(model.features(x), original.body(x))
    scaled = build("somebodys_networks:Plain", (1, 8, 8), classes=3, hidden=5, mean=0.5, std=2).eval()
    torch.testing.assert_close(scaled(x), original((x - 0.5) / 2))


@pytest.mark.usefixtures("own_networks")
def test_views_after_the_last_linear_layer_are_allowed() -> None:
    assert build("somebodys_networks:Unchanged", (1, 8, 8), classes=4).feature_dim == 7


def test_somebodys_module_is_never_changed(own_networks: Any) -> None:
    before = {name: value.clone() for name, value in own_networks.ready.state_dict().items()}
    state = torch.get_rng_state()
    model = build_network(NetworkSettings(name="somebodys_networks:ready"), (1, 8, 8), 9)
    assert torch.equal(torch.get_rng_state(), state), "nothing is drawn for a network that has its weights"
    torch.testing.assert_close(
        model.eval()(images(2, 1, 8, 8)), own_networks.ready.eval()(images(2, 1, 8, 8))
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    build("somebodys_networks:ready", (1, 8, 8), classes=2)
    assert own_networks.ready.head.out_features == 9
    assert all(torch.equal(value, before[name]) for name, value in own_networks.ready.state_dict().items())


BESIDE = "has a state beside its parameters and buffers: get_extra_state of"


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("somebodys_networks:Softmaxed", {}, r"computes more after its last nn\.Linear \(head\)"),
        ("somebodys_networks:Clamped", {}, r"computes more after its last nn\.Linear \(head\)"),
        ("somebodys_networks:ClampedInPlace", {}, r"computes more after its last nn\.Linear \(head\)"),
        ("somebodys_networks:Rectified", {}, r"computes more after its last nn\.Linear \(1\)"),
        (
            "somebodys_networks:Tuple",
            {},
            r"must give logits of shape \(N, classes\) for N images of 1 x 8 x 8, got tuple; .*pair \(enc",
        ),
        ("somebodys_networks:TupleInTraining", {}, r"gives tuple in training mode and \(2, 7\) in eval mode"),
        ("somebodys_networks:Maps", {}, r"must give logits .* got \(2, 2, 6, 6\)"),
        ("somebodys_networks:convolutional", {}, r"has no nn\.Linear"),
        ("somebodys_networks:broken", {}, "fails with options {}: ValueError: first line second line"),
        ("somebodys_networks:no_module", {}, "must return an nn.Module, or a pair .*, got int"),
        ("somebodys_networks:number", {}, "must be an nn.Module, or return one when called, got int"),
        (
            "somebodys_networks:Plain",
            {"width": 3},
            "fails with options .*TypeError.*unexpected keyword argument 'width'",
        ),
        ("somebodys_networks:Plain", {"side": 9}, "does not take images of 1 x 8 x 8: RuntimeError"),
        ("somebodys_networks:ready", {"hidden": 3}, "is a module already and takes no options, got hidden"),
        (
            "somebodys_networks:Remembering",
            {},
            r"cannot be copied by copy\.deepcopy: .*; it keeps a tensor that was computed with gradients",
        ),
        (
            "somebodys_networks:map_parts",
            {},
            r"must have an encoder with features of shape \(N, d\), got \(2, 2, 6, 6\)$",
        ),
        (
            "somebodys_networks:unfitting_parts",
            {},
            r"has a head that does not take features of shape \(2, 64\): RuntimeError",
        ),
        (
            "somebodys_networks:parts_of_other_classes",
            {},
            r"must have a head with logits of shape \(N, 4\) for N images of 4 classes, got \(2, 3\)$",
        ),
        (
            "somebodys_networks:three_parts",
            {},
            r"must return an nn\.Module, or a pair \(encoder, head\) of two, got tuple$",
        ),
        ("somebodys_networks:Uncopyable", {}, r"cannot be copied .*RuntimeError: there is one of me$"),
        ("somebodys_networks:Counting", {}, f"{BESIDE} Counting; keep values .*register_buffer"),
        ("somebodys_networks:CountingInTensor", {}, f"{BESIDE} CountingInTensor;"),
        ("somebodys_networks:CountingPart", {}, rf"{BESIDE} Steps \(body\.1\.1\);"),
        (
            "somebodys_networks:Renaming",
            {},
            "has a state_dict that it cannot load: RuntimeError: .*body.1.weight",
        ),
        ("somebodys_networks:Noting", {}, "must have a state_dict of tensors, got str note$"),
        ("somebodys_networks:absent", {}, "cannot be imported: somebodys_networks has no absent"),
        ("no_such_module_at_all:Net", {}, "cannot be imported: there is no module no_such_module_at_all"),
    ],
)
@pytest.mark.usefixtures("own_networks")
def test_an_own_network_that_does_not_fit(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(NetworkError, match=words) as caught:
        build(name, (1, 8, 8), classes=4, **options)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"network {name} ")


@pytest.mark.parametrize(("name", "options"), [("WeightNorm", {"dim": 0}), ("WeightNorm", {"dim": None})])
def test_an_old_weight_norm_is_renewed_and_computes_and_learns_the_same(
    own_networks: Any, name: str, options: dict[str, Any]
) -> None:
    model = build(f"somebodys_networks:{name}", (1, 8, 8), classes=4, **options).eval()
    torch.manual_seed(0)
    old = getattr(own_networks, name)(**options).eval()
    x = images(5, 1, 8, 8)
    torch.testing.assert_close(model(x), old(x))
    for network in (model, old):
        network(x).square().sum().backward()
    new = dict(model.named_parameters())
    prefix = "encoder.1.body.1.parametrizations.weight.original"
    torch.testing.assert_close(new[f"{prefix}0"].grad, old.body[1].weight_g.grad)
    torch.testing.assert_close(new[f"{prefix}1"].grad, old.body[1].weight_v.grad)
    assert [name for name, weight in new.items() if not weight.requires_grad] == [
        "head.parametrizations.weight.original1"
    ]
    assert isinstance(old.body[1].weight, Tensor), "the network of somebody else is not changed"
    again = copy.deepcopy(model)
    torch.testing.assert_close(again(x), model(x))


def test_an_old_spectral_norm_is_renewed(own_networks: Any) -> None:
    model = build("somebodys_networks:SpectralNorm", (1, 8, 8), classes=4)
    torch.manual_seed(0)
    old = own_networks.SpectralNorm()
    x = images(5, 1, 8, 8)
    torch.testing.assert_close(model.eval()(x), old.eval()(x))
    for network in (model.train(), old.train()):
        for _ in range(100):  # each pass improves the estimate of the norm
            network(x)
    torch.testing.assert_close(model.eval()(x), old.eval()(x), rtol=1e-4, atol=1e-5)
    weight = model.encoder[1].body[1].weight
    assert float(torch.linalg.matrix_norm(weight.detach(), 2)) == pytest.approx(1, rel=1e-3)
    again = build("somebodys_networks:SpectralNorm", (1, 8, 8), classes=4)
    again.load_state_dict(copy.deepcopy(model).state_dict())
    assert torch.equal(again.eval()(x), model(x))


def test_a_head_that_is_not_linear(own_networks: Any) -> None:
    model = build("somebodys_networks:cosine_parts", (1, 8, 8), classes=3).eval()
    assert model.feature_dim == 7
    torch.manual_seed(0)
    encoder, head = own_networks.cosine_parts(3)
    x = images(4, 1, 8, 8)
    torch.testing.assert_close(model(x), head(encoder(x)))
    torch.testing.assert_close(FrozenNetwork(model, x)(x), model(x))
    step = MorelStep(model, TrainSettings(accuracy_loss="trades", attack_steps=1))
    losses, logits = step(x, torch.tensor([0, 1, 2, 0]))
    losses.total.backward()
    assert logits.shape == (4, 3)
    assert model.head.directions.grad.abs().sum() > 0


def test_a_head_that_is_not_linear_stays_in_float32_in_attacks(own_networks: Any) -> None:
    model = build("somebodys_networks:cosine_parts", (1, 8, 8), classes=3)
    deep = own_networks.Plain(hidden=7, num_classes=3, side=8)
    model.head = torch.nn.Sequential(torch.nn.Linear(7, 64), deep)
    x = images(4, 1, 8, 8)
    frozen = FrozenNetwork(model, x, replace(FLOAT32, precision="bfloat16"))
    assert {weight.dtype for weight in frozen._head.parameters()} == {torch.float32}


@pytest.mark.usefixtures("own_networks")
def test_a_network_that_returns_a_tuple_in_two_parts() -> None:
    model = build("somebodys_networks:tuple_parts", (1, 8, 8), classes=4)
    assert isinstance(model.head, torch.nn.Linear)
    assert (model.head.in_features, model.head.out_features, model.feature_dim) == (7, 4, 7)


@pytest.mark.usefixtures("own_networks")
def test_lazy_layers_get_their_size_from_the_images() -> None:
    model = build("somebodys_networks:Lazy", (1, 8, 8), classes=4)
    assert (model.feature_dim, tuple(model.encoder[1][1].weight.shape)) == (6, (6, 64))


@pytest.mark.parametrize(
    ("name", "feature_dim"), [("resnet18", 512), ("mobilenet_v3_small", 1024), ("shufflenet_v2_x0_5", 1024)]
)
def test_torchvision_networks(name: str, feature_dim: int) -> None:
    model = build(f"torchvision.models:{name}", classes=7)
    assert model.feature_dim == feature_dim
    logits = model(images(2, 3, 32, 32))
    logits.sum().backward()
    assert logits.shape == (2, 7)
    assert all(weight.grad is not None for weight in model.parameters())


def test_torchvisions_networks_keep_what_comes_before_the_head() -> None:
    model = build("torchvision.models:resnet18", classes=7).eval()
    torch.manual_seed(0)
    theirs = torchvision.models.resnet18().eval()
    theirs.fc = model.head
    torch.testing.assert_close(model(images(2, 3, 40, 40)), theirs(images(2, 3, 40, 40)))


def test_a_torchvision_network_with_a_side_exit_is_refused() -> None:
    with pytest.raises(NetworkError, match="in training mode"):
        build("torchvision.models:googlenet", (3, 64, 64), init_weights=False)


@pytest.mark.usefixtures("own_networks")
def test_parametrizations_of_torch_can_be_copied() -> None:
    network = build("somebodys_networks:Parametrized", (1, 8, 8), classes=4)
    network(images(4, 1, 8, 8)).sum().backward()
    copy.deepcopy(network)
